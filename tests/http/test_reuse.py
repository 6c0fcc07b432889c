"""A request that equals an earlier one is answered with that job, if it allows it."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from app.extensions import of
from jobs.models.spec import ModelSpec
from jobs.requests.generation import GenerationRequest
from jobs.requests.reuse import digest_of
from tests.support.pictures import b64, encoded
from tests.support.service import Service, first_key, key

EQUAL = {"prompt": "a cat", "seed": 7, "steps": 3, "reuse": True}


def submit(service: Service, headers: dict[str, str] | None = None, **fields: Any) -> tuple[str, bool, int]:
    response = service.post("/v1/jobs", json={**EQUAL, **fields}, headers=headers)
    assert response.status_code in (200, 201), response.text
    body = response.get_json()
    return body["id"], body.get("reused", False), response.status_code


def test_an_equal_request_gets_the_job_of_the_first(service: Service) -> None:
    service.open()
    first, reused, status = submit(service)
    assert (reused, status) == (False, 201)
    assert submit(service) == (first, True, 200)  # while it waits or runs
    service.finish()
    job = service.job(first)
    assert job["state"] == "succeeded"
    assert "reused" not in job
    assert submit(service) == (first, True, 200)
    assert service.json("/v1/queue")["waiting"]["total"] == 0
    again = service.post("/v1/jobs?wait=5", json=EQUAL).get_json()
    assert (again["id"], again["state"], again["outputs"]) == (first, "succeeded", job["outputs"])


@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"seed": -1}, {"prompt": "a dog"}, {"output_format": "webp"}, {"reuse": False}]
)
def test_another_request_is_another_job(service: Service, change: dict[str, Any]) -> None:
    first, _, _ = submit(service)
    other, reused, status = submit(service, **change)
    assert (other != first, reused, status) == (True, False, 201)


def test_a_job_in_vain_is_no_answer(service: Service) -> None:
    service.open()
    failed, _, _ = submit(service)
    assert service.fail() == failed
    cancelled, reused, _ = submit(service)
    assert not reused
    service.cancel(cancelled)
    service.release()
    finished, reused, _ = submit(service)
    assert not reused
    service.finish()
    assert submit(service) == (finished, True, 200)
    assert service.delete(f"/v1/jobs/{finished}").status_code in (200, 204)
    deleted, reused, _ = submit(service)
    assert (deleted != finished, reused) == (True, False)


def test_pictures_are_compared_by_content(service: Service) -> None:
    red, blue = (b64(encoded(Image.new("RGB", (40, 30), colour), "PNG")) for colour in ("red", "blue"))
    first, _, _ = submit(service, kind="img2img", image=red)
    assert submit(service, kind="img2img", image=red)[:2] == (first, True)
    assert submit(service, kind="img2img", image=blue)[:2] != (first, True)


def test_keys_do_not_share_jobs(service: Service) -> None:
    admin = first_key(service)
    one, other = key(service, "one"), key(service, "other")
    first, _, _ = submit(service, one)
    assert submit(service, other)[1] is False
    assert submit(service, one) == (first, True, 200)
    assert submit(service, admin)[1] is False


def test_a_retry_of_a_reused_answer_is_the_same(service: Service) -> None:
    first, _, _ = submit(service)
    headers = {"Idempotency-Key": "k"}
    assert submit(service, headers)[0] == first
    assert submit(service, headers) == (first, False, 200)  # known by its key
    assert service.post("/v1/jobs", json={**EQUAL, "seed": 9}, headers=headers).status_code == 409


def test_a_digest_depends_on_the_model_and_not_on_where_an_input_is_stored(service: Service) -> None:
    spec = of(service.app).models.get("tiny-image")
    values = {"kind": "img2img", "prompt": "a", "negative_prompt": "", "seed": 1, "steps": 1, "guidance_scale": 1.0}
    request = GenerationRequest.from_dict(
        {**values, "model": spec.name, "width": 8, "height": 8, "image": f"inputs/{'a' * 64}.one.png"}
    )
    moved = GenerationRequest.from_dict({**request.to_dict(), "image": f"inputs/{'a' * 64}.two.png"})
    other = GenerationRequest.from_dict({**request.to_dict(), "image": f"inputs/{'b' * 64}.one.png"})
    changed = ModelSpec(name=spec.name, source=spec.source, kinds=spec.kinds, revision="2")
    assert digest_of(request, spec) == digest_of(moved, spec)
    assert len({digest_of(request, spec), digest_of(other, spec), digest_of(request, changed)}) == 3


