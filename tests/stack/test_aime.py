"""The AIME protocol over two web processes that serve one queue, and over restarts of the server."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.aime_endpoint import draw, write_endpoint
from tests.support.aime_peers import Client, Worker
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

    with Worker(aime.url(""), compute=slowly) as worker:
        first, second = client.submit(prompt="a"), client.submit(prompt="b")
        assert busy.wait(30)
        os.killpg(aime.processes["web"].pid, signal.SIGKILL)  # its web processes with it
        aime.kill("web")
        go_on.set()
        time.sleep(1)  # it repeats its calls meanwhile
        aime.web()
        assert [len(client.follow(job_id)["images"]) for job_id in (first, second)] == [2, 2]
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
