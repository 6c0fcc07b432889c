"""Polls of a job: what each costs in Redis, and that it shows every change at once, whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from app.extensions import of
from jobs.callers import NOBODY
from jobs.store.held_requests import HeldRequest, HeldRequests
from tests.support.harness import wait_for
from tests.support.service import Service

_OTHERS = {"cmdstat_info", "cmdstat_exists"}
PATHS = ("/v1/jobs/{}", "/v1/tasks/{}/status")


@pytest.fixture
def service(service: Service) -> Iterator[Service]:
    """Return an app that reuses forecasts, for longer than any test takes."""
    jobs = of(service.app).current_jobs
    jobs.fresh_s = 600.0
    yield service
    jobs.fresh_s = 0


def commands(service: Service, call: Callable[[], object]) -> dict[str, int]:
    """Return the commands that Redis runs during a call, those of scripts included.

    Once a second, each web process asks whether the server has keys; this is left out.
    """
    before = service.redis.info("commandstats")
    call()
    after = service.redis.info("commandstats")
    counts = {name: one["calls"] - before.get(name, {"calls": 0})["calls"] for name, one in after.items()}
    return {name.removeprefix("cmdstat_"): count for name, count in counts.items() if count and name not in _OTHERS}


def jobs_in_all_states(service: Service) -> dict[str, str]:
    finished = service.submit()
    service.finish()
    running, waiting = service.submit(), service.submit()
    service.start(step=1)
    return {"succeeded": finished, "running": running, "queued": waiting}


@pytest.mark.parametrize("path", PATHS)
def test_a_poll_of_an_unchanged_job_is_one_small_read(service: Service, path: str) -> None:
    for state, job_id in jobs_in_all_states(service).items():
        address = path.format(job_id)
        first = service.get(address)
        assert first.status_code == 200
        assert commands(service, lambda: [service.get(address) for _ in range(5)]) == {"hmget": 5}, state  # noqa: B023
        assert service.get(address).data == first.data


def test_progress_is_one_small_read_of_each_held_request_and_of_each_job(service: Service) -> None:
    auth_key = NOBODY
    requests = HeldRequests(service.store, auth_key)
    ids = [[service.submit() for _ in range(2)] for _ in range(3)]
    for number, job_ids in enumerate(ids):
        request = HeldRequest(auth_key, f"task({number})", tuple(job_ids), 1, holder="held")
        assert requests.open(request, f"digest {number}", forced=True, random=False).request == request
    service.start(step=1)
    paths = ("/sdapi/v1/progress", "/sdapi/v1/progress?skip_current_image=true")
    for path in paths:
        service.json(path)  # asks for previews
    for path in paths:
        assert service.json(path)["state"]["sampling_step"] == 1
        # In one call of a script: of each request and of each job. Then of each job what may have changed.
        listed = {"evalsha": 1, "zrange": 1, "hmget": 3 + 6 + 6}
        assert commands(service, lambda: service.json(path)) == listed  # noqa: B023
    task = {"id_task": "task(0)", "live_preview": False}
    service.post("/internal/progress", json=task)
    assert commands(service, lambda: service.post("/internal/progress", json=task)) == {"hmget": 3}


def test_a_job_that_moves_on_is_read_once_more_when_its_state_changes(service: Service) -> None:
    running = jobs_in_all_states(service)["running"]
    service.job(running)
    service.step(2)
    forecast = {"evalsha": 1, "hgetall": 1, "time": 1}
    assert commands(service, lambda: service.job(running)) == {"hmget": 1, **forecast}
    service.finish()
    assert commands(service, lambda: service.job(running))["hgetall"] == 1


@pytest.mark.parametrize("path", PATHS)
def test_a_change_by_another_process_is_shown_at_once(service: Service, path: str) -> None:
    ids = jobs_in_all_states(service)
    running, waiting = ids["running"], ids["queued"]

    def seen(job_id: str) -> dict[str, object]:
        return dict(service.json(path.format(job_id)))

    def step(job_id: str) -> object:
        view = seen(job_id)
        return view["step"] if "step" in view else view["progress"]["step"]  # type: ignore[index]

    assert (step(running), step(waiting)) == (1, 0)
    service.step(3)
    assert step(running) == 3
    service.driver.store.cancel(waiting)
    assert seen(waiting)["state"] == "cancelled"
    service.finish()
    assert seen(running)["state"] == "succeeded"


def test_a_new_job_with_the_id_of_a_deleted_one_is_another_job(service: Service) -> None:
    job_id = service.submit(id="mine", prompt="the first")
    assert service.job(job_id)["request"]["prompt"] == "the first"
    service.driver.store.cancel(job_id)
    service.release()
    service.redis.delete(*service.redis.keys("*mine*"))
    assert service.get(f"/v1/jobs/{job_id}").status_code == 404
    service.redis.flushall()
    service.open()
    service.submit(id="mine", prompt="the second")
    assert service.job(job_id)["request"]["prompt"] == "the second"


def test_position_and_time_are_looked_up_again_when_the_job_changes(service: Service) -> None:
    service.driver.know(**{"tiny-image": 1.0})
    running, waiting = service.submit(), service.submit()
    service.start(step=1)
    assert [service.job(job_id)["position"] for job_id in (running, waiting)] == [0, 1]
    service.finish()  # the waiting job gets the slot
    assert service.job(waiting)["position"] == 0
    assert service.job(running)["position"] is None


def test_a_silent_run_comes_nearer_to_its_end_without_further_reads(service: Service) -> None:
    job_id = service.submit()
    service.start(step=1)  # 1 s is left
    jobs = of(service.app).current_jobs
    jobs.fresh_s = 0
    first = service.job(job_id)["eta_s"]
    spent = commands(service, lambda: service.job(job_id))
    assert spent == {"hmget": 1}
    wait_for(lambda: 0 <= service.job(job_id)["eta_s"] < first, "the time left to become less")
    jobs.fresh_s = 600
    assert service.job(job_id)["eta_s"] < first  # it is counted down once for all polls until then


def test_the_records_that_are_kept_are_bounded(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.events.current_jobs.MAX_RECORDS", 3)
    ids = [service.submit() for _ in range(6)]
    for _ in range(2):
        assert [service.job(job_id)["id"] for job_id in ids] == ids
    assert len(of(service.app).current_jobs) == 3
    assert commands(service, lambda: service.job(ids[-1])) == {"hmget": 1}
    monkeypatch.setattr("app.events.current_jobs.MAX_CHARS", 100)  # no record is as short as a sixteenth of this
    too_long = service.submit()
    service.cancel(too_long)
    for _ in range(2):
        assert commands(service, lambda: service.job(too_long)) == {"hgetall": 1}
