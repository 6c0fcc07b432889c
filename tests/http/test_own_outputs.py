"""Outputs of own jobs as inputs of further jobs: by ``job:<id>`` and by the links of responses, without a download.

No private host is allowed, so each link to this server that would be downloaded is refused.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from jobs.record import Output
from tests.support.aime_endpoint import LOCAL_ENDPOINT
from tests.support.pictures import PNG, encoded, picture
from tests.support.s3_server import S3Server
from tests.support.service import Service, first_key, key
from tests.support.tiny import written

MORE_KINDS = """
[other]
executor = "drawing"
kinds = ["inpaint", "mix2img"]
"""
MISSING = "0123456789abcdef01234567"
#: A picture of another size than those of :func:`Service.finish`.
SMALL = encoded(picture(size=(16, 16)), "PNG")


class Here:
    """A server with the keys ``owner`` and ``stranger``."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.admin = first_key(service)
        self.owner, self.stranger = (key(service, name, admin=self.admin) for name in ("owner", "stranger"))
        service.open()

    def job(self, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Return a finished job as its owner is shown it."""
        job_id = self.service.submit(headers or self.owner)
        self.service.finish()
        return dict(self.service.json(f"/v1/jobs/{job_id}", headers=headers or self.owner))

    def send(self, image: str, headers: dict[str, str] | None = None, **fields: Any) -> TestResponse:
        body = {"model": "tiny-image", "kind": "img2img", "prompt": "x", "image": image, **fields}
        return self.service.post("/v1/jobs", json=body, headers=headers or self.owner)

    def input_of(self, job_id: str, field: str = "image") -> bytes:
        """Return the stored input of a job."""
        return b"".join(self.service.objects.read(getattr(self.service.store.get(job_id).request, field)))

    def used(self, response: TestResponse) -> bytes:
        """Return the input of the job that was accepted."""
        assert response.status_code in (200, 201), response.text
        body = response.get_json()
        return self.input_of(body.get("id") or body["task_id"])

    def refusal(self, image: str, headers: dict[str, str] | None = None) -> str:
        """Return the rule that the field ``image`` breaks; nothing was queued."""
        before = self.service.redis.zcard("framemill:jobs")
        response = self.send(image, headers)
        assert response.status_code == 422, response.text
        [problem] = response.get_json()["error"]["fields"]
        assert problem["field"] == "image"
        assert "signature" not in response.text
        assert self.service.redis.zcard("framemill:jobs") == before
        return str(problem["rule"])


@pytest.fixture(params=["with keys", "without keys"])
def here(request: pytest.FixtureRequest, services: Callable[..., Service]) -> Here:
    here = Here(services(PUBLIC_URL="https://mill.example/gpu"))
    if request.param == "without keys":
        here.service.empty()
        here.service.open()
        here.owner = here.admin = {}
    return here


@pytest.fixture
def guarded(services: Callable[..., Service]) -> Here:
    return Here(services())


# ---- what is taken


@pytest.mark.parametrize(
    "reference",
    [
        "job:{id}", "job:{id}/0", " job:{id}\n", "{url}", "{result}", "/v1/jobs/{id}/result",
        "/v1/jobs/{id}/result?index=0", "http://localhost{url}", "http://localhost:80{url}", "https://localhost{url}",
        "HTTP://LOCALHOST{result}", "https://mill.example/gpu{url}",
        "https://mill.example:443/gpu{result}", "/v1/tasks/{id}/result", "http://localhost/v1/tasks/{id}/result/",
        "/v1/files/download/{id}.png",
    ],
)  # fmt: skip
def test_an_output_is_taken_by_every_name_it_has(here: Here, reference: str) -> None:
    job = here.job()
    names = {"id": job["id"], "url": job["outputs"][0]["url"], "result": job["links"]["result"]}
    assert here.used(here.send(reference.format(**names))) == PNG


def test_an_old_link_is_as_good_as_a_new_one(guarded: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    job, now = guarded.job(), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10_000)
    link = job["outputs"][0]["url"]
    assert guarded.service.get(link).status_code == 403
    assert guarded.used(guarded.send(link)) == PNG


def test_every_field_of_the_native_api_takes_it(services: Callable[..., Service], tmp_path: Path) -> None:
    here = Here(services(MODELS_FILE=written(tmp_path, MORE_KINDS)))
    name = f"job:{here.job()['id']}"
    inpaint = here.send(name, model="other", kind="inpaint", mask=name)
    assert here.used(inpaint) == PNG
    assert here.input_of(inpaint.get_json()["id"], "mask") == PNG
    mixed = {"model": "other", "kind": "mix2img", "mix": [{"image": name, "weight": 1}]}
    mix_id = here.service.post("/v1/jobs", json=mixed, headers=here.owner).get_json()["id"]
    [part] = here.service.store.get(mix_id).request.mix or ()
    assert b"".join(here.service.objects.read(part["image"])) == PNG
    form = {"model": "tiny-image", "kind": "img2img", "prompt": "x", "image": name}
    assert here.used(here.service.post("/v1/jobs", data=form, headers=here.owner)) == PNG
    assert here.used(here.send(name, model="tiny-video", kind="img2video")) == PNG


@pytest.mark.parametrize("path", ["/v1/tasks/", "/v1/tasks/video", "/v1/tasks/image"])
@pytest.mark.parametrize("reference", ["job:{id}", "{url}", "/v1/tasks/{id}/result", "/v1/files/download/{path}"])
def test_lightx2v_takes_it(guarded: Here, path: str, reference: str) -> None:
    task = guarded.service.post(
        "/v1/tasks/image", json={"prompt": "x", "save_result_path": "a/Käthe.png"}, headers=guarded.owner
    ).get_json()
    guarded.service.finish()
    url = guarded.service.json(f"/v1/jobs/{task['task_id']}", headers=guarded.owner)["outputs"][0]["url"]
    name = reference.format(id=task["task_id"], url=url, path=task["save_result_path"])
    sent = guarded.service.post(path, json={"prompt": "x", "image_path": name}, headers=guarded.owner)
    assert guarded.used(sent) == PNG


def test_a1111_takes_it(guarded: Here) -> None:
    name = f"job:{guarded.job()['id']}"
    auth = {"Authorization": "Basic " + base64.b64encode(b":" + guarded.owner["Authorization"][7:].encode()).decode()}
    for path, body in (("png-info", {"image": name}), ("extra-single-image", {"image": name}),
                       ("extra-batch-images", {"imageList": [{"data": name, "name": "a"}]})):  # fmt: skip
        with guarded.service.post(f"/sdapi/v1/{path}", json=body, headers=auth) as response:
            assert response.status_code == 200, response.text
    refused = guarded.service.post("/sdapi/v1/img2img", json={"init_images": [f"job:{MISSING}"]}, headers=auth)
    answer = refused.get_json()
    assert (refused.status_code, answer["detail"]) == (500, "Invalid encoded image")
    assert answer["errors"] == "init_images: names no job of yours"


def test_aime_takes_it(services: Callable[..., Service], tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "aime_api_endpoint.cfg").write_text(LOCAL_ENDPOINT)
    here = Here(services(ENDPOINTS_DIR=tmp_path))
    secret = here.owner["Authorization"][7:]
    body = {"prompt": "x", "wait_for_result": False, "key": secret}
    job = here.job()
    for image in (f"job:{job['id']}", job["outputs"][0]["url"]):
        response = here.service.post("/tiny", json={**body, "image": image})
        assert here.input_of(response.get_json()["job_id"]) == PNG
    refused = here.service.post("/tiny", json={**body, "image": f"job:{MISSING}"})
    assert (refused.status_code, "image: names no job of yours" in refused.text) == (400, True)


def test_every_file_of_a_job_is_taken(guarded: Here) -> None:
    service = guarded.service
    job_id = service.submit(guarded.owner, model="tiny-video")
    service.start()
    files = f"outputs/{job_id}/1.1/"
    small = Output(f"{files}0-t.png", "image/png", len(SMALL), "a", 16, 16)
    poster = Output(f"{files}0-p.png", "image/png", len(PNG), "b", 40, 30)
    video = Output(f"{files}0.mp4", "video/mp4", 3, "c", 40, 30, thumbnail=small, poster=poster)
    second = Output(f"{files}1.png", "image/png", len(SMALL), "a", 16, 16)
    for output, content in ((small, SMALL), (poster, PNG), (video, b"mp4"), (second, SMALL)):
        service.objects.put_bytes(output.key, content, output.media_type)
    assert service.store.finish_run(job_id, 1, slot="gpu0", node="host", run_s=1)
    assert service.store.claim(job_id, 1, "io") == 1
    assert service.store.deliver(job_id, 1, "io", [video, second])
    shown = service.json(f"/v1/jobs/{job_id}", headers=guarded.owner)["outputs"]
    assert guarded.used(guarded.send(shown[0]["poster_url"])) == PNG
    assert guarded.used(guarded.send(shown[0]["thumbnail_url"])) == SMALL
    for second_output in (f"job:{job_id}/1", shown[1]["url"], f"/v1/jobs/{job_id}/result?index=1"):
        assert guarded.used(guarded.send(second_output)) == SMALL
    rule = "names an output of type video/mp4; its `poster_url` is a picture"
    assert guarded.refusal(f"job:{job_id}") == guarded.refusal(shown[0]["url"]) == rule
    for missing in (f"job:{job_id}/2", f"/v1/jobs/{job_id}/result?index=9", f"/v1/jobs/{job_id}/result?index=x",
                    f"/v1/jobs/{job_id}/poster?index=1"):  # fmt: skip
        assert "names a file that the job does not have; it has 2 outputs" in guarded.refusal(missing)


def test_links_of_a_bucket_are_taken(
    services: Callable[..., Service], s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """The bucket is at a private address, which links of callers must not lead to; and its links expire after 3 s."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    here = Here(services(**s3.environment))
    link = here.job()["outputs"][0]["url"]
    assert link.startswith(s3.url)
    assert here.used(here.send(link)) == PNG
    assert here.used(here.send(link.partition("?")[0])) == PNG
    assert here.refusal(link, here.stranger) == "names no job of yours"
    assert "could not be downloaded" in here.refusal(link.replace("outputs/", "inputs/"))
    assert "could not be downloaded" in here.refusal(link.replace("127.0.0.1", "127.0.0.2"))


# ---- what is refused


@pytest.mark.parametrize("reference", ["job:{id}", "{url}", "/v1/jobs/{id}/result", "http://localhost{url}",
    "/v1/tasks/{id}/result", "/v1/files/download/{id}.png"])  # fmt: skip
def test_another_keys_job_is_refused_like_a_missing_one(guarded: Here, reference: str) -> None:
    job = guarded.job()
    name = reference.format(id=job["id"], url=job["outputs"][0]["url"])
    missing = guarded.refusal(name.replace(job["id"], MISSING), guarded.stranger)
    assert guarded.refusal(name, guarded.stranger) == missing == "names no job of yours"
    assert guarded.used(guarded.send(name, guarded.admin)) == PNG


def test_a_job_without_an_output_is_refused(guarded: Here) -> None:
    service = guarded.service
    job_id = service.submit(guarded.owner)
    assert guarded.refusal(f"job:{job_id}") == "names a job that is queued: it has no output yet"
    service.start()
    service.fail()
    assert guarded.refusal(f"job:{job_id}") == "names a job that is failed: it has no output"


def test_the_end_of_retention_is_named(guarded: Here) -> None:
    job = guarded.job()
    guarded.service.redis.hset(f"framemill:job:{job['id']}", "removed_at", 1_790_000_000_000)
    rule = "names a job whose files were removed at 2026-09-21T"
    for name in (f"job:{job['id']}", job["outputs"][0]["url"]):
        assert guarded.refusal(name).startswith(rule)


def test_a_file_that_is_gone_is_named(guarded: Here) -> None:
    job = guarded.job()
    for stored in list(guarded.service.objects.list("outputs/")):
        guarded.service.objects.delete(stored.key)
    assert guarded.refusal(f"job:{job['id']}") == "names an output that is no longer stored"


def test_limits_of_inputs_apply(services: Callable[..., Service]) -> None:
    here = Here(services(MAX_INPUT_BYTES=len(PNG) - 1))
    assert here.refusal(f"job:{here.job()['id']}") == f"must not exceed {len(PNG) - 1} bytes"


@pytest.mark.parametrize("text", ["job:", "job:../x", "job:a/b", "job:a/12345", "job:a b", "job:" + "a" * 65, "job:é"])
def test_other_names_are_refused(guarded: Here, text: str) -> None:
    assert guarded.refusal(text) == "names no job of yours"


@pytest.mark.parametrize(
    "text",
    ["http://127.0.0.1/v1/jobs/{id}/result", "http://localhost:81/v1/jobs/{id}/result",
     "//localhost/v1/jobs/{id}/result", "http://localhost/v1/jobs/{id}", "http://localhost/v1/jobs/{id}/events",
     "http://localhost@127.0.0.1/v1/jobs/{id}/result", "http://localhost.evil.example/v1/jobs/{id}/result",
     "/v1/jobs/{id}", "/v1/jobs/../jobs/{id}/result", "http://localhost:x/v1/jobs/{id}/result",
     "http://[localhost/v1/jobs/{id}/result", "ftp://localhost/v1/jobs/{id}/result"],
)  # fmt: skip
def test_links_that_name_no_output_are_treated_as_any_other(guarded: Here, text: str) -> None:
    rule = guarded.refusal(text.format(id=guarded.job()["id"]))
    others = ("could not be downloaded", "must be job:<id>, an http or https link", "must be a PNG, JPEG or WebP image")
    assert rule.startswith(others)  # texts that begin with a slash may be base64
