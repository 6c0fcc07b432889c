"""LightX2V's service as its documents describe it (profile single): a worker that dies, and a scheduling script."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from stack import ports
from tests.support.harness import ENDLESS_STEPS, Stack, running, wait_for

#: Polling interval of the scripts, seconds.
LOOK_S = 0.5


#: A video model that only counts steps of 5 ms: these tests do not depend on torch.
COUNTING = """
[counting]
executor = "noop"
kinds = ["text2video", "img2video"]
limits = { steps = [1, 100000] }
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "models.toml"
    path.write_text(COUNTING)
    return path


@pytest.fixture(scope="module")
def single(models: Path) -> Iterator[Stack]:
    """One service in the documented profile."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with running(folder, models, "gpu0", "io", LIGHTX2V_PROFILE="single", NOOP_STEP_MS=5) as stack:
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def services(models: Path) -> Iterator[list[str]]:
    """Two services on separate ports, each of one slot, over the same Redis; their addresses."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    options = {"SERVICE_SLOT": "gpu0", "LIGHTX2V_PROFILE": "single", "NOOP_STEP_MS": 5}
    with running(folder, models, "gpu0", "gpu1", "io", **options) as stack:
        port = ports.next_free("127.0.0.1", stack.port + 1)
        stack.run("web1", "gunicorn", "app:create_app()", PORT=str(port), SERVICE_SLOT="gpu1")
        urls = [stack.url(""), f"http://127.0.0.1:{port}"]
        wait_for(lambda: all(_is_up(url) for url in urls), "both services")
        yield urls
    shutil.rmtree(folder, ignore_errors=True)


def _is_up(url: str) -> bool:
    try:
        return get(url, "/health").status_code == 200
    except requests.ConnectionError:
        return False


def get(url: str, path: str) -> requests.Response:
    return requests.get(url + path, timeout=90)


def post(url: str, **fields: Any) -> requests.Response:
    return requests.post(url + "/v1/tasks/", json={"prompt": "a cat", "image_path": "", **fields}, timeout=90)


def poll(url: str, task_id: str) -> str:
    """Poll like the threads of the scheduler, which end at completed and failed only."""

    def look() -> Any:
        word = get(url, f"/v1/tasks/{task_id}/status").json()["status"]
        return word if word in ("completed", "failed") else None

    return str(wait_for(look, f"the end of {task_id}"))


def is_idle(url: str) -> bool:
    return bool(get(url, "/v1/service/status").json()["service_status"] == "idle")


def await_idle(url: str) -> None:
    wait_for(lambda: is_idle(url), "an idle service")


def test_busy_heals_when_the_worker_dies(single: Stack) -> None:
    url = single.url("")
    await_idle(url)
    task_id = post(url, infer_steps=ENDLESS_STEPS).json()["task_id"]
    single.wait_until(task_id, lambda view: view["progress"]["step"] > 0, "a step")
    single.kill("gpu0", signal.SIGKILL)
    requests.delete(url + "/v1/tasks/running", timeout=90)
    assert poll(url, task_id) == "failed"
    single.worker("gpu0")
    await_idle(url)
    assert poll(url, post(url, infer_steps=1).json()["task_id"]) == "completed"


def test_the_scheduler_of_several_servers(services: list[str]) -> None:
    """Take the first idle server, post, check again after half a second; poll each task until completed or failed."""
    for url in services:
        await_idle(url)
    used: list[str] = []
    ends: dict[str, str] = {}
    threads = []
    for number in range(5):
        url = wait_for(lambda: next((url for url in services if is_idle(url)), None), "an idle server")
        answer = post(url, infer_steps=400, seed=number).json()
        assert "task_id" in answer, answer  # a server that claims to be idle and then refuses loses the job
        assert not is_idle(url) or poll(url, answer["task_id"])
        used.append(url)

        def watch(url: str = url, task_id: str = answer["task_id"]) -> None:
            ends[task_id] = poll(url, task_id)

        threads.append(threading.Thread(target=watch))
        threads[-1].start()
        time.sleep(LOOK_S)
    # One job is cancelled by another client: its thread must end as well.
    stopped = post(wait_for(lambda: next((u for u in services if is_idle(u)), None), "idle"), infer_steps=ENDLESS_STEPS)
    threads.append(threading.Thread(target=lambda: ends.update(stopped=poll(services[0], stopped.json()["task_id"]))))
    threads[-1].start()
    for url in services:
        requests.delete(url + "/v1/tasks/running", timeout=90)
    for thread in threads:
        thread.join(60)
    assert len(ends) == 6
    assert ends["stopped"] == "failed"
    assert set(used) == set(services)
