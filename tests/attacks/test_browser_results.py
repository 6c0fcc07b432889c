"""Results that are not pictures: a browser saves them, and none is ever a page of the server."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from app.downloads import FILE_POLICY
from jobs.formats import INLINE_MEDIA_TYPES
from jobs.objects.s3 import S3Store
from jobs.settings import Settings
from tests.support import documented
from tests.support.aime_endpoint import write_endpoint
from tests.support.aime_peers import Client, Worker
from tests.support.served_app import ServedApp
from tests.support.service import Service

SCRIPT = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
PAGES = ("image/svg+xml", "image/SVG+XML", "image/svg+xml;charset=utf-8", "text/html", "application/xhtml+xml",
         "text/xml", "image/x+xml", "video/x+xml", "application/pdf", "text/javascript", "image/svg",
         "application/x-shockwave-flash", "video/mp4+xml", "audio/xml", "multipart/x-mixed-replace", "")  # fmt: skip


def check(headers: object, media_type: str) -> None:
    """Check the headers of a file of this type."""
    values = dict(headers)  # type: ignore[call-overload]
    is_inline = media_type.partition(";")[0] in INLINE_MEDIA_TYPES
    assert values["Content-Type"] == (media_type if is_inline else "application/octet-stream")
    how = "inline" if is_inline else "attachment"
    assert values["Content-Disposition"].partition(";")[0] == how
    assert values["X-Content-Type-Options"] == "nosniff"
    assert values["Content-Security-Policy"] == FILE_POLICY
    assert FILE_POLICY.startswith("sandbox; default-src 'none';")


@pytest.mark.parametrize("media_type", [*PAGES, *sorted(INLINE_MEDIA_TYPES)])
def test_a_file_is_shown_only_if_it_is_a_picture_sound_or_video(service: Service, media_type: str) -> None:
    job_id = service.submit()
    service.start()
    service.finish(content=SCRIPT, media_type=media_type, suffix="svg")
    check(service.get(f"/v1/jobs/{job_id}/result").headers, media_type)
    check(service.get(f"/v1/jobs/{job_id}/result", headers={"Range": "bytes=0-3"}).headers, media_type)
    check(service.client.head(f"/v1/jobs/{job_id}/result").headers, media_type)
    named = service.get(f"/v1/tasks/{job_id}/result").headers
    assert named["Content-Disposition"].startswith("attachment")
    assert named["Content-Security-Policy"] == FILE_POLICY


@pytest.mark.parametrize("media_type", ["image/svg+xml", "image/png"])
def test_previews_and_images_of_sockets_too(services: Callable[..., Service], tmp_path: Path, media_type: str) -> None:
    service = services(IMAGES_PATH=tmp_path)
    service.open()
    job_id = service.submit()
    service.start()
    service.redis.hset(f"framemill:job:{job_id}", "protocol", "devoid")
    _, attempt = service.driver.at()
    values = {"step": 1, "media_type": media_type, "attempt": attempt, "content": base64.b64encode(SCRIPT).decode()}
    service.redis.hset(f"framemill:preview:{job_id}", mapping=values)
    check(service.get(f"/v1/jobs/{job_id}/preview").headers, media_type)
    documented.take_misfits()  # workers send no such preview, so the API document does not describe it
    service.finish(content=SCRIPT, media_type=media_type, suffix="svg")
    check(service.get(f"/img/{job_id}.jpg").headers, media_type)
    (tmp_path / "old.jpg").write_bytes(SCRIPT)
    with service.get("/img/old.jpg") as response:
        check(response.headers, "image/jpeg")
        assert response.mimetype == "image/jpeg"


def test_a_worker_cannot_store_a_page(serve: Callable[..., ServedApp], tmp_path: Path) -> None:
    write_endpoint(tmp_path, timeout_s="1")
    app = serve(ENDPOINTS_DIR=tmp_path)
    evil = "data:image/svg+xml;base64," + base64.b64encode(SCRIPT).decode()
    with Worker(app.url(""), compute=lambda worker, data: {"images": [evil]}) as worker:
        client = Client(app.url(""), "draw")
        job_id = client.submit(prompt="a")
        assert client.follow(job_id)["images"] == [evil]
    worker.join()
    response = app.get(f"/v1/jobs/{job_id}/result")
    assert response.content == SCRIPT
    check(response.headers, "image/svg+xml")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """A bucket that receives no requests: links are signed locally."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    return S3Store(Settings.of(s3_bucket="media", redis_url="redis://none"))


@pytest.mark.parametrize("media_type", ["image/png", "image/svg+xml", "text/html"])
def test_a_presigned_link_says_the_same(bucket: S3Store, media_type: str) -> None:
    query = parse_qs(urlsplit(str(bucket.url("outputs/1/1.1/0.x", media_type, "1-0.x"))).query)
    is_picture = media_type == "image/png"
    how = "inline" if is_picture else "attachment"
    assert query["response-content-disposition"] == [f'{how}; filename="1-0.x"']
    assert query["response-content-type"] == [media_type if is_picture else "application/octet-stream"]
