"""The calls that the console added to the native API: estimate a job, repeat it, and show its input images."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from jobs.files import retention
from tests.support.pictures import PNG
from tests.support.service import Service, key

IMAGE = "data:image/png;base64," + base64.b64encode(PNG).decode()


def estimate(service: Service, **fields: Any) -> dict[str, Any]:
    response = service.post("/v1/jobs/estimate", json={"model": "tiny-image", "prompt": "x", **fields})
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def test_an_estimate_names_what_is_wrong_with_the_way_to_queue(service: Service) -> None:
    found = estimate(service, steps=4, pause_at_step=4, not_before=4102444800)
    assert {one["field"] for one in found["problems"]} == {"pause_at_step", "not_before"}
    assert estimate(service, steps=4, pause_at_step=3)["problems"] == []


def test_an_estimate_submits_nothing(service: Service) -> None:
    shown = estimate(service)
    assert (shown["problems"], shown["starts_at_once"], shown["position"]) == ([], True, 0)
    assert (shown["run_s"], shown["eta_s"]) == (None, None)  # nothing was measured
    assert service.json("/v1/jobs")["total"] == 0


def test_an_estimate_grows_with_the_queue_and_with_the_work(service: Service) -> None:
    service.submit()
    service.start()
    service.finish()
    short, long = estimate(service), estimate(service, steps=40)
    assert long["run_s"] == pytest.approx(10 * short["run_s"])
    for _ in range(3):
        service.submit()
    waiting = estimate(service)
    assert (waiting["starts_at_once"], waiting["position"]) == (False, 3)
    assert waiting["eta_s"] >= 3 * short["run_s"]


def test_an_estimate_names_wrong_fields_and_needs_no_pictures(service: Service) -> None:
    problems = estimate(service, steps=0, width=1_000_000)["problems"]
    assert {problem["field"] for problem in problems} == {"steps", "width"}
    assert estimate(service, kind="img2img")["problems"] == []
    assert [problem["field"] for problem in estimate(service, stepz=1, kind="no")["problems"]] == ["kind"]
    assert [problem["field"] for problem in estimate(service, model="no-model")["problems"]] == ["model"]


def test_a_job_of_any_state_is_repeated_with_another_seed(service: Service) -> None:
    first = service.submit(seed=5, kind="img2img", image=IMAGE)
    again = service.post(f"/v1/jobs/{first}/repeat", json={})
    assert again.status_code == 201
    assert again.get_json()["request"] == service.job(first)["request"]
    assert again.headers["Location"].endswith(again.get_json()["id"])
    seeds = [
        service.post(f"/v1/jobs/{first}/repeat", json={"seed": seed}).get_json()["request"]["seed"] for seed in (9, -1)
    ]
    assert seeds[0] == 9
    assert seeds[1] not in (5, -1)
    assert service.post(f"/v1/jobs/{first}/repeat", json={"seed": -2}).status_code == 422
    assert service.post(f"/v1/jobs/{first}/repeat", json={"sed": 2}).status_code == 422
    service.start()
    service.finish()
    kept = service.store.get(again.get_json()["id"]).request.image
    assert kept
    assert kept == service.store.get(first).request.image


def test_input_images_are_shown_to_their_owner(services: Callable[..., Service]) -> None:
    service = services()
    service.open()
    admin = key(service, "ops")
    shop, other = key(service, "shop", admin=admin), key(service, "other", admin=admin)
    job_id = service.submit(shop, kind="img2img", image=IMAGE)
    path = f"/v1/jobs/{job_id}/inputs/image"
    shown = service.get(path, headers=shop)
    assert (shown.status_code, shown.mimetype) == (200, "image/png")
    assert service.get(path, headers=shop | {"If-None-Match": shown.headers["ETag"]}).status_code == 304
    assert service.get(path, headers=other).status_code == 404
    assert service.get(f"/v1/jobs/{job_id}/inputs/mask", headers=shop).status_code == 404
    assert service.post(f"/v1/jobs/{job_id}/repeat", json={}, headers=other).status_code == 404
    assert service.json(f"/v1/jobs/{job_id}", headers=admin)["key"] == "shop"
    assert service.json("/v1/jobs", headers=admin)["jobs"][0]["key"] == "shop"
    assert "key" not in service.json(f"/v1/jobs/{job_id}", headers=shop)


def test_storage_is_shown_to_admins(services: Callable[..., Service]) -> None:
    service = services(RETENTION="hours")
    service.open()
    shown = service.json("/v1/admin/storage")
    assert (shown["bucket"], shown["retention"]["default"]) == (None, "hours")
    assert shown["stored"] is None
    service.submit()
    service.finish(content=b"x" * 50)
    retention.walk(service.store, service.objects, orphan_age_s=0)
    stored = service.json("/v1/admin/storage")["stored"]
    assert (stored["outputs"], stored["inputs"]) == ({"files": 1, "bytes": 50}, {"files": 0, "bytes": 0})
    assert stored["counted_at"].endswith("Z") or "+00:00" in stored["counted_at"]
    assert {"outputs", "spool"} <= {disk["name"] for disk in shown["disks"]}
    assert all(0 < disk["free_bytes"] <= disk["total_bytes"] for disk in shown["disks"])
    admin = key(service, "ops")
    assert service.get("/v1/admin/storage", headers=key(service, "shop", admin=admin)).status_code == 403
