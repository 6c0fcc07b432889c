"""Jobs over the native API after their submission: lists, stops, retries, pauses, deletion."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from jobs.files import retention
from jobs.store import keys
from tests.support.native_jobs import JOB_FIELDS, TINY
from tests.support.pictures import PNG, b64
from tests.support.service import Service, key

TOKYO = timezone(timedelta(hours=9))
IMAGE = b64(PNG)


def test_the_list_is_paged_newest_first(service: Service) -> None:
    ids = [service.submit() for _ in range(5)]
    listed, after = [], ""
    for _ in range(3):
        page = service.json(f"/v1/jobs?limit=2{after}")
        listed += [job["id"] for job in page["jobs"]]
        after = f"&after={page['next']}"
    assert listed == ids[::-1]
    assert (page["total"], page["next"]) == (5, None)


def test_the_list_of_a_state_ends(service: Service) -> None:
    running = service.submit()
    service.start()
    waiting = [service.submit() for _ in range(3)]
    page = service.json("/v1/jobs?state=queued")
    assert [job["id"] for job in page["jobs"]] == waiting[::-1]
    assert [job["position"] for job in page["jobs"]] == [3, 2, 1]
    assert (page["total"], page["next"]) == (3, None)
    assert [job["id"] for job in service.json("/v1/jobs?state=running")["jobs"]] == [running]


def test_the_settings_limit_the_queue(services: Callable[..., Service]) -> None:
    service = services(MAX_WAITING=2)
    codes = [service.post("/v1/jobs", json=TINY).status_code for _ in range(2)]
    refused = service.post("/v1/jobs", json=TINY)
    assert (codes, refused.status_code) == ([201, 201], 429)
    assert refused.get_json()["error"]["code"] == "queue_full"
    assert int(refused.headers["Retry-After"]) > 0


def test_a_waiting_job_is_cancelled_at_once(service: Service) -> None:
    running, waiting, last = (service.submit() for _ in range(3))
    assert [service.job(job_id)["position"] for job_id in (running, waiting, last)] == [0, 1, 2]
    stopped = service.cancel(waiting)
    assert set(stopped) == JOB_FIELDS | {"cancelled"}
    assert (stopped["id"], stopped["state"], stopped["cancelled"]) == (waiting, "cancelled", True)
    assert service.job(last)["position"] == 1
    job = service.job(waiting)
    assert (job["state"], job["started_at"], job["attempt"], job["position"]) == ("cancelled", None, 0, None)


def test_stopping_twice_or_too_late_says_so(service: Service) -> None:
    job_id = service.submit()
    service.start()
    assert service.cancel(job_id)["cancelled"] is True
    again = service.cancel(job_id)
    assert (again["cancelled"], again["state"]) == (False, "cancelled")
    service.release()
    done = service.submit()
    service.finish()
    late = service.cancel(done)
    assert (late["cancelled"], late["state"]) == (False, "succeeded")
    assert service.get(f"/v1/jobs/{done}/result").status_code == 200


def test_what_is_computed_is_stopped_together(service: Service) -> None:
    running = service.submit()
    service.start()
    waiting = service.submit()
    assert service.post("/v1/jobs/cancel").get_json() == {"cancelled": [running]}
    assert service.job(waiting)["state"] == "queued"
    assert service.post("/v1/jobs/cancel", json={}).get_json() == {"cancelled": []}
    assert service.post("/v1/jobs/cancel", json={"waiting": True}).get_json() == {"cancelled": [waiting]}
    wrong = service.post("/v1/jobs/cancel", json={"waiting": "perhaps", "all": 1})
    assert wrong.get_json()["error"]["fields"][0]["field"] == "waiting"
    assert service.post("/v1/jobs/cancel", json={"all": 1}).status_code == 422


def test_a_job_that_could_not_start_in_time_expires(service: Service) -> None:
    service.submit()
    late, patient = service.submit(start_within_s=0.5), service.submit(start_within_s=600)
    service.driver.pass_deadline(late)
    service.driver.sweep()
    job = service.job(late)
    assert (job["state"], job["started_at"], job["error"]["code"]) == ("expired", None, "expired")
    assert service.job(patient)["state"] == "queued"


@pytest.mark.parametrize("as_text", [True, False])
def test_a_job_does_not_start_before_its_time(service: Service, as_text: bool) -> None:
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=8)
    body = {"prompt": "x", "not_before": start.astimezone(TOKYO).isoformat() if as_text else start.timestamp()}
    job = service.post("/v1/jobs", json=body).get_json()
    assert (job["state"], job["position"], job["slot"]) == ("queued", None, None)
    assert datetime.fromisoformat(job["not_before"]) == start
    assert job["waiting_for"] == f"the time {start:%Y-%m-%dT%H:%M:%SZ}"
    service.driver.let_time_come(job["id"])
    service.driver.sweep()
    assert service.job(job["id"])["position"] == 0


def test_a_retry_of_a_job_with_a_time_starts_at_once(service: Service) -> None:
    start = (datetime.now(UTC) + timedelta(hours=8)).isoformat()
    job_id = service.post("/v1/jobs", json={"prompt": "x", "not_before": start}).get_json()["id"]
    service.post(f"/v1/jobs/{job_id}/cancel")
    again = service.post(f"/v1/jobs/{job_id}/retry").get_json()
    assert (again["not_before"], again["position"]) == (None, 0)


def test_a_time_that_is_over_means_at_once(service: Service) -> None:
    job = service.post("/v1/jobs", json={"prompt": "x", "not_before": "2020-01-31T18:00:00Z"}).get_json()
    assert (job["not_before"], job["position"]) == (None, 0)


def test_only_what_did_not_succeed_is_sent_again(service: Service) -> None:
    failed = service.submit(seed=5)
    service.fail()
    response = service.post(f"/v1/jobs/{failed}/retry")
    again = response.get_json()
    assert (response.status_code, response.headers["Location"]) == (201, f"/v1/jobs/{again['id']}")
    assert (again["id"] == failed, again["state"], again["request"]["seed"]) == (False, "queued", 5)
    early = service.post(f"/v1/jobs/{again['id']}/retry")
    assert (early.status_code, early.get_json()["error"]["code"]) == (409, "conflict")
    service.finish()
    assert service.post(f"/v1/jobs/{again['id']}/retry").status_code == 409


def test_a_waiting_job_is_moved_to_the_front(service: Service) -> None:
    running, first, last = (service.submit() for _ in range(3))
    moved = service.post(f"/v1/jobs/{last}/front").get_json()
    assert (moved["id"], moved["position"]) == (last, 1)
    assert service.job(first)["position"] == 2
    refused = service.post(f"/v1/jobs/{running}/front")
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (409, "conflict")


def test_the_key_gives_the_retention_class(service: Service) -> None:
    ops = key(service, "ops", role="admin")
    alice, bob = key(service, "alice", admin=ops, retention="hours"), key(service, "bob", admin=ops)
    ids = [service.submit(alice), service.submit(bob), service.submit(alice, retention="keep")]
    given = [service.json(f"/v1/jobs/{job_id}", headers=ops)["retention"] for job_id in ids]
    assert given == ["hours", "days", "keep"]
    listed = service.json("/v1/admin/keys", headers=ops)["keys"]
    assert {one["service"]: one["retention"] for one in listed} == {"ops": "", "alice": "hours", "bob": ""}
    assert service.delete("/v1/admin/keys/alice", headers=ops).status_code == 200
    key(service, "alice", admin=ops, retention="keep")
    listed = service.json("/v1/admin/keys", headers=ops)["keys"]
    assert [(one["service"], one["retention"]) for one in listed] == [("alice", "keep"), ("bob", ""), ("ops", "")]
    for path, body in (("/v1/jobs", TINY), ("/v1/admin/keys", {"service": "eve"})):
        refused = service.post(path, json={**body, "retention": "for ever"}, headers=ops)
        [problem] = refused.get_json()["error"]["fields"]
        assert (refused.status_code, problem["field"]) == (422, "retention")
        assert "keep, days, hours" in problem["rule"]


def test_a_key_sees_stops_and_deletes_its_own_jobs_only(service: Service) -> None:
    ops = key(service, "ops", role="admin")
    alice, bob = key(service, "alice", admin=ops), key(service, "bob", admin=ops)
    job_id = service.submit(alice)
    path = f"/v1/jobs/{job_id}"

    def codes(headers: dict[str, str]) -> list[tuple[int, str]]:
        calls = [service.get(path, headers=headers), service.post(f"{path}/retry", headers=headers),
                 service.post(f"{path}/cancel", headers=headers), service.delete(path, headers=headers)]  # fmt: skip
        return [(call.status_code, call.get_json()["error"]["code"]) for call in calls]

    assert codes(bob) == [(404, "job_not_found")] * 4
    assert service.json("/v1/jobs", headers=bob)["total"] == 0
    assert service.json(path, headers=ops)["state"] == "queued"
    assert service.get("/v1/jobs").status_code == 401


def test_a_deleted_job_is_unknown_and_its_id_stays_taken(service: Service) -> None:
    ops = key(service, "ops", role="admin")
    alice, bob = key(service, "alice", admin=ops), key(service, "bob", admin=ops)
    service.submit(bob)
    job_id = service.submit(alice)
    path = f"/v1/jobs/{job_id}"
    assert service.delete(path, headers=alice).get_json() == {"id": job_id, "deleted": True, "changed": True}
    for headers in (alice, bob, ops):
        assert service.get(path, headers=headers).get_json()["error"]["code"] == "job_not_found"
        assert service.post(f"{path}/retry", headers=headers).status_code == 404
    for headers in (alice, ops):
        again = service.delete(path, headers=headers).get_json()
        assert again == {"id": job_id, "deleted": True, "changed": False}
    assert service.delete(path, headers=bob).status_code == 404
    taken = service.post("/v1/jobs", json={**TINY, "id": job_id}, headers=alice)
    assert (taken.status_code, taken.get_json()["error"]["code"]) == (409, "duplicate_job")
    assert job_id not in {job["id"] for job in service.json("/v1/jobs", headers=ops)["jobs"]}


def test_a_running_job_is_deleted_when_its_worker_has_stopped(service: Service) -> None:
    job_id = service.submit()
    service.start()
    assert service.delete(f"/v1/jobs/{job_id}").get_json() == {"id": job_id, "deleted": False, "changed": True}
    assert service.job(job_id)["state"] == "cancelled"
    service.release()
    assert service.get(f"/v1/jobs/{job_id}").status_code == 404
    assert service.delete("/v1/jobs/never").status_code == 404


def test_an_input_goes_with_the_last_job_that_needs_it(service: Service) -> None:
    service.redis.set(keys.FILES_BEGAN, 0)
    image = {"kind": "img2img", "strength": 1, "image": IMAGE}
    service.submit()
    first, second = service.submit(**image), service.submit(**image)
    [name] = [found.key for found in service.objects.list("inputs/")]

    def removed() -> bool:
        service.redis.zadd(keys.DUE, {name: 1}, xx=True)  # as if it had been sent long ago
        retention.remove_due(service.store, service.objects, again_after_s=0)
        return not list(service.objects.list("inputs/"))

    service.delete(f"/v1/jobs/{first}")
    assert service.cancel(second)["cancelled"]
    again = service.post(f"/v1/jobs/{second}/retry").get_json()["id"]
    service.delete(f"/v1/jobs/{second}")
    assert not removed()
    service.delete(f"/v1/jobs/{again}")
    assert removed()


def listed(service: Service, query: str, headers: dict[str, str] | None = None) -> list[str]:
    return [job["id"] for job in service.json(f"/v1/jobs?{query}", headers=headers)["jobs"]]


def test_the_list_is_filtered_by_states_model_words_and_times(service: Service) -> None:
    circle = service.submit(prompt='A red "Circle"\non ÜBER blue', id="circle-1")
    square = service.submit(prompt="a red square")
    film = service.submit(model="tiny-video", prompt="a red film")
    service.open()
    service.fail(message="the GPU fell off")  # the circle
    service.start()
    assert listed(service, "state=running,queued") == [film, square]
    assert listed(service, "state=failed&state=running") == [square, circle]
    assert listed(service, "state=queued,%20queued") == [film]
    assert listed(service, "model=tiny-video") == [film]
    assert listed(service, "model=unknown") == []
    assert listed(service, "text=RED") == [film, square, circle]
    assert listed(service, "text=circle%22%20Über") == [circle]
    assert listed(service, "text=fell%20red") == [circle]
    assert listed(service, "text=circle-") == [circle]
    assert listed(service, "text=red%20moon") == []
    assert listed(service, "text=red&model=tiny-image&state=running") == [square]
    at = service.job(square)["created_at"]
    assert {square, film} <= {*listed(service, f"since={at}")}
    assert square not in listed(service, f"until={at}")
    assert listed(service, "since=2020-01-01&until=2020-01-01T10:00:00+02:00") == []
    assert listed(service, "until=2020-01-01T10:00:00%2B02:00") == []
    assert service.json("/v1/jobs?since=2020-01-01")["total"] == 3
    assert service.json("/v1/jobs?state=queued,running")["total"] == 2
    assert service.json("/v1/jobs?text=red")["total"] is None


def test_admins_list_the_jobs_of_one_key(service: Service) -> None:
    ops = key(service, "ops")
    alice = key(service, "alice", admin=ops)
    job_id = service.submit(alice)
    service.submit(ops)
    assert listed(service, "key=alice", ops) == [job_id]
    assert listed(service, "key=alice&state=queued&text=x", ops) == [job_id]
    assert listed(service, "key=nobody", ops) == []
    refused = service.get("/v1/jobs?key=ops", headers=alice)
    assert (refused.status_code, "`key`" in refused.get_json()["error"]["message"]) == (403, True)


def test_a_job_is_paused_and_resumed(service: Service) -> None:
    sent, waiting, last = (service.submit() for _ in range(3))
    for job_id in (sent, waiting, waiting):
        paused = service.post(f"/v1/jobs/{job_id}/pause")
        assert paused.status_code == 200
    job = service.job(waiting)
    assert set(paused.get_json()) == JOB_FIELDS
    assert (job["state"], job["pausing"], job["position"], job["slot"]) == ("paused", False, None, None)
    assert job["waiting_for"] == "resume of the job"
    left = datetime.fromisoformat(job["resume_by"]) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left < timedelta(days=7)
    assert service.finish() == last
    listed = service.json("/v1/jobs?state=paused")
    assert ({one["id"] for one in listed["jobs"]}, listed["total"]) == ({sent, waiting}, 2)
    assert service.json("/v1/queue")["counts"]["paused"] == 2
    resumed = service.post(f"/v1/jobs/{waiting}/resume").get_json()
    assert (resumed["state"], resumed["slot"], resumed["resume_by"]) == ("queued", "gpu0", None)
    assert service.post(f"/v1/jobs/{waiting}/resume").get_json()["state"] == "queued"
    assert service.cancel(sent)["cancelled"] is True


def test_what_cannot_be_paused_says_why(service: Service) -> None:
    job_id = service.submit()
    service.start(step=0)
    for reports, why in (
        ({}, "the job is running and cannot be paused: its worker does not make checkpoints"),
        ({"not_resumable": "it has a step cache"}, "the job is running and cannot be paused: it has a step cache"),
    ):
        service.store.progress(job_id, 1, "denoising", 1, 4, None, **reports)
        refused = service.post(f"/v1/jobs/{job_id}/pause")
        assert (refused.status_code, refused.get_json()["error"]["code"]) == (409, "conflict")
        assert refused.get_json()["error"]["message"] == why
    service.store.progress(job_id, 1, "denoising", 1, 4, None, resumable=True)
    pausing = service.post(f"/v1/jobs/{job_id}/pause").get_json()
    assert (pausing["state"], pausing["pausing"]) == ("running", True)
    kept = service.post(f"/v1/jobs/{job_id}/resume").get_json()
    assert (kept["state"], kept["pausing"]) == ("running", False)
    service.finish()
    for call in ("pause", "resume"):
        assert service.post(f"/v1/jobs/{job_id}/{call}").status_code == 409
        assert service.post(f"/v1/jobs/unknown/{call}").status_code == 404


def test_a_job_that_was_paused_at_a_step_keeps_its_progress_and_its_preview(service: Service) -> None:
    job_id = service.submit(steps=4)
    service.start(step=2)
    service.store.progress(job_id, 1, "denoising", 2, 4, None, resumable=True)
    service.store.preview(job_id, 1, 2, PNG, "image/png")
    service.post(f"/v1/jobs/{job_id}/pause")
    service.store.keep_checkpoint(job_id, 1, step=2, age_s=0, node="host")
    service.store.hand_over(job_id, 1, slot="gpu0")
    job = service.job(job_id)
    progress = job["progress"]
    assert (job["state"], job["pausing"], progress["step"], progress["percent"]) == ("paused", False, 2, 50)
    assert job["preview"]["step"] == 2
    assert service.get(job["preview"]["url"]).data == PNG
    resumed = service.post(f"/v1/jobs/{job_id}/resume").get_json()
    assert (resumed["state"], resumed["progress"]["step"], resumed["preview"]) == ("queued", 2, None)
