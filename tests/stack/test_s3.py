"""A stack that stores its files in a bucket of a real S3 server: links, outages, wrong credentials, cancelled jobs."""

from __future__ import annotations

import base64
import io
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

import framemill
from framemill.cli.display.progress import ProgressBar
from tests.support import drawn_models
from tests.support.harness import Stack, wait_for
from tests.support.s3_server import LINK_TTL_S, S3Server

Misset = Callable[[S3Server], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def s3_stack(drawn_models_file: Path, s3: S3Server) -> Iterator[Stack]:
    """A stack that stores its files in the bucket."""
    with drawn_models.stack_in_new_folder(drawn_models_file, "gpu0", "io", **s3.environment) as stack:
        yield stack


def _link(s3_stack: Stack, job_id: str) -> str:
    return str(s3_stack.status(job_id)["outputs"][0]["url"])


def _delivering(s3_stack: Stack, **fields: Any) -> str:
    job_id = s3_stack.submit(steps=2, **fields)
    s3_stack.wait_until(job_id, lambda view: view["state"] == "delivering", "its computation")
    return job_id


def _logged(s3_stack: Stack, job_id: str, *words: str) -> None:
    def found() -> bool:
        return any(all(word in line for word in (job_id, *words)) for line in s3_stack.log("io").splitlines())

    wait_for(found, f"{words} about {job_id} in the log of io")


@pytest.mark.parametrize(
    ("model", "name", "media_type"), [("tiny-image", "0.png", "image/png"), ("tiny-video", "0.mp4", "video/mp4")]
)
def test_outputs_arrive_in_the_bucket(s3_stack: Stack, s3: S3Server, model: str, name: str, media_type: str) -> None:
    job_id = s3_stack.submit(model=model, steps=2)
    assert s3_stack.wait(job_id)["state"] == "succeeded"
    key = f"mill/outputs/{job_id}/1.1/{name}"  # first delivery of the first attempt
    previews = [key.replace(name, f"0.{role}.webp") for role in ("poster", "thumbnail")]
    assert s3.files(job_id) == sorted([key, *previews[model == "tiny-image" :]])
    proxied, direct = s3_stack.get(f"/v1/jobs/{job_id}/result"), requests.get(_link(s3_stack, job_id), timeout=60)
    assert proxied.status_code == direct.status_code == 200
    assert proxied.headers["Content-Type"] == direct.headers["Content-Type"] == media_type
    assert proxied.content == direct.content == (s3.bucket / key).read_bytes()


def test_a_link_needs_no_credentials_cannot_be_altered_and_expires(s3_stack: Stack, s3: S3Server) -> None:
    job_id, other = s3_stack.submit(steps=1), s3_stack.submit(steps=1)
    assert s3_stack.wait(job_id)["state"] == s3_stack.wait(other)["state"] == "succeeded"
    link = _link(s3_stack, job_id)
    assert link.startswith(f"{s3.url}/media/mill/outputs/{job_id}/")
    assert requests.get(link, timeout=60).status_code == 200
    altered = [
        link.replace(job_id, other),
        link.replace(f"X-Amz-Expires={LINK_TTL_S}", "X-Amz-Expires=9999"),
        link[:-1] + ("0" if link[-1] != "0" else "1"),
        link.partition("?")[0],
    ]
    assert {requests.get(url, timeout=60).status_code for url in altered} <= {400, 403}
    wait_for(lambda: requests.get(link, timeout=60).status_code != 200, "the link to expire", 2 * LINK_TTL_S + 5)
    assert requests.get(_link(s3_stack, job_id), timeout=60).status_code == 200


def test_downloads_through_the_server_can_be_resumed(s3_stack: Stack) -> None:
    job_id = s3_stack.submit(steps=1)
    s3_stack.wait(job_id)
    path = f"/v1/jobs/{job_id}/result"
    whole = s3_stack.get(path).content
    size = len(whole)
    for wanted, (first, last) in {"10-19": (10, 19), "7-": (7, size - 1), "-5": (size - 5, size - 1)}.items():
        part = s3_stack.get(path, headers={"Range": f"bytes={wanted}"})
        assert (part.status_code, part.content) == (206, whole[first : last + 1])
        assert part.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
    assert s3_stack.get(path, headers={"Range": f"bytes={size}-"}).status_code == 416
    head = requests.head(s3_stack.url(path), headers={"Range": "bytes=0-4"}, timeout=60)
    assert (head.status_code, int(head.headers["Content-Length"])) == (200, size)
    cached = s3_stack.get(path, headers={"Range": "bytes=0-4", "If-None-Match": head.headers["ETag"]})
    assert (cached.status_code, cached.content) == (304, b"")


def test_an_input_is_stored_once(s3_stack: Stack, s3: S3Server) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 24), "teal").save(buffer, "PNG")
    image = base64.b64encode(buffer.getvalue()).decode()
    before = s3.files("mill/inputs/")  # other tests of this run use the bucket too
    ids = [s3_stack.submit(kind="img2img", steps=2, strength=0.5, image=image) for _ in range(2)]
    assert [s3_stack.wait(job_id)["state"] for job_id in ids] == ["succeeded"] * 2
    [key] = {s3_stack.store.get(job_id).request.image for job_id in ids}
    assert set(s3.files("mill/inputs/")) - set(before) == {f"mill/{key}"}
    assert (s3.bucket / "mill" / str(key)).read_bytes() == buffer.getvalue()


