"""What a record keeps for the trace of a job whose process died; a job without a trace costs nothing more."""

from __future__ import annotations

from collections.abc import Callable

from jobs.process import tracing
from jobs.store import keys
from tests.support.redis_meter import RedisMeter
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def lost(here: StoreDriver, trace: str) -> tuple[str, int]:
    """Submit a job, start it, and lose it; return its id and the number of commands of all of it."""
    meter = RedisMeter(here.store)
    ids: list[str] = []
    commands = meter.measure(lambda: ids.append(here.submit(trace=trace))).commands
    commands += meter.measure(here.start).commands
    commands += meter.measure(lambda: here.store.lose(ids[0], 1)).commands
    return ids[0], commands


def test_runs_whose_process_died_are_kept_for_the_trace(driver: Open) -> None:
    here = driver(max_attempts=3)
    here.open("gpu0")
    job_id, _ = lost(here, TRACEPARENT)
    here.start()
    here.store.lose(job_id, 2)
    job = here.store.get(job_id)
    assert job.trace == TRACEPARENT
    first, second = job.lost_runs
    assert (first[0], first[3:], second[3:]) == (job.created_at_ms, [1, "gpu0"], [2, "gpu0"])
    assert first[0] <= first[1] <= first[2] <= second[0] <= second[1] <= second[2] == job.queued_at_ms


def test_a_run_that_is_handed_back_reports_itself(driver: Open) -> None:
    here = driver(max_attempts=3)
    here.open("gpu0")
    job_id, _ = lost(here, TRACEPARENT)
    here.start()
    here.store.hand_back(job_id, 2, slot="gpu0", counted=True, why="busy")
    job = here.store.get(job_id)
    assert job.lost_runs == []
    assert (job.queued_at_ms or 0) >= job.created_at_ms


def test_a_trace_costs_fields_of_the_record_and_no_commands(driver: Open) -> None:
    here = driver(max_attempts=3)
    here.open("gpu0")
    lost(here, "")  # loads the scripts
    here.drain()
    job_id, without = lost(here, "")
    record = here.redis.hgetall(keys.JOB + job_id)
    assert not record.keys() & {"trace", "queued_at", "lost_runs"}
    here.drain()
    _, with_trace = lost(here, TRACEPARENT)
    assert with_trace == without  # a few fields are written with others
    assert not tracing.is_on()
