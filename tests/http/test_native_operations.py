"""Fleet, queue, models and administration over the native API."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jobs.store import keys
from jobs.store.outgoing.webhook_outbox import WebhookOutbox
from jobs.store.statistics import slot_history
from tests.support.service import PATIENCE_S, Service, key, later
from tests.support.store_driver import OWNER


def run(service: Service, model: str, command: str, **body: Any) -> tuple[int, dict[str, Any]]:
    response = service.post(f"/v1/models/{model}/{command}", json=body)
    return response.status_code, dict(response.get_json())


# ---- fleet and queue


def test_the_fleet_names_slots_and_what_they_do(service: Service) -> None:
    service.open("gpu1", "tiny-video")
    running = service.submit()
    service.redis.zadd(keys.NODES, {"host": 2e9})
    fleet = service.json("/v1/fleet")
    assert set(fleet) == {"slots", "delivery", "object_store_away", "version"}
    assert (fleet["delivery"], fleet["object_store_away"]) == (["host"], [])
    busy, idle = fleet["slots"]
    assert (busy["name"], busy["state"], busy["job_id"]) == ("gpu0", "busy", running)
    assert (idle["name"], idle["state"], idle["job_id"], idle["models"]) == ("gpu1", "idle", None, ["tiny-video"])
    assert set(busy) == {
        "name", "node", "device", "device_name", "state", "job_id", "models", "resident", "loads", "waiting_for",
        "out_of_memory", "held", "device_facts",
    }  # fmt: skip


def test_the_queue_counts_what_waits_and_runs(service: Service) -> None:
    assert service.json("/v1/queue")["idle"] is True
    running = service.submit()
    assert service.json("/v1/queue")["idle"] is False  # at the moment when the job was accepted
    service.submit()
    service.submit(model="broken")
    queue = service.json("/v1/queue")
    assert set(queue) == {
        "idle", "active", "counts", "submitted", "waiting", "waiting_for", "max_waiting", "paused", "eta",
    }  # fmt: skip
    assert (queue["active"], queue["submitted"], queue["paused"]) == ([running], 3, [])
    assert queue["waiting"] == {"total": 2, "by_model": {"tiny-image": 1, "broken": 1}, "by_class": {"general": 2}}
    assert queue["waiting_for"] == ["model broken"]
    assert (queue["counts"]["queued"], queue["counts"]["succeeded"]) == (3, 0)
    assert queue["max_waiting"] == service.settings.scheduling.max_waiting
    assert queue["eta"] == {"jobs": 0, "mean_error_s": 0, "mean_actual_s": 0}
    service.finish()
    service.finish()
    assert service.json("/v1/queue")["counts"]["succeeded"] == 2


def test_others_jobs_are_not_named(service: Service) -> None:
    ops = key(service, "ops", role="admin")
    alice, bob = key(service, "alice", admin=ops), key(service, "bob", admin=ops)
    job_id = service.submit(alice)
    for headers, shown in ((alice, job_id), (ops, job_id), (bob, None)):
        assert service.json("/v1/fleet", headers=headers)["slots"][0]["job_id"] == shown
        assert service.json("/v1/queue", headers=headers)["active"] == [job_id] * (shown is not None)


def test_the_last_hour_of_the_slots(service: Service) -> None:
    assert service.json("/v1/fleet/history") == {"interval_s": 60, "slots": [{"name": "gpu0", "samples": []}]}
    sample = {"at": "2026-01-31T09:00:00.000+00:00", "memory_used_bytes": 5, "memory_total_bytes": 10}
    slot_history.add(service.store, "gpu0", sample)
    assert service.json("/v1/fleet/history")["slots"] == [{"name": "gpu0", "samples": [sample]}]


def test_a_drained_slot_finishes_its_job_and_takes_no_other(service: Service) -> None:
    running = service.submit()
    service.start()
    waiting = service.submit()
    drain = "/v1/admin/slots/gpu0/drain"
    assert service.post(drain).get_json() == {"slot": "gpu0", "drained": False, "job_id": running}
    assert service.json("/v1/fleet")["slots"][0]["state"] == "draining"
    with later(service.finish):
        drained = service.post(f"{drain}?wait={PATIENCE_S}")
    assert drained.get_json() == {"slot": "gpu0", "drained": True, "job_id": None}
    assert service.json("/v1/fleet")["slots"][0]["state"] == "paused"
    assert service.job(waiting)["slot"] is None
    assert service.post("/v1/admin/resume", json={"slot": "gpu0"}).get_json() == {"paused": []}
    assert service.job(waiting)["slot"] == "gpu0"


def test_draining_waits_for_the_worker_of_a_stopped_job(service: Service) -> None:
    job_id = service.submit()
    service.start()
    service.cancel(job_id)
    drain = "/v1/admin/slots/gpu0/drain"
    assert service.post(f"{drain}?wait=0.2").get_json()["job_id"] == job_id
    with later(service.release):
        assert service.post(f"{drain}?wait={PATIENCE_S}").get_json()["drained"]


def test_wrong_drains_are_refused(service: Service) -> None:
    unknown = service.post("/v1/admin/slots/gpu7/drain")
    assert (unknown.status_code, unknown.get_json()["error"]["code"]) == (404, "not_found")
    wrong = service.post("/v1/admin/slots/gpu0/drain?wait=soon")
    assert (wrong.status_code, service.json("/v1/queue")["paused"]) == (422, [])


# ---- models


def test_models_tell_what_they_can_do_and_not_where_they_are_stored(service: Service) -> None:
    models = {model["name"]: model for model in service.json("/v1/models")["models"]}
    assert models["tiny-video"]["kinds"] == ["text2video", "img2video"]
    assert models["tiny-video"]["defaults"]["frames"] == 9
    assert models["tiny-image"]["limits"]["width"] == {"min": 16, "max": 128}
    assert "frames" not in models["tiny-image"]["defaults"]
    assert "source" not in models["tiny-image"]
    assert (models["tiny-image"]["pinned"], models["tiny-image"]["memory"]) == ([], [])


def test_a_model_command_is_a_job_of_its_slot(service: Service) -> None:
    code, answer = run(service, "tiny-image", "load")
    [entry] = answer["slots"]
    assert (code, answer["model"], answer["command"]) == (202, "tiny-image", "load")
    assert (entry["slot"], entry["will"], entry["position"]) == ("gpu0", "load it", 0)
    assert entry["links"]["self"] == f"/v1/jobs/{entry['job_id']}"
    job = service.job(entry["job_id"])
    assert (job["command"], job["model"], job["slot"]) == ("load", "tiny-image", "gpu0")
    assert run(service, "tiny-image", "check")[1]["slots"][0]["will"] == "load it and run it once"
    assert run(service, "tiny-image", "unload") == (200, {
        "model": "tiny-image", "command": "unload", "slots": [{"slot": "gpu0", "will": "nothing: it is not in memory"}],
    })  # fmt: skip


def test_a_model_in_memory_needs_no_loading(service: Service) -> None:
    held = [{"model": "tiny-image", "place": "device", "bytes": 5, "pinned": False}]
    service.redis.hset(keys.SLOT + "gpu0", "held", json.dumps(held))
    assert run(service, "tiny-image", "load")[0] == 200
    assert run(service, "tiny-image", "unload")[1]["slots"][0]["will"] == "unload it"
    models = {model["name"]: model for model in service.json("/v1/models")["models"]}
    assert models["tiny-image"]["memory"] == [{"slot": "gpu0", "place": "device", "bytes": 5}]


def test_a_pinned_model_is_not_unloaded(service: Service) -> None:
    assert run(service, "tiny-image", "pin")[0] == 202
    code, refused = run(service, "tiny-image", "unload")
    assert (code, refused["detail"]) == (409, "model tiny-image is pinned on gpu0: unpin it first")
    assert run(service, "tiny-image", "unpin")[1]["slots"][0]["will"] == "stay until the space is needed"
    assert run(service, "tiny-image", "unload")[0] == 200


def test_a_check_computes_the_kind_that_is_asked_for(service: Service) -> None:
    for kind in ("text2img", "img2img"):
        code, answer = run(service, "tiny-image", "check", kind=kind)
        job = service.job(answer["slots"][0]["job_id"])
        assert (code, job["kind"], job["command"]) == (202, kind, "check")
        assert bool(service.store.get(job["id"]).request.image) == (kind == "img2img")
    code, answer = run(service, "tiny-image", "check", kind="text2video")
    assert (code, answer["error"]["fields"][0]["rule"]) == (
        422, "must be one of text2img, img2img for model tiny-image",
    )  # fmt: skip


def test_a_profile_measures_the_sizes_and_numbers_that_are_asked_for(service: Service) -> None:
    code, answer = run(service, "tiny-image", "profile")
    assert (code, answer["command"], answer["slots"][0]["will"]) == (202, "profile", "measure it")
    job = service.store.get(answer["slots"][0]["job_id"])
    assert (job.command, job.pin, job.command_options) == (
        "profile", "gpu0", {"sizes": [[32, 32]], "batches": [1, 2, 4, 8]}
    )  # fmt: skip
    _, answer = run(service, "tiny-image", "profile", sizes=["64x32", "32x32", "64x32"], batches=[3, 6], slot="gpu0")
    job = service.store.get(answer["slots"][0]["job_id"])
    assert job.command_options == {"sizes": [[64, 32], [32, 32]], "batches": [1, 3, 6]}
    for body, field in [
        ({"sizes": ["64"]}, "sizes"), ({"sizes": ["640x32"]}, "width"), ({"sizes": "64x64"}, "sizes"),
        ({"batches": [0]}, "batches"), ({"batches": [65]}, "batches"), ({"batches": [1] * 9}, "batches"),
        ({"kind": "text2img"}, "kind"),
    ]:  # fmt: skip
        code, answer = run(service, "tiny-image", "profile", **body)
        assert (code, answer["error"]["fields"][0]["field"].split("[")[0]) == (422, field), answer
    code, answer = run(service, "tiny-video", "profile")
    assert (code, "has no text2img" in answer["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("model", "body", "code", "text"),
    [
        ("nope", {}, 404, "nope"),
        ("broken", {}, 409, "no running worker has model broken"),
        ("tiny-image", {"slot": "gpu9"}, 422, "must be a slot that runs tiny-image: gpu0"),
        ("broken", {"slot": "gpu0"}, 422, "must be a slot that runs broken: none is available now"),
        ("tiny-image", {"where": "gpu0"}, 422, "is unknown"),
        ("tiny-image", {"kind": "text2img"}, 422, "is unknown"),
        ("tiny-imgae", {}, 404, "did you mean tiny-image?"),
    ],
)
def test_wrong_model_commands(service: Service, model: str, body: dict[str, Any], code: int, text: str) -> None:
    answer = run(service, model, "load", **body)
    assert answer[0] == code
    assert text in answer[1]["detail"]


# ---- administration


def test_a_paused_queue_and_a_paused_slot(service: Service) -> None:
    assert service.post("/v1/admin/pause").get_json() == {"paused": ["*"]}
    waiting = service.submit()
    assert service.job(waiting)["slot"] is None
    assert service.post("/v1/admin/pause", json={"slot": "gpu0"}).get_json() == {"paused": ["*", "gpu0"]}
    assert service.post("/v1/admin/resume").get_json() == {"paused": ["gpu0"]}
    assert service.json("/v1/queue")["paused"] == ["gpu0"]
    assert service.json("/v1/fleet")["slots"][0]["state"] == "paused"
    assert service.post("/v1/admin/resume", json={"slot": "gpu0"}).get_json() == {"paused": []}
    assert service.job(waiting)["slot"] == "gpu0"
    wrong = service.post("/v1/admin/pause", json={"slot": "gpu9"})
    assert (wrong.status_code, wrong.get_json()["error"]["fields"][0]["field"]) == (422, "slot")


def test_dead_letters_are_listed_until_they_are_sent_again(services: Callable[..., Service]) -> None:
    service = services(MAX_ATTEMPTS=1)
    service.open()
    job_id = service.submit()
    service.start()
    _, attempt = service.driver.at()
    service.store.lose(job_id, attempt)
    [dead] = service.json("/v1/admin/dead")["dead"]
    assert (dead["id"], dead["model"], dead["error"]["code"]) == (job_id, "tiny-image", "worker_lost")
    assert service.post(f"/v1/jobs/{job_id}/retry").status_code == 201
    assert service.json("/v1/admin/dead") == {"dead": []}


def test_the_first_key_is_made_on_the_host(service: Service) -> None:
    for role in ("client", "admin"):
        refused = service.post("/v1/admin/keys", json={"service": "web", "role": role})
        assert (refused.status_code, refused.get_json()["error"]["code"]) == (403, "forbidden")
        assert "on the server's host" in refused.get_json()["detail"]
    ops = key(service, "ops", role="admin")
    assert service.get("/v1/queue").status_code == 401
    listed = service.json("/v1/admin/keys", headers=ops)["keys"]
    assert [(one["service"], one["role"], "secret" in one) for one in listed] == [("ops", "admin", False)]
    again = service.post("/v1/admin/keys", json={"service": "ops", "role": "admin"}, headers=ops)
    assert (again.status_code, again.get_json()["error"]["code"]) == (409, "conflict")
    assert service.delete("/v1/admin/keys/nobody", headers=ops).get_json()["error"]["code"] == "key_not_found"
    web = key(service, "web", admin=ops)
    assert service.json("/v1/queue", headers=web)["submitted"] == 0
    assert service.delete("/v1/admin/keys/web", headers=ops).get_json() == {"service": "web", "revoked": True}
    assert service.get("/v1/queue", headers=web).status_code == 401
    last = service.delete("/v1/admin/keys/ops", headers=ops)
    assert (last.status_code, last.get_json()["error"]["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/admin/keys"), ("POST", "/v1/admin/keys"), ("DELETE", "/v1/admin/keys/ops"), ("GET", "/v1/admin/dead"),
     ("POST", "/v1/admin/pause"), ("POST", "/v1/admin/resume"), ("POST", "/v1/models/tiny-image/load"),
     ("POST", "/v1/models/tiny-image/unpin"), ("POST", "/v1/models/tiny-image/profile"),
     ("POST", "/v1/jobs/x/front"), ("PUT", "/v1/admin/keys/ops/webhook"),
     ("DELETE", "/v1/admin/keys/ops/webhook"), ("GET", "/metrics"), ("GET", "/v1/admin/storage"),
     ("POST", "/v1/admin/slots/gpu0/drain"), ("POST", "/v1/admin/slots/gpu0/yield"), ("GET", "/v1/admin/webhooks")],
)  # fmt: skip
def test_operation_needs_an_admins_key(service: Service, method: str, path: str) -> None:
    client = key(service, "web", admin=key(service, "ops", role="admin"))
    refused = service.client.open(path, method=method, headers=client)
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (403, "forbidden")


def test_the_newest_deliveries_of_all_jobs(services: Callable[..., Service]) -> None:
    service = services(WEBHOOK_ALLOW="127.0.0.1", WEBHOOK_SECRET=f"whsec_{'x' * 32}")
    outbox = WebhookOutbox(service.store)
    job_id = service.submit(webhook_url="http://127.0.0.1:9/hook?token=secret")
    assert service.json("/v1/admin/webhooks") == {"deliveries": []}
    service.cancel(job_id)
    [claimed] = outbox.claim("-|127.0.0.1:9", 1, lease_s=60, sender="me")
    tries = [{"at": 1000, "duration_ms": 5, "status": 500, "error": "the receiver answered 500"}]
    outbox.settle(replace(claimed, state="failed", next_at=None, tries=tries), "me")
    shown = {"job_id": job_id, "key": "-", "event": "job.cancelled", "receiver": "127.0.0.1:9", "state": "failed",
             "attempts": 1, "status": 500, "error": "the receiver answered 500",
             "tried_at": "1970-01-01T00:00:01.000+00:00", "next_try_at": None}  # fmt: skip
    for query in ("", "?failed=true"):
        assert service.json(f"/v1/admin/webhooks{query}") == {"deliveries": [shown]}
    service.post(f"/v1/jobs/{job_id}/webhooks/resend", json={})
    assert service.json("/v1/admin/webhooks?failed=true")["deliveries"] == []
    assert service.json("/v1/admin/webhooks?limit=5")["deliveries"][0]["state"] == "pending"
    wrong = service.get("/v1/admin/webhooks?limit=1001&failed=maybe").get_json()["error"]["fields"]
    assert {one["field"] for one in wrong} == {"limit", "failed"}


def test_the_webhook_of_a_key(services: Callable[..., Service]) -> None:
    service = services(WEBHOOK_ALLOW="127.0.0.1")
    service.open()
    ops = key(service, "ops", role="admin")
    url = "http://127.0.0.1:9/hook"
    path = "/v1/admin/keys/ops/webhook"

    def put(**body: Any) -> dict[str, Any]:
        return dict(service.client.put(path, json=body, headers=ops).get_json())

    made = put(url=url, events=["job.failed"])
    assert made["webhook"] == {"url": url, "events": ["job.failed"], "gone_at": None}
    assert made["secret"].startswith("whsec_")
    assert "secret" not in put(url=url)
    assert put(new_secret=True)["secret"] != made["secret"]
    assert put(events=["job.failed"])["error"]["fields"][0]["field"] == "events"
    assert put(address=url)["error"]["fields"][0]["rule"] == "is unknown"
    job_id = service.submit(ops)
    log = service.json(f"/v1/jobs/{job_id}/webhooks", headers=ops)
    assert (log["job_id"], log["url"], log["deliveries"]) == (job_id, url, [])
    nothing = service.post(f"/v1/jobs/{job_id}/webhooks/resend", headers=ops)
    assert (nothing.status_code, nothing.get_json()["detail"]) == (409, "this job has no webhook deliveries")
    service.fail()
    [delivery] = service.json(f"/v1/jobs/{job_id}/webhooks", headers=ops)["deliveries"]
    assert (delivery["event"], delivery["state"], delivery["tries"]) == ("job.failed", "pending", [])
    assert service.post(f"/v1/jobs/{job_id}/webhooks/resend", headers=ops).status_code == 200
    assert service.delete(path, headers=ops).get_json() == {"service": "ops", "webhook": None}
    assert service.delete("/v1/admin/keys/nobody/webhook", headers=ops).status_code == 404


def test_openapi_names_every_route_and_field(service: Service) -> None:
    spec = service.json("/openapi.json")
    routes = {"/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/result", "/v1/jobs/{job_id}/cancel",
              "/v1/jobs/cancel", "/v1/fleet", "/v1/queue", "/v1/models", "/v1/tasks/", "/healthz"}  # fmt: skip
    assert routes <= set(spec["paths"])
    for path in spec["paths"].values():
        assert all(operation["summary"] for name, operation in path.items() if name != "parameters")
    assert {"201", "200", "409", "422", "429"} <= set(spec["paths"]["/v1/jobs"]["post"]["responses"])
    fields = spec["components"]["schemas"]["Submit"]["properties"]
    assert {"id", "model", "kind", "prompt", "seed", "steps", "width", "height", "frames", "image"} <= set(fields)
    assert "task_id" not in fields
    assert all(field.get("description") for field in fields.values())


def test_a_slot_yields_when_its_worker_says_so(service: Service) -> None:
    service.open("remote-one")
    assert service.post("/v1/admin/slots/gpu9/yield").status_code == 404
    back_end = service.post("/v1/admin/slots/remote-one/yield")
    assert (back_end.status_code, back_end.get_json()["error"]["code"]) == (409, "conflict")
    running = service.submit()
    answer = service.post("/v1/admin/slots/gpu0/yield?wait=0.1").get_json()
    assert (answer["yielded"], answer["job_id"]) == (False, running)
    service.finish()
    with later(lambda: service.store.set_facts("gpu0", OWNER, {"yielded": "1"})):
        answer = service.post("/v1/admin/slots/gpu0/yield?wait=30").get_json()
    assert (answer["slot"], answer["yielded"], answer["job_id"]) == ("gpu0", True, None)
    assert service.json("/v1/queue")["paused"] == ["gpu0"]