def test_an_output_that_was_removed_is_reported_as_such(s3_stack: Stack, s3: S3Server) -> None:
    job_id = s3_stack.submit(steps=1)
    s3_stack.wait(job_id)
    [key] = s3.files(f"{job_id}/1.1/0.png")
    s3.store.delete(key.removeprefix("mill/"))
    gone = s3_stack.get(f"/v1/jobs/{job_id}/result")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "object_not_found")


def test_while_the_bucket_is_away_the_gpu_goes_on_and_nothing_is_lost(s3_stack: Stack, s3: S3Server) -> None:
    before = s3_stack.submit(steps=1)
    s3_stack.wait(before)
    s3.stop()
    try:
        ids = [_delivering(s3_stack), _delivering(s3_stack)]
        _logged(s3_stack, "", "delivery failed", "EndpointConnectionError")  # one delivery tries for both
        assert [s3_stack.status(job_id)["state"] for job_id in ids] == ["delivering"] * 2
        refused = s3_stack.get(f"/v1/jobs/{before}/result")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        assert refused.headers["Retry-After"]
        assert s3_stack.get("/readyz").status_code == 503
    finally:
        s3.start()
    for job_id in ids:
        view = s3_stack.wait(job_id)
        assert (view["state"], view["attempt"]) == ("succeeded", 1)
        assert len(s3.files(job_id)) == 2  # with its thumbnail


@contextmanager
def _refused_credentials(s3: S3Server) -> Iterator[None]:
    s3.stop()
    s3.start(secret="another one")
    try:
        yield
    finally:
        s3.stop()
        s3.start()


@contextmanager
def _missing_bucket(s3: S3Server) -> Iterator[None]:
    elsewhere = s3.bucket.parent.with_name("elsewhere")
    s3.stop()
    s3.bucket.rename(elsewhere)
    s3.start()  # a running one remembers its buckets
    try:
        yield
    finally:
        s3.stop()
        elsewhere.rename(s3.bucket)
        s3.start()


@pytest.mark.parametrize(
    ("misset", "reason"),
    [
        (_refused_credentials, "S3 refused: the secret key is wrong (SignatureDoesNotMatch)"),
        (_missing_bucket, "S3 refused: the bucket does not exist (NoSuchBucket)"),
    ],
)
def test_what_an_operator_must_correct_is_said_everywhere_and_loses_nothing(
    s3_stack: Stack, s3: S3Server, capsys: pytest.CaptureFixture[str], misset: Misset, reason: str
) -> None:
    waits = f"the object store: {reason}"
    with misset(s3):
        job_id, other = _delivering(s3_stack), _delivering(s3_stack)
        for each in (job_id, other):  # the delivery that tries, and the one that waits for its result
            s3_stack.wait_until(each, lambda view: view["waiting_for"] == waits, "the reason in its status")
            assert s3_stack.status(each)["state"] == "delivering"
        missing = s3_stack.get("/readyz").json()["missing"]
        assert reason in missing
        assert any(line.startswith("deliveries of ") and line.endswith(f" wait for {waits}") for line in missing)
        _logged(s3_stack, "", "ERROR", "delivery failed", reason)
        assert "a secret" not in s3_stack.log("io")
        ends_waiting = pytest.raises(framemill.WaitTimeout)
        with framemill.Client(s3_stack.url("")) as client, ProgressBar(clock=count().__next__) as bar, ends_waiting:
            client.wait(job_id, bar.update, timeout_s=1.5)
        assert f"saving, for {waits}\n" in capsys.readouterr().err
        refused = s3_stack.start_refused("celery", "-A", "tasks", "worker", "-Q", "io", "-n", "second")
        assert refused == f"cannot start: S3_BUCKET media at {s3.url}: {reason}"
    for each in (job_id, other):
        view = s3_stack.wait(each)
        assert (view["state"], view["attempt"], view["waiting_for"]) == ("succeeded", 1, None)


def test_a_job_cancelled_during_its_upload_leaves_nothing_behind(s3_stack: Stack, s3: S3Server) -> None:
    s3.process.send_signal(signal.SIGSTOP)
    try:
        job_id = _delivering(s3_stack)
        wait_for(lambda: s3_stack.store.read(job_id).get("delivery_owner"), "the upload to begin")
        assert s3_stack.cancel(job_id).json()["cancelled"]
    finally:
        s3.process.send_signal(signal.SIGCONT)
    _logged(s3_stack, job_id, "delivery was stale")
    view = s3_stack.status(job_id)
    assert (view["state"], view["outputs"], s3.files(job_id)) == ("cancelled", [], [])


def test_a_job_cancelled_while_the_bucket_is_away_is_never_stored(s3_stack: Stack, s3: S3Server) -> None:
    s3.stop()
    try:
        job_id = _delivering(s3_stack)
        _logged(s3_stack, job_id, "delivery failed")
        assert s3_stack.cancel(job_id).json()["cancelled"]
    finally:
        s3.start()
    later = s3_stack.submit(steps=1)
    assert s3_stack.wait(later)["state"] == "succeeded"
    assert (s3_stack.status(job_id)["state"], s3.files(job_id)) == ("cancelled", [])
