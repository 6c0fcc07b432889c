"""Object stores that lie, are missing, or refuse: no job succeeds without its file, and no outage looks like a loss."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from jobs.errors import ObjectNotFound, Unavailable
from jobs.files import spool
from jobs.objects.local import LocalStore
from jobs.objects.s3 import S3Store
from jobs.settings import Settings
from tests.support.harness import wait_for
from tests.support.in_process import in_process
from tests.support.portal import portal
from tests.support.s3_server import S3Server
from workers.spool import encoded_files, frames

KEY = "outputs/1f/1/0.png"
LARGE = 11 * 2**20

MODELS = """
[drawing]
executor = "drawing"
kinds = ["text2img"]
defaults = { steps = 1, width = 32, height = 32 }
"""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.mp4"
    path.write_bytes(bytes(range(256)) * (LARGE // 256))
    return path


def traced(store: S3Store) -> list[str]:
    """Record the operations that a store sends from now on."""
    sent: list[str] = []
    store.client.meta.events.register("before-send.s3", lambda request, **_: sent.append(request.method))
    return sent


def test_an_upload_that_a_portal_accepts_is_not_believed(s3: S3Server, large: Path) -> None:
    with portal() as server:
        store = s3.store_of(S3_ENDPOINT_URL=server.url)
        with pytest.raises(Unavailable, match="accepted 5 bytes, but has"):
            store.put_bytes(KEY, b"image", "image/png")
        for path in (Path(__file__), large):
            with pytest.raises(Unavailable):
                store.put_file(KEY, path, "image/png")


def test_an_upload_that_was_cut_is_not_believed(s3: S3Server, tmp_path: Path) -> None:
    with portal(kept=slice(0, 3)) as server:
        store = s3.store_of(S3_ENDPOINT_URL=server.url)
        with pytest.raises(Unavailable, match="another content"):
            store.put_bytes(KEY, b"image", "image/png")
    with portal(kept=slice(0, None)) as server:  # a server without ETags that does store the file
        store = s3.store_of(S3_ENDPOINT_URL=server.url)
        store.put_bytes(KEY, b"image", "image/png")
        assert [line.partition(" ")[0] for line in server.asked] == ["PUT", "HEAD", "GET"]


def test_an_honest_server_is_asked_no_more_than_needed(s3: S3Server, large: Path) -> None:
    store = s3.store_of()
    sent = traced(store)
    store.put_bytes(KEY, b"image", "image/png")
    store.put_file(KEY, Path(__file__), "text/plain")
    assert sent == ["PUT", "PUT"]
    sent.clear()
    store.put_file("outputs/1f/1/0.mp4", large, "video/mp4")
    assert sent.count("HEAD") == 1
    assert "GET" not in sent


def test_a_missing_bucket_or_refused_credentials_are_no_missing_object(s3: S3Server) -> None:
    s3.store.put_bytes(KEY, b"x", "image/png")
    missing = s3.store_of(S3_BUCKET="missing")
    refused = s3.store_of(AWS_SECRET_ACCESS_KEY="wrong")
    for store, reason in ((missing, "NoSuchBucket"), (refused, "SignatureDoesNotMatch|AccessDenied|403")):
        with pytest.raises(Unavailable, match=reason):
            store.stat(KEY)
        with pytest.raises(Unavailable, match=reason):
            store.read(KEY)
    with pytest.raises(ObjectNotFound):
        s3.store.stat("outputs/other/0.png")


def test_a_job_succeeds_when_its_file_is_in_the_bucket(short_folder: Path, tmp_path: Path) -> None:
    models = tmp_path / "models.toml"
    models.write_text(MODELS)
    bucket = S3Server(short_folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in bucket.environment.items():
            patch.setenv(name, value)
        with in_process(tmp_path / "data", models, **bucket.environment) as stack:
            with portal(bucket.port) as server:
                job_id = stack.submit(model="drawing")
                wait_for(lambda: sum(line.startswith("PUT") for line in server.asked) >= 2, "two deliveries", 60)
                assert stack.status(job_id)["state"] == "delivering"
            bucket.start()
            try:
                view = stack.wait(job_id)
                assert (view["state"], view["attempt"]) == ("succeeded", 1)
                assert len(bucket.files(job_id)) == 2
                bucket.bucket.rename(bucket.bucket.with_name("elsewhere"))
                result = stack.get(f"/v1/jobs/{job_id}/result")
                assert (result.status_code, result.json()["error"]["code"]) == (503, "unavailable")
            finally:
                bucket.stop()


# ---- a process without file descriptors


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let no further file be opened inside the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_frames_and_objects_are_not_taken_for_gone(tmp_path: Path) -> None:
    settings = Settings.of(data_dir=tmp_path, spool_dir=tmp_path / "spool")
    frames.write(settings, "a", 1, np.zeros((1, 1, 4, 4, 3), np.uint8), lambda: None)
    with encoded_files.folder(settings, "b", 1) as folder:
        (folder / "0.png").write_bytes(b"x")
        file = encoded_files.EncodedFile(folder / "0.png", "image/png", 1, 1)
        encoded_files.keep(settings, "b", 1, folder, [file])
    objects = LocalStore(tmp_path / "objects")
    objects.put_bytes(KEY, b"x", "image/png")
    with no_descriptors():
        with pytest.raises(OSError, match="Too many open files"):
            frames.load(settings, "a", 1)
        with pytest.raises(OSError, match="Too many open files"):
            encoded_files.load(settings, "b", 1)
        for read in (objects.stat, objects.read):
            with pytest.raises(Unavailable, match="Too many open files"):
                read(KEY)
    assert frames.load(settings, "a", 1).shape == (1, 1, 4, 4, 3)
    assert objects.stat(KEY).size_bytes == 1
    (settings.spool_disk / "a.1" / spool.FRAMES).write_bytes(b"torn")
    for missing in ("a", "c"):
        with pytest.raises(ObjectNotFound):
            frames.load(settings, missing, 1)


# ---- who may read


@pytest.mark.parametrize("umask", [0, 0o077])
def test_objects_and_frames_are_not_for_everybody(tmp_path: Path, umask: int) -> None:
    settings = Settings.of(data_dir=tmp_path, spool_dir=tmp_path / "new" / "spool")
    before = os.umask(umask)
    try:
        frames.write(settings, "a", 1, np.zeros((1, 1, 4, 4, 3), np.uint8), lambda: None)
        with encoded_files.folder(settings, "b", 1) as folder:
            (folder / "0.png").write_bytes(b"x")
            file = encoded_files.EncodedFile(folder / "0.png", "image/png", 1, 1)
            encoded_files.keep(settings, "b", 1, folder, [file])
        LocalStore(tmp_path / "new" / "objects").put_bytes(KEY, b"x", "image/png")
    finally:
        os.umask(before)
    paths = list((tmp_path / "new").rglob("*"))
    assert len([path for path in paths if path.is_file()]) == 5
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path
