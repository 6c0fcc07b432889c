"""Pages that show the whole service: how often they ask Redis, whom they show what, and what requests share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.access import auth
from app.events.shared_reads import SharedReads
from app.extensions import of
from jobs.errors import Unavailable
from jobs.store import keys, queries
from jobs.store.scripts import Scripts
from tests.support.harness import wait_for
from tests.support.service import Service, key

#: Path → calls of the job store at most, also for a key that may see some jobs only.
PAGES = {
    "/v1/fleet": 4,
    "/v1/fleet/history": 3,
    "/v1/queue": 5,
    "/v1/models": 3,
    "/v1/jobs": 4,
    "/v1/jobs?state=queued": 4,
    "/v1/service/status": 4,
    "/v1/tasks/queue/status": 3,
    "/v1/tasks/": 3,
    "/v1/service/metadata": 3,
    "/readyz": 4,
    "/sdapi/v1/memory": 3,
}
ADMIN_PAGES = {"/metrics": 4, "/v1/admin/keys": 3, "/v1/admin/dead": 3}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The calls of the job store that the requests of the test make; threads of the app make others."""
    made: list[int] = []
    call, thread = Scripts.call, threading.get_ident()

    def counting(self: Scripts, reader: object) -> object:
        if threading.get_ident() == thread:
            made.append(1)
        return call(self, reader)  # type: ignore[arg-type]

    monkeypatch.setattr(Scripts, "call", counting)
    return made


def _busy_slots(service: Service, numbers: range, headers: dict[str, str]) -> None:
    for number in numbers:
        service.open(f"gpu{number}")
        service.submit(headers)


def test_pages_ask_redis_as_often_with_many_slots_and_jobs(service: Service, calls: list[int]) -> None:
    ops = key(service, "ops", role="admin")
    alice = key(service, "alice", admin=ops)
    asked: dict[tuple[str, str], list[int]] = {}
    for numbers in (range(1, 3), range(10, 20)):
        _busy_slots(service, numbers, alice)
        for who, headers in (("ops", ops), ("alice", alice)):
            for path, most in PAGES.items() if who == "alice" else (PAGES | ADMIN_PAGES).items():
                assert service.get(path, headers=headers).status_code in (200, 503)
                auth.keys_changed()  # which an app looks up again each second: here, at each request
                calls.clear()
                service.get(path, headers=headers)
                asked.setdefault((who, path), []).append(len(calls))
                assert len(calls) <= most + 1, (path, who)
    assert all(few >= many for few, many in asked.values()), asked


def test_a_key_is_shown_its_own_jobs_on_the_slots(service: Service) -> None:
    ops = key(service, "ops", role="admin")
    alice, bob = key(service, "alice", admin=ops), key(service, "bob", admin=ops)
    _busy_slots(service, range(1), alice)
    shown = {name: service.json("/v1/fleet", headers=who)["slots"][0]["job_id"] for name, who in
             (("ops", ops), ("alice", alice), ("bob", bob))}  # fmt: skip
    [job] = service.json("/v1/jobs", headers=alice)["jobs"]
    assert shown == {"ops": job["id"], "alice": job["id"], "bob": None}
    assert service.json("/v1/queue", headers=bob)["active"] == []
    assert service.json("/v1/queue", headers=alice)["active"] == [job["id"]]


def test_a_page_shows_every_change_that_was_made_before(service: Service) -> None:
    of(service.app).reads.recent_s = 60.0
    try:
        service.open("gpu0")
        for action, state in (("pause", "paused"), ("resume", "idle"), ("pause", "paused")):
            assert service.post(f"/v1/admin/{action}", json={"slot": "gpu0"}).status_code == 200
            assert service.json("/v1/fleet")["slots"][0]["state"] == state
            assert service.json("/v1/queue")["paused"] == (["gpu0"] if action == "pause" else [])
            service.get("/metrics")
    finally:
        of(service.app).reads.recent_s = 0


def test_metrics_and_probes_may_be_a_second_old(service: Service, calls: list[int]) -> None:
    of(service.app).reads.recent_s = 60.0
    try:
        service.open("gpu0")
        assert 'slot="gpu0"' in service.get("/metrics").text
        service.open("gpu1")
        calls.clear()
        assert 'slot="gpu1"' not in service.get("/metrics").text
        assert not calls
    finally:
        of(service.app).reads.recent_s = 0
    assert 'slot="gpu1"' in service.get("/metrics").text


def test_a_list_reads_no_results_and_forecasts_open_jobs_only(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished, waiting = service.submit(), service.submit()
    assert service.finish() == finished
    service.redis.hset(keys.JOB + finished, "result", '{"text": "x"}')
    asked: list[str] = []
    forecast = type(service.store).forecast
    monkeypatch.setattr(
        type(service.store), "forecast", lambda self, *ids: asked.extend(ids) or forecast(self, *ids)
    )  # fmt: skip
    service.json("/v1/jobs")
    assert asked == [waiting]
    assert [job.result for job in queries.listed(service.store, [finished])] == [{}]
    assert service.store.get(finished).result == {"text": "x"}


# ---- reads that requests share


def test_requests_that_come_during_a_read_share_the_next_one() -> None:
    reads, began, go_on = SharedReads(), [], threading.Event()

    def read() -> int:
        began.append(1)
        assert go_on.wait(30)
        return len(began)

    with ThreadPoolExecutor(20) as pool:
        first = pool.submit(reads.get, "x", read)
        wait_for(lambda: began, "the first read")
        others = [pool.submit(reads.get, "x", read) for _ in range(19)]
        wait_for(lambda: pool._work_queue.empty(), "the others to ask")
        threading.Event().wait(0.5)
        go_on.set()
        assert first.result() == 1
        assert {one.result() for one in others} <= {2, 3}
    assert reads.get("x", read) > 1


def test_a_failure_is_shared_and_the_next_request_reads_again() -> None:
    reads = SharedReads()

    def fail() -> int:
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        reads.get("x", fail)
    assert reads.get("x", lambda: 1) == 1
    assert reads.recent("x", fail) == 1
    reads.recent_s = 0
    with pytest.raises(Unavailable):
        reads.recent("x", fail)
