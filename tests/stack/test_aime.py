"""The AIME protocol over two web processes with one queue, and over restarts of the server."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support import drawn_models
from tests.support.aime_endpoint import LOCAL_ENDPOINT, draw, write_endpoint
from tests.support.aime_peers import Client, Worker, opened
from tests.support.api import ENDLESS_STEPS
from tests.support.harness import Stack, running, wait_for


@pytest.fixture(scope="module")
def aime(tmp_path_factory: pytest.TempPathFactory, models_file: Path) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("aime")
    write_endpoint(folder / "endpoints", endpoint="job_inactivity_timeout = 5")
    write_endpoint(folder / "endpoints", "twin", outputs='error = { type = "string" }')
    with running(folder / "data", models_file, ENDPOINTS_DIR=folder / "endpoints", WEB_PROCESSES=2) as stack:
        yield stack


def test_nothing_spins_and_nothing_is_lost_over_a_restart_of_the_server(aime: Stack) -> None:
    client = Client(aime.url(""), "draw")
    busy, go_on = threading.Event(), threading.Event()

    def slowly(worker: Worker, data: dict[str, Any]) -> dict[str, Any]:
        busy.set()
        assert go_on.wait(60)
        return draw(worker, data)

    def ask_and_repeat() -> Any:
        while True:
            try:
                return client.send(prompt="c").json()
            except requests.RequestException:
                time.sleep(0.3)

    with Worker(aime.url(""), compute=slowly) as worker, ThreadPoolExecutor() as pool:
        waits = pool.submit(ask_and_repeat)
        assert busy.wait(30)
        first, second = client.submit(prompt="a"), client.submit(prompt="b")
        os.killpg(aime.processes["web"].pid, signal.SIGKILL)  # together with its web processes
        aime.kill("web")
        go_on.set()
        time.sleep(1)  # it retries its calls meanwhile
        aime.web()
        assert [len(client.follow(job_id)["images"]) for job_id in (first, second)] == [2, 2]
        result = waits.result(60)
        assert (result["success"], len(result["images"])) == (True, 2)
        assert [data["prompt"] for data in worker.given] == ["c", "a", "b"]
        assert worker.given[0]["job_id"].startswith(result["job_id"])
        before, begun = worker.calls["/worker_job_request"], time.monotonic()
        wait_for(lambda: time.monotonic() - begun > 4, "idle calls")
        assert worker.calls["/worker_job_request"] - before <= 4
    worker.join()
    assert not worker.ended


def test_two_web_processes_serve_one_queue(aime: Stack) -> None:
    workers = [Worker(aime.url(""), name=f"w{number}", compute=draw).start() for number in range(2)]
    clients = [Client(aime.url(""), "twin") for _ in range(3)]
    results: list[Any] = []

    def ask(client: Client) -> None:
        results.extend(client.send(prompt=str(number)).status_code for number in range(4))

    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for worker in workers:
        worker.stop()
        worker.join()
    assert results == [200] * 12
    given = [data["job_id"] for worker in workers for data in worker.given]
    assert len(given) == len(set(given)) == 12


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, drawn_models_file: Path) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("local")
    (folder / "endpoints").mkdir()
    (folder / "endpoints" / "aime_api_endpoint.cfg").write_text(LOCAL_ENDPOINT)
    settings = {"ENDPOINTS_DIR": folder / "endpoints", "NOOP_STEP_MS": drawn_models.STEP_MS}
    with running(folder / "data", drawn_models_file, "gpu0", "io", **settings) as stack:
        yield stack


def test_a_gpu_worker_computes_a_job_of_an_endpoint(local: Stack) -> None:
    client = Client(local.url(""), "tiny")
    response = client.send(prompt="a fox", seed=3)
    assert response.status_code == 200, response.text
    result = response.json()
    assert (result["success"], result["seed"], result["num_inference_steps"], result["auth"]) == (True, 3, 2, "gpu0")
    (image,) = result["images"]
    assert (opened(image).format, opened(image).size) == ("JPEG", (16, 16))


def test_a_gpu_worker_shows_previews_of_an_endpoints_job(local: Stack) -> None:
    client = Client(local.url(""), "tiny")
    job_id = client.submit(prompt="a", num_inference_steps=ENDLESS_STEPS)

    def preview() -> object:
        return client.poll(job_id).json()["progress"]["progress_data"].get("progress_images")

    (image,) = wait_for(preview, "a preview")
    assert opened(image).size[0] > 0
    assert local.cancel(job_id).status_code == 200
    assert client.poll(job_id).status_code == 400
