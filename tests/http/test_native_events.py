"""Following jobs: server-sent events with replay, long polls, and waiting in the submitting call."""

from __future__ import annotations

import time

import pytest

from app.protocols.native import streams
from tests.support.harness import wait_for
from tests.support.service import Service, key, later


def test_a_job_is_followed_to_its_end(service: Service) -> None:
    job_id = service.submit(steps=3)
    stream = service.events(f"/v1/jobs/{job_id}/events")
    first = next(stream)
    assert (first[1], first[2]) == ("status", service.job(job_id))  # a late listener gets the current state first
    service.start()
    assert next(stream)[1:] == ("state", {
        "id": job_id, "state": "running", "slot": "gpu0", "device": "cpu", "eta_s": None,
        "progress": {"stage": None, "stage_percent": None, "step": 0, "steps": 3, "percent": 0},
    })  # fmt: skip
    for step in (1, 2, 3):
        service.step(step, 3)
        _, name, data = next(stream)
        assert (name, data["id"], data["progress"]["step"]) == ("progress", job_id, step)
        assert data["progress"] == {
            "stage": "denoising", "stage_percent": None, "step": step, "steps": 3, "percent": min(99, 100 * step // 3),
        }  # fmt: skip
    service.finish()
    rest = list(stream)
    assert [name for _, name, _ in rest][-1] == "end"
    assert rest[-1][2] == service.job(job_id)
    assert rest[-1][2]["outputs"][0]["media_type"] == "image/png"
    ids = [tuple(map(int, event_id.split("-"))) for event_id, *_ in [first, *rest]]
    assert ids == sorted(ids)


def test_a_stream_says_what_a_delivery_waits_for(service: Service) -> None:
    job_id = service.submit(steps=3)
    service.start()
    stream = service.events(f"/v1/jobs/{job_id}/events")
    delivering = (data for _, _, data in stream if data["state"] == "delivering")  # not "running", told once or twice
    assert service.store.finish_run(job_id, 1, slot="gpu0", node="host", run_s=1)
    assert "waiting_for" not in next(delivering)
    service.store.claim(job_id, 1, "io")
    service.store.defer(job_id, 1, "io", 60, away=True, why="the object store: S3 refused: SlowDown")
    assert next(delivering)["waiting_for"] == "the object store: S3 refused: SlowDown"
    stream.close()


def test_a_finished_job_answers_at_once(service: Service) -> None:
    job_id = service.submit()
    service.finish()
    [(_, name, data)] = service.events(f"/v1/jobs/{job_id}/events")
    assert (name, data["state"]) == ("status", "succeeded")


def test_what_was_missed_is_replayed(service: Service) -> None:
    job_id = service.submit(steps=9)
    path = f"/v1/jobs/{job_id}/events"
    stream = service.events(path)
    seen = [next(stream)]
    service.start()
    seen.append(next(stream))
    for step in (1, 2):
        service.step(step, 9)
        seen.append(next(stream))
    stream.close()
    service.cancel(job_id)
    rest = list(service.events(path, since=seen[1][0]))
    assert [message[0] for message in rest[:2]] == [message[0] for message in seen[2:]]
    assert rest[-1][1:] == ("end", service.job(job_id))
    assert list(service.events(path, since=rest[-1][0])) == []


def test_an_id_too_old_to_replay_gets_the_present_state(service: Service) -> None:
    job_id = service.submit()
    service.finish()
    [(_, name, _)] = service.events(f"/v1/jobs/{job_id}/events", since="1-0")
    assert name == "status"


@pytest.mark.parametrize(
    "since",
    ["yesterday", "1", "1-2-3", "99999999999999999999-0", "18446744073709551616-0", "1-18446744073709551616", "-1-0",
     "1-1 ", "+", "$", "(1-1", "\u0661-\u0660", "\xff", "1" * 5000, "1-1, 2-2"],
)  # fmt: skip
def test_a_wrong_id_is_refused(service: Service, since: str) -> None:
    response = service.get(f"/v1/jobs/{service.submit()}/events", headers={"Last-Event-ID": since})
    assert (response.status_code, response.get_json()["error"]["fields"][0]["field"]) == (422, "Last-Event-ID")


def test_a_silent_stream_sends_comments(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEEPALIVE_S", 0.05)
    stream = service.events(f"/v1/jobs/{service.submit()}/events")
    wait_for(lambda: ": still here" in stream.comments, "a comment")
    stream.close()


def test_a_deleted_job_ends_its_stream(service: Service) -> None:
    service.submit()
    job_id = service.submit()
    stream = service.events(f"/v1/jobs/{job_id}/events")
    next(stream)
    service.delete(f"/v1/jobs/{job_id}")
    assert all(data["state"] == "cancelled" for _, _, data in stream)


def test_all_jobs_are_followed_at_once(service: Service) -> None:
    stream = service.events("/v1/events")
    ids = []
    for _ in range(3):
        ids.append(service.submit())
        service.finish()
    ends = (data["id"] for _, name, data in stream if name == "end")
    assert [next(ends) for _ in ids] == ids
    assert stream.comments == [": listening"]


def test_a_key_is_told_of_its_own_jobs_only(service: Service) -> None:
    ops = key(service, "ops", role="admin")
    alice, bob = key(service, "alice", admin=ops), key(service, "bob", admin=ops)
    stream = service.events("/v1/events", headers=alice)
    service.submit(bob)
    service.finish()
    mine = service.submit(alice)
    service.finish()
    assert next(stream)[2]["id"] == mine


def test_a_long_poll_answers_when_the_state_changes(service: Service) -> None:
    job_id = service.submit()
    with later(service.start):
        assert service.json(f"/v1/jobs/{job_id}?wait=30")["state"] == "running"
    with later(service.cancel, job_id):
        assert service.json(f"/v1/jobs/{job_id}?wait=30")["state"] == "cancelled"
    begun = time.monotonic()
    assert service.json(f"/v1/jobs/{job_id}?wait=30")["state"] == "cancelled"
    assert time.monotonic() - begun < 5  # finished: there is nothing to wait for


def test_a_long_poll_ends_in_time(service: Service) -> None:
    job_id = service.submit()
    begun = time.monotonic()
    assert service.json(f"/v1/jobs/{job_id}?wait=0.3")["state"] == "queued"
    assert time.monotonic() - begun >= 0.3


@pytest.mark.parametrize("how", ["query", "header"])
def test_submit_can_wait_for_the_end(service: Service, how: str) -> None:
    path, headers = ("?wait=30", {}) if how == "query" else ("", {"Prefer": "respond-async, wait=30"})
    with later(service.finish):
        fields = {"model": "tiny-image", "prompt": "x", "steps": 1}
        response = service.post(f"/v1/jobs{path}", json=fields, headers=headers)
    job = response.get_json()
    assert (response.status_code, job["state"], job["position"]) == (201, "succeeded", None)
    assert service.get(job["outputs"][0]["url"]).status_code == 200


def test_submit_waits_for_the_first_job_of_a_repeated_key(service: Service) -> None:
    fields, headers = {"model": "tiny-image", "prompt": "x", "steps": 1}, {"Idempotency-Key": "once"}
    first = service.post("/v1/jobs", json=fields, headers=headers).get_json()["id"]
    with later(service.finish):
        repeat = service.post("/v1/jobs?wait=30", json=fields, headers=headers)
    # It waits for a change of state, which may be the start of the run.
    assert (repeat.status_code, repeat.get_json()["id"]) == (200, first)
    assert repeat.get_json()["state"] != "queued"


def test_many_listeners_share_one_connection_to_redis(service: Service) -> None:
    job_id = service.submit()
    next(service.events(f"/v1/jobs/{job_id}/events"))
    before = len(service.redis.client_list())
    streams_ = [service.events(f"/v1/jobs/{job_id}/events") for _ in range(30)]
    for stream in streams_:
        assert next(stream)[1] == "status"
    assert len(service.redis.client_list()) <= before + 3
    service.start()
    for stream in streams_:
        assert next(stream)[2]["state"] == "running"
        stream.close()
