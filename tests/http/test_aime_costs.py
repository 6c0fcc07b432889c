"""What a job of a worker over HTTP and a poll of it cost in Redis, as counts that do not depend on the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from app import extensions
from jobs.store.jobs import JobStore
from jobs.store.scripts import Scripts
from tests.support.aime_endpoint import write_endpoint
from tests.support.aime_peers import Client, JobData, Worker
from tests.support.api import wait_for
from tests.support.served_app import ServedApp

JOBS = 5
#: Scripts and commands that time causes, and not the number of jobs or polls.
BY_TIME = {"held_request_renew", "heartbeat", "sweep", "add_measures"}
#: Looked up once a second: whether there are keys, and whether Flower listens.
LOOKED_UP = {"exists", "info"}


@pytest.fixture(scope="module")
def aime(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., ServedApp]) -> ServedApp:
    endpoints = tmp_path_factory.mktemp("endpoints")
    write_endpoint(endpoints, timeout_s="60")
    for name in ("held", "told"):
        write_endpoint(endpoints, name, timeout_s="60")
        path = endpoints / name / "aime_api_endpoint.cfg"
        path.write_text(path.read_text().replace('job_type = "draw"', f'job_type = "{name}"'))
    return serve(ENDPOINTS_DIR=endpoints, HEARTBEAT_S=600, SLOT_LEASE_S=2000)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often each script was called and records were read."""
    counted: Counter[str] = Counter()
    run_script, read = Scripts.script, JobStore.read

    def script(self: Scripts, name: str, **arguments: Any) -> Any:
        if name not in BY_TIME:
            counted[name] += 1
        return run_script(self, name, **arguments)

    def read_record(self: JobStore, job_id: str) -> dict[str, str]:
        counted["a record"] += 1
        return read(self, job_id)

    monkeypatch.setattr(Scripts, "script", script)
    monkeypatch.setattr(JobStore, "read", read_record)
    return counted


def commands(aime: ServedApp, call: Callable[[], object]) -> Counter[str]:
    """Return the commands that Redis runs during a call, those of scripts included."""

    def counts() -> Counter[str]:
        stats: dict[str, dict[str, int]] = aime.store.client.info("commandstats")  # type: ignore[assignment]
        return Counter({name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()})

    before = counts()
    call()
    return counts() - before


def test_a_job_costs_six_scripts(aime: ServedApp, calls: Counter[str]) -> None:
    client = Client(aime.url(""), "draw")
    with Worker(aime.url("")) as worker:
        assert client.send(prompt="a").status_code == 200  # the worker introduces itself

        def work() -> None:
            wait_for(lambda: worker.calls["/worker_job_request"] == first + 1, "the worker to wait")
            for number in range(JOBS):  # equal bodies could be repeats, and are asked about
                assert client.send(prompt=f"b{number}").status_code == 200
            wait_for(lambda: worker.calls["/worker_job_request"] == first + 1 + JOBS, "the worker to wait again")

        first = 1
        wait_for(lambda: calls["pull_job"] == 2, "the worker to wait")
        wait_for(lambda: calls["held_request_end"] == 1, "the end of the call, after its response")
        calls.clear()
        used = commands(aime, work)
        wait_for(lambda: calls["pull_job"] == JOBS, "the last call of the worker")
        wait_for(lambda: calls["held_request_end"] == JOBS, "the end of the last call")
    worker.stop()
    scripts = ("held_request_open", "submit", "finish_run", "held_request_end", "pull_job")
    assert calls.pop("start_run", 0) <= JOBS  # a pull starts a job that waits already
    assert calls.pop("a record", 0) <= JOBS  # of those that ended before their callers began to wait
    assert calls == dict.fromkeys(scripts, JOBS)
    assert used["getex"] == 0
    assert used.total() / JOBS <= 250


def test_progress_is_one_script_and_one_write(aime: ServedApp, calls: Counter[str]) -> None:
    def report(worker: Worker, data: JobData) -> JobData:
        calls.clear()
        sent = commands(aime, lambda: [worker.send_progress(data, step, {"text": "x"}) for step in range(JOBS)])
        used.append((dict(calls), sent["set"], sent["get"]))
        return {"seed": 1}

    used: list[tuple[dict[str, int], int, int]] = []
    with Worker(aime.url(""), job_type="told", compute=report) as worker:
        assert Client(aime.url(""), "told").send(prompt="a").status_code == 200
    worker.stop()
    assert used == [({"report_progress": JOBS}, JOBS, 0)]


@pytest.fixture
def held_job(aime: ServedApp) -> Iterator[str]:
    """Yield a job that a worker computes until the end of the test."""
    jobs = extensions.of(aime.app).current_jobs
    fresh_s, jobs.fresh_s = jobs.fresh_s, 600.0  # longer than any test takes
    given: list[JobData] = []

    def report(worker: Worker, data: JobData) -> JobData | None:
        worker.send_progress(data, 40, {"text": "half"})
        given.append(data)
        return None

    with Worker(aime.url(""), job_type="held", compute=report) as worker:  # type: ignore[arg-type]
        job_id = Client(aime.url(""), "held").submit(prompt="a")
        wait_for(lambda: given, "progress")
        yield job_id
    worker.stop()
    jobs.fresh_s = fresh_s


def test_a_poll_of_a_running_job_is_one_read(aime: ServedApp, held_job: str) -> None:
    client = Client(aime.url(""), "held")
    first = client.poll(held_job).json()
    assert (first["progress"]["progress"], first["progress"]["progress_data"]) == (40, {"text": "half"})
    answers: list[requests.Response] = []
    used = commands(aime, lambda: answers.extend(client.poll(held_job) for _ in range(JOBS)))
    assert [answer.json() for answer in answers] == [first] * JOBS
    assert {name: count for name, count in used.items() if name not in LOOKED_UP} == {"hmget": JOBS, "get": JOBS}
