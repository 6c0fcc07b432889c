"""Reference images of a request: in every form, in order, and within the limits of the model."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.pictures import JPEG, PNG, WEBP, b64, encoded, picture
from tests.support.service import Service
from tests.support.tiny import written

MODELS = """
[editor]
source = "./tiny-image"
kinds = ["edit"]
limits = { images = [1, 3], width = [16, 128], height = [16, 128] }
defaults = { steps = 4, width = 32, height = 32 }

[one]
source = "./tiny-image"
kinds = ["text2img", "edit"]
size_multiple_px = 4
defaults = { steps = 4, width = 32, height = 32 }
"""
GIVEN = [PNG, JPEG, WEBP]


@pytest.fixture(scope="module")
def models_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("models"), MODELS)


@pytest.fixture
def app(services: Callable[..., Service], models_file: Path) -> Service:
    app = services(MODELS_FILE=models_file)
    app.open("gpu0", "tiny-image", "tiny-video", "editor", "one")
    return app


def stored(app: Service, job_id: str) -> list[bytes]:
    """Return the reference images of a job, as it is downloaded."""
    images = app.store.get(job_id).request.images or []
    return [app.get(f"/v1/jobs/{job_id}/inputs/images-{index}").data for index in range(len(images))]


def refusal(app: Service, **fields: Any) -> list[tuple[str, str]]:
    response = app.post("/v1/jobs", json={"model": "editor", "prompt": "x", **fields})
    assert response.status_code == 422, response.text
    assert app.redis.zcard("framemill:jobs") == 0
    return [(one["field"], one["rule"]) for one in response.get_json()["error"]["fields"]]


def test_images_are_stored_in_order_and_downloaded_by_their_number(app: Service) -> None:
    job = app.post("/v1/jobs", json={"model": "editor", "prompt": "x", "images": [*map(b64, GIVEN)]}).get_json()
    assert (job["kind"], job["warnings"]) == ("edit", [])
    assert stored(app, job["id"]) == GIVEN
    assert app.get(f"/v1/jobs/{job['id']}/inputs/images-1").mimetype == "image/jpeg"
    assert app.get(f"/v1/jobs/{job['id']}/inputs/images-3").status_code == 404
    assert "inputs/" not in json.dumps(job["request"])


def test_a_form_repeats_the_field(app: Service) -> None:
    files = [(io.BytesIO(content), "x") for content in GIVEN]
    job = app.post("/v1/jobs", data={"model": "editor", "prompt": "x", "images": files}).get_json()
    assert (job["warnings"], stored(app, job["id"])) == ([], GIVEN)
    mixed = {"model": "editor", "prompt": "x", "images": ["job:" + "0" * 24, (io.BytesIO(PNG), "x")]}
    response = app.post("/v1/jobs", data=mixed)
    # Files come after texts of the same name, as the order of a form's dictionary has it in this client.
    assert [one["field"] for one in response.get_json()["error"]["fields"]] == ["images[0]"]


def test_outputs_of_jobs_are_images(app: Service) -> None:
    first = app.submit()
    app.finish()
    images = [f"job:{first}", b64(JPEG)]
    job = app.post("/v1/jobs", json={"model": "editor", "prompt": "x", "images": images}).get_json()
    assert stored(app, job["id"])[1] == JPEG
    assert len(stored(app, job["id"])) == 2


def test_one_image_may_be_sent_as_image_or_by_a_client_that_knows_img2img_only(app: Service) -> None:
    for fields in ({}, {"kind": "edit"}, {"kind": "img2img"}):
        job = app.post("/v1/jobs", json={"model": "editor", "prompt": "x", "image": b64(PNG), **fields}).get_json()
        assert (job["kind"], job["warnings"], stored(app, job["id"])) == ("edit", [], [PNG])
    body = {"model": "editor", "prompt": "x", "kind": "img2img", "image": b64(PNG), "strength": 0.5}
    job = app.post("/v1/jobs", json=body).get_json()
    assert job["warnings"] == ["strength has no effect: the model edits images as the prompt says"]
    assert "strength" not in job["request"]


def test_the_first_image_decides_about_the_shape_and_is_not_cropped(app: Service) -> None:
    wide = encoded(picture(size=(90, 30)), "PNG")
    job = app.post("/v1/jobs", json={"model": "one", "prompt": "x", "images": [b64(wide)]}).get_json()
    assert (job["request"]["width"], job["request"]["height"]) == (56, 20)
    assert (job["warnings"], job["request"].get("resize")) == ([], None)


def test_wrong_images_are_named_and_nothing_is_queued(app: Service) -> None:
    assert refusal(app, images=[b64(PNG)] * 4) == [("images", "must be between 1 and 3 images for model editor")]
    assert refusal(app, model="one", images=[b64(PNG)] * 2) == [("images", "must be 1 image for model one")]
    assert refusal(app, images=[]) == [("images", "is required: edit needs reference images")]
    assert refusal(app, images="x") == [("images", "must be a list")]
    assert refusal(app, images=[b64(PNG), b64(b"GIF"), "?"]) == [
        ("images[1]", "must be a PNG, JPEG or WebP image"),
        ("images[2]", "must be job:<id>, an http or https link, a data URL or valid base64"),
    ]
    assert refusal(app, images=[b64(PNG)] * 17)[0] == ("images", "must have at most 16 items")
    assert refusal(app, model="tiny-image", kind="img2img", image=b64(PNG), images=[b64(PNG)])[0][0] == "images"
    assert refusal(app, image=b64(PNG), images=[b64(PNG)])[0][0] == "image"
    assert refusal(app, images=[b64(PNG)], strength=0.3) == [("strength", "does not apply to edit")]


def test_a_repeated_and_a_retried_job_keep_the_images(app: Service) -> None:
    body = {"model": "editor", "prompt": "x", "images": [*map(b64, GIVEN)]}
    job_id = app.post("/v1/jobs", json=body).get_json()["id"]
    again = app.post(f"/v1/jobs/{job_id}/repeat", json={}).get_json()["id"]
    assert app.store.get(again).request.images == app.store.get(job_id).request.images
    app.cancel(job_id)
    retried = app.post(f"/v1/jobs/{job_id}/retry").get_json()["id"]
    app.delete(f"/v1/jobs/{job_id}")
    assert stored(app, retried) == GIVEN


def test_an_estimate_needs_no_images(app: Service) -> None:
    response = app.post("/v1/jobs/estimate", json={"model": "editor", "kind": "edit", "prompt": "x"})
    assert response.get_json()["problems"] == []


def test_models_say_how_many_they_take(app: Service) -> None:
    limits = {one["name"]: one["limits"].get("images") for one in app.json("/v1/models")["models"]}
    assert (limits["editor"], limits["one"], limits["tiny-image"]) == ({"min": 1, "max": 3}, {"min": 1, "max": 1}, None)
