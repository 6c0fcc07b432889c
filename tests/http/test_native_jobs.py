"""Jobs over the native API: submit and read."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from tests.support.native_jobs import JOB_FIELDS, TINY
from tests.support.pictures import PNG, b64, encoded, picture
from tests.support.service import Service, key

IMAGE = b64(PNG)


def test_a_job_has_the_native_shape_and_no_other(service: Service) -> None:
    response = service.post("/v1/jobs", json={**TINY, "prompt": "a red circle", "seed": 7})
    job = response.get_json()
    assert (response.status_code, response.headers["Location"]) == (201, f"/v1/jobs/{job['id']}")
    assert set(job) == JOB_FIELDS
    assert (job["state"], job["model"], job["kind"], job["slot"]) == ("queued", "tiny-image", "text2img", "gpu0")
    assert job["progress"] == {"stage": None, "stage_percent": None, "step": 0, "steps": 1, "percent": 0}
    path = f"/v1/jobs/{job['id']}"
    assert job["links"] == {
        "self": path, "result": f"{path}/result", "events": f"{path}/events", "preview": f"{path}/preview",
        "cancel": f"{path}/cancel",
    }  # fmt: skip
    assert (job["request"]["prompt"], job["request"]["seed"]) == ("a red circle", 7)
    assert set(service.job(job["id"])) == JOB_FIELDS


def test_a_job_from_its_submission_to_its_result(service: Service) -> None:
    job_id = service.submit(steps=4)
    service.start(step=2)
    running = service.job(job_id)
    assert running["progress"] == {"stage": "denoising", "stage_percent": None, "step": 2, "steps": 4, "percent": 50}
    assert (running["state"], running["device"], running["attempt"], running["eta_s"]) == (
        "running", "cpu", 1, pytest.approx(1.0, abs=0.1),
    )  # fmt: skip
    service.finish()
    done = service.job(job_id)
    assert (done["state"], done["progress"]["percent"], done["error"]) == ("succeeded", 100, None)
    [output] = done["outputs"]
    assert (output["index"], output["media_type"], output["bytes"]) == (0, "image/png", len(PNG))
    assert service.get(output["url"]).data == PNG


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (24, 48, None)),
        ({"width": 64}, (64, 128, None)),
        ({"width": 64, "height": 64}, (64, 64, None)),
        ({"resize": "stretch"}, (32, 32, None)),
        ({"resize": "pad"}, (32, 32, "pad")),
    ],
)
def test_the_output_has_the_shape_of_the_input_unless_the_request_says_otherwise(
    service: Service, fields: dict[str, Any], expected: tuple[int, int, str | None]
) -> None:
    # Turned by its EXIF orientation: 60 × 120.
    exif = Image.Exif()
    exif[0x0112] = 6
    portrait = b64(encoded(picture(size=(120, 60)), "JPEG", exif=exif))
    request = service.job(service.submit(kind="img2img", image=portrait, **fields))["request"]
    assert (request["width"], request["height"], request.get("resize")) == expected


def test_a_failed_job_says_why(service: Service) -> None:
    job_id = service.submit()
    service.fail(code="out_of_memory", message="too large")
    job = service.job(job_id)
    assert (job["state"], job["error"]) == ("failed", {"code": "out_of_memory", "message": "too large"})


def test_only_admins_are_shown_what_a_library_said(service: Service) -> None:
    ops = key(service, "ops", role="admin")
    shop = key(service, "shop", admin=ops)
    job_id = service.submit(shop)
    cause = "OSError: no file model.safetensors in /srv/models/sdxl"
    service.fail(code="model_load_failed", message="model sdxl could not be loaded: OSError", cause=cause)
    for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}?wait=1"):
        assert service.json(path, headers=ops)["error"]["cause"] == cause
    assert service.json("/v1/jobs", headers=ops)["jobs"][0]["error"]["cause"] == cause
    others = [f"/v1/jobs/{job_id}", "/v1/jobs", f"/v1/jobs/{job_id}/events", f"/v1/tasks/{job_id}/status"]
    for path in others:
        text = service.get(path, headers=shop).get_data(as_text=True)
        assert "could not be loaded" in text
        assert "/srv/models" not in text
    # What streams send is made once for all listeners.
    assert "/srv/models" not in service.get(f"/v1/jobs/{job_id}/events", headers=ops).get_data(as_text=True)


def test_both_slash_forms_are_served_without_a_redirect(service: Service) -> None:
    job_id = service.submit()
    service.finish()
    paths = ["/v1/jobs", f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/result", "/v1/fleet", "/v1/queue", "/v1/models",
             "/healthz", "/docs"]  # fmt: skip
    for path in paths:
        for form in (path, path + "/"):
            assert service.get(form).status_code == 200, form
    for form in ("/v1/jobs", "/v1/jobs/"):
        assert service.post(form, json=TINY).status_code == 201


def test_rounded_and_unknown_fields_are_reported(service: Service) -> None:
    fields = {"model": "tiny-video", "prompt": "x", "steps": 1, "width": 50, "frames": 14, "colour": "red",
              "num_frames": 3}  # fmt: skip
    accepted = service.post("/v1/jobs", json=fields).get_json()
    assert (accepted["request"]["width"], accepted["request"]["frames"]) == (64, 17)
    assert accepted["warnings"] == [
        "width 50 was rounded to 64",
        "frames 14 was rounded to 17",
        "unknown field 'colour' was ignored",
        "unknown field 'num_frames' was ignored",
    ]
    assert service.job(accepted["id"])["warnings"] == accepted["warnings"]


@pytest.mark.parametrize(
    ("fields", "model", "kind"),
    [
        ({"kind": "text2video"}, "tiny-video", "text2video"),
        ({"model": "tiny-video"}, "tiny-video", "text2video"),
        ({}, "tiny-image", "text2img"),
    ],
)
def test_the_model_follows_from_the_kind_and_the_kind_from_the_model(
    service: Service, fields: dict[str, Any], model: str, kind: str
) -> None:
    request = service.post("/v1/jobs", json={"prompt": "x", **fields, "steps": 1}).get_json()["request"]
    assert (request["model"], request["kind"]) == (model, kind)


def test_a_prompt_alone_may_mean_a_video(services: Callable[..., Service]) -> None:
    service = services(BARE_PROMPT_KIND="text2video")
    assert service.job(service.submit(model=None))["kind"] == "text2video"
    assert service.job(service.submit(model=None, image=IMAGE))["kind"] == "img2video"


def test_a_prompt_alone_asks_for_the_defaults(service: Service) -> None:
    response = service.post("/v1/jobs", json={"prompt": "a red circle"})
    assert response.status_code == 201
    assert response.get_json()["request"]["model"] == "tiny-image"


def test_a_form_with_and_without_a_file(service: Service) -> None:
    response = service.post("/v1/jobs", data={"model": "tiny-image", "prompt": "x", "steps": "2"})
    assert response.get_json()["request"]["steps"] == 2
    form = {"kind": "img2img", "steps": "2", "strength": "1", "image": (io.BytesIO(PNG), "a.png"),
            "other": (io.BytesIO(PNG), "b.png")}  # fmt: skip
    job = service.post("/v1/jobs", data=form).get_json()
    assert (job["kind"], job["warnings"]) == ("img2img", ["unused file 'other' was ignored"])


def test_an_id_of_the_clients_own(service: Service) -> None:
    assert service.submit(id="my-film_01") == "my-film_01"
    again = service.post("/v1/jobs", json={**TINY, "id": "my-film_01"})
    assert (again.status_code, again.get_json()["error"]["code"]) == (409, "duplicate_job")


def test_generated_ids_are_24_hex_characters(service: Service) -> None:
    job_id = service.submit()
    assert len(job_id) == 24
    assert set(job_id) <= set("0123456789abcdef")


@pytest.mark.parametrize("fields", [{}, {"id": "mine"}])
def test_a_repeated_idempotency_key_gets_the_first_job(service: Service, fields: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "once"}
    first = service.post("/v1/jobs", json={**TINY, **fields}, headers=headers)
    repeat = service.post("/v1/jobs", json={**TINY, **fields}, headers=headers)
    assert (first.status_code, repeat.status_code) == (201, 200)
    assert first.get_json()["id"] == repeat.get_json()["id"]
    other = service.post("/v1/jobs", json={**TINY, "steps": 2}, headers=headers)
    assert (other.status_code, other.get_json()["error"]["code"]) == (409, "idempotency_mismatch")
    wrong = service.post("/v1/jobs", json=TINY, headers={"Idempotency-Key": "x" * 256})
    assert (wrong.status_code, wrong.get_json()["error"]["fields"][0]["field"]) == (422, "Idempotency-Key")
