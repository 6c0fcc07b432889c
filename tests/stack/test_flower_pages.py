"""Flower's pages in a real browser, behind nginx and below a path: the login, what is shown of a job, and its stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from stack import ports
from tests.support import drawn_models
from tests.support.api import wait_for
from tests.support.browser import Browser, browsing
from tests.support.harness import Stack
from tests.support.nginx import NAME, Nginx

USER, PASSWORD = "ops", "a-password-of-the-test"
PROMPT = "a lighthouse that nobody else may read about"
PREFIX = "/framemill/flower"


@pytest.fixture(scope="module")
def stack(drawn_models_file: Path) -> Iterator[Stack]:
    with drawn_models.stack_in_new_folder(drawn_models_file, "gpu0", "io") as one:
        yield one


@pytest.fixture(scope="module")
def flower_port(stack: Stack) -> Iterator[int]:
    port = ports.next_free("127.0.0.1", 22_000 + 17 * os.getpid() % 4_000)
    # With a login it may serve every address, as it does by default; tests stay on loopback.
    options = ("--address=127.0.0.1", f"--port={port}")
    login = f"{USER}:{PASSWORD}"
    stack.run(
        "flower", "celery", "-A", "tasks", "flower", *options, FLOWER_BASIC_AUTH=login, FLOWER_URL_PREFIX=PREFIX[1:]
    )  # fmt: skip
    session = requests.Session()
    session.auth = (USER, PASSWORD)

    def sees_jobs() -> bool:
        job_id = stack.submit(steps=1)
        stack.wait(job_id)
        try:
            wait_for(lambda: session.get(f"http://127.0.0.1:{port}{PREFIX}/api/task/info/{job_id}").ok, "it", 1)
        except (AssertionError, requests.ConnectionError):
            return False
        return True

    wait_for(sees_jobs, "Flower to see jobs")
    yield port
    stack.kill("flower", signal.SIGTERM)


@pytest.fixture(scope="module")
def server(stack: Stack, flower_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    folder = tmp_path_factory.mktemp("nginx")
    with Nginx(folder, "nginx-prefix.conf", "/framemill", web=stack.port, flower=flower_port).running() as one:
        yield one


@pytest.fixture(scope="module")
def browser(server: Nginx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Yield a browser that has logged in."""
    with browsing(tmp_path_factory.mktemp("browser"), {NAME: "127.0.0.1"}) as one:
        one.resize(1500, 900)
        one.open(f"https://{USER}:{PASSWORD}@{NAME}:{server.port}{PREFIX}/")
        yield one


def text(browser: Browser) -> str:
    return str(browser.run("return document.body.innerText"))


def shows(browser: Browser, *words: str) -> None:
    wait_for(lambda: all(word in text(browser) for word in words), f"{words} on the page; it shows {text(browser)}")


def test_nothing_is_shown_without_the_login(flower_port: int) -> None:
    for path in ("/", "/tasks", "/task/x", "/worker/x", "/broker", "/api/tasks", "/api/workers"):
        for auth in (None, (USER, "wrong")):
            response = requests.get(f"http://127.0.0.1:{flower_port}{PREFIX}{path}", auth=auth, timeout=90)
            assert response.status_code == 401, path


def test_metrics_are_open_to_those_who_reach_the_port_and_name_no_job(
    stack: Stack, flower_port: int, server: Nginx, browser: Browser
) -> None:
    job_id = stack.submit(prompt=PROMPT)
    stack.wait(job_id)
    for path in ("/metrics", "/healthcheck"):
        response = requests.get(f"http://127.0.0.1:{flower_port}{PREFIX}{path}", timeout=90)
        assert response.status_code == 200
        assert job_id not in response.text
        assert "lighthouse" not in response.text
    for path in ("/metrics", "/healthcheck"):
        browser.open(f"https://{NAME}:{server.port}{PREFIX}{path}")
        shows(browser, "404 Not Found")


def test_a_job_can_be_read_without_its_prompt(stack: Stack, server: Nginx, browser: Browser) -> None:
    job_id = stack.submit(prompt=PROMPT, negative_prompt="fog and lighthouses", steps=3, seed=77)
    stack.wait(job_id)
    browser.errors()
    browser.open(f"https://{NAME}:{server.port}{PREFIX}/tasks")
    shows(browser, job_id, "text2img, tiny-image, 32×32, 3 steps", "image/png 32×32", f"files of job {job_id}")
    assert "lighthouse" not in browser.run("return document.documentElement.outerHTML")
    browser.open(f"https://{NAME}:{server.port}{PREFIX}/task/{job_id}")
    shows(browser, "tasks.generate", "SUCCESS", "text2img, tiny-image", "seed=77", f"/v1/jobs/{job_id}/result?index=0")
    assert "lighthouse" not in browser.run("return document.documentElement.outerHTML")
    assert browser.errors() == []


def test_the_button_stops_the_job_and_keeps_the_worker(stack: Stack, server: Nginx, browser: Browser) -> None:
    job_id = stack.endless(prompt=PROMPT)
    child = stack.child("gpu0")

    def is_offered() -> bool:
        browser.open(f"https://{NAME}:{server.port}{PREFIX}/task/{job_id}")
        return bool(browser.run("return Boolean(document.getElementById('task-terminate'))"))

    wait_for(is_offered, "the button")
    shows(browser, "denoising, step")
    browser.click("#task-terminate")
    stack.wait_until(job_id, lambda view: view["state"] == "cancelled", "its stop")
    assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"
    assert stack.child("gpu0") == child


def test_a_failure_says_why(stack: Stack, server: Nginx, browser: Browser) -> None:
    job_id = stack.submit(model="broken")
    stack.wait(job_id)
    browser.open(f"https://{NAME}:{server.port}{PREFIX}/task/{job_id}")
    shows(browser, "FAILURE", "text2img, broken", "model_load_failed: ")


def test_pages_of_other_sites_stop_nothing(stack: Stack, flower_port: int) -> None:
    job_id = stack.endless()
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        response = requests.post(
            f"http://127.0.0.1:{flower_port}{PREFIX}/api/task/revoke/{job_id}?terminate=true", auth=(USER, PASSWORD),
            headers=headers, timeout=30,
        )  # fmt: skip
        assert response.status_code == 403
    assert stack.status(job_id)["state"] == "running"
    stack.cancel(job_id)
