"""Measurements of several processes are added up in Redis, each once, and end when what they are about has gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.errors import Unavailable
from jobs.store import keys
from jobs.store.measuring import measures
from jobs.store.measuring.families import ATTEMPTS, CANCEL, ETA_ERROR, RUN, WAIT, Counter, Histogram
from jobs.store.monitoring import figures
from jobs.store.scripts import Scripts
from tests.support.store_driver import StoreDriver


def values(store: Scripts, family: Histogram | Counter, *labels: str) -> dict[str, float]:
    """Return what all processes have measured."""
    found = [one for one in figures.read(store).series if (one.family, one.labels) == (family.name, labels)]
    return dict(found[0].values) if found else {}


def test_processes_are_added_up_and_a_restart_takes_nothing_away(driver: Callable[..., StoreDriver]) -> None:
    first = driver().store
    second = Scripts(first.settings)
    for store, seconds in ((first, 0.3), (second, 0.3), (second, 7200.0)):
        store.measures.observe(RUN, "flux", seconds=seconds)
    assert values(first, RUN, "flux") == {}
    assert first.measures.publish()
    assert second.measures.publish()
    again = Scripts(first.settings)  # a process that was started again
    again.measures.observe(RUN, "flux", seconds=0.5, times=2)
    again.measures.publish()
    assert values(second, RUN, "flux") == {"0.5": 4, "+Inf": 1, "sum": pytest.approx(7201.6)}


def test_a_bound_belongs_to_its_bucket(driver: Callable[..., StoreDriver]) -> None:
    assert [RUN.bucket_of(seconds) for seconds in (0, 0.1, 0.1001, 3600, 3601)] == [
        "0.1",
        "0.1",
        "0.25",
        "3600",
        "+Inf",
    ]


def test_nothing_is_sent_when_nothing_was_observed(driver: Callable[..., StoreDriver]) -> None:
    store = driver().store
    assert not store.measures.publish()
    store.measures.count(ATTEMPTS, "computed")
    assert store.measures.publish()
    assert not store.measures.publish()


def test_a_batch_whose_reply_was_lost_is_counted_once(driver: Callable[..., StoreDriver]) -> None:
    store, is_lost = driver().store, [True, False, False]

    def send(process: str, batch: int, deltas: dict[str, str]) -> None:
        store.script("add_measures", process=process, batch=batch, kept_ms=3_600_000, deltas=deltas)
        if is_lost.pop(0):
            raise Unavailable("no reply")

    mine = measures.Measures(send)  # type: ignore[arg-type]
    mine.observe(RUN, "flux", seconds=1)
    assert mine.publish()
    mine.observe(RUN, "flux", seconds=1)
    assert mine.publish()  # the first batch again
    assert values(store, RUN, "flux") == {"1": 1, "sum": 1}
    assert mine.publish()
    assert values(store, RUN, "flux") == {"1": 2, "sum": 2}


def test_many_series_are_sent_in_parts(driver: Callable[..., StoreDriver], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "SERIES_PER_CALL", 3)
    store = driver().store
    for number in range(7):
        store.measures.observe(RUN, f"model-{number}", seconds=1)
    sent = 0
    while store.measures.publish():
        sent += 1
    assert (sent, len(figures.read(store).series)) == (3, 7)


def test_a_process_that_ends_sends_everything(
    driver: Callable[..., StoreDriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "SERIES_PER_CALL", 3)
    store = driver().store
    for number in range(7):
        store.measures.observe(RUN, f"model-{number}", seconds=1)
    store.measures.close()
    assert len(figures.read(store).series) == 7


def test_a_process_that_ends_while_redis_is_away_ends(driver: Callable[..., StoreDriver]) -> None:
    def refuse(process: str, batch: int, deltas: object) -> None:
        raise Unavailable("away")

    mine = measures.Measures(refuse)
    mine.count(ATTEMPTS, "failed")
    mine.close()


def test_a_series_goes_when_nothing_of_it_is_measured_any_more(driver: Callable[..., StoreDriver]) -> None:
    store = driver().store
    for model in ("removed", "flux"):
        store.measures.observe(RUN, model, seconds=1)
    store.measures.publish()
    store.client.zincrby(keys.MEASURED, -15 * 24 * 3600 * 1000, '["run_seconds","removed"]')
    store.measures.observe(RUN, "flux", seconds=1)
    store.measures.publish()
    assert [one.labels for one in figures.read(store).series] == [("flux",)]
    assert store.client.zcard(keys.MEASURED) == 1


def test_no_call_for_a_job_sends_measurements(driver: Callable[..., StoreDriver]) -> None:
    """A job costs no further command: everything is kept in the process."""
    at = driver()
    at.open()
    for _ in range(3):
        at.submit()
        at.finish()
    assert at.store.client.exists(keys.MEASURES, keys.MEASURED) == 0
    at.store.measures.publish()
    assert values(at.store, ATTEMPTS, "computed") == {"count": 3}


def test_what_runs_measure(driver: Callable[..., StoreDriver]) -> None:
    at = driver()
    at.open()
    at.know(m=2.0)
    job_id = at.submit(model="m")
    at.finish(seconds=4.0)
    stopped = at.submit(model="m")
    at.start()
    job, attempt = at.at()
    at.store.cancel(stopped)
    at.store.release(job, attempt, slot="gpu0")
    at.store.release(job, attempt, slot="gpu0")
    broken = at.submit(model="m")
    at.start()
    at.store.fail(broken, at.at()[1], code="x", message="x", slot="gpu0")
    at.store.measures.publish()
    assert at.state(job_id) == "succeeded"
    assert values(at.store, RUN, "m") == {"5": 1, "sum": 4}
    waits = values(at.store, WAIT, "m")
    assert sum(number for bucket, number in waits.items() if bucket != "sum") == 3
    assert sum(values(at.store, ETA_ERROR, "m").values()) > 0
    cancels = values(at.store, CANCEL)
    assert sum(number for bucket, number in cancels.items() if bucket != "sum") == 1
    ends = {
        outcome: values(at.store, ATTEMPTS, outcome).get("count") for outcome in ("computed", "cancelled", "failed")
    }
    assert ends == {"computed": 1, "cancelled": 1, "failed": 1}


def test_lost_runs_and_dead_letters_are_counted_where_they_are_found(driver: Callable[..., StoreDriver]) -> None:
    at = driver(max_attempts=2)
    at.open()
    at.submit()
    for _ in range(2):
        at.start()
        job_id, attempt = at.at()
        at.store.lose(job_id, attempt)
    found = figures.read(at.store)
    assert (found.lost_runs, found.dead_letters, found.dead, found.lost_leases) == (2, 1, 1, 0)


def test_a_lost_lease_counts_with_its_run(driver: Callable[..., StoreDriver]) -> None:
    at = driver()
    at.open()
    at.submit()
    at.start()
    at.silence("gpu0")
    at.sweep()
    found = figures.read(at.store)
    assert (found.lost_leases, found.lost_runs, found.dead_letters) == (1, 1, 0)


def test_the_oldest_wait_is_that_of_the_oldest_job(driver: Callable[..., StoreDriver]) -> None:
    at = driver()
    assert figures.read(at.store).oldest_wait_s == 0
    job_id = at.submit()
    at.store.client.zincrby(keys.STATE + "queued", -90_000, job_id)
    assert 90 <= figures.read(at.store).oldest_wait_s < 3600
