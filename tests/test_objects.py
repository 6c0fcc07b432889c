"""Where files are kept, by the same rules in a folder and in a bucket of a real S3 server."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from jobs.errors import ObjectNotFound, Unavailable
from jobs.objects import CHUNK_BYTES, ObjectStore
from jobs.objects.local import LocalStore
from tests.s3_server import S3Server

KEY = "outputs/1f/1/0.png"


@pytest.fixture(params=["folder", "bucket"])
def objects(request: pytest.FixtureRequest, s3: S3Server, tmp_path: Path) -> ObjectStore:
    return LocalStore(tmp_path) if request.param == "folder" else s3.store


@pytest.fixture(params=["folder", "bucket"])
def unusable(request: pytest.FixtureRequest, s3: S3Server, tmp_path: Path) -> ObjectStore:
    (tmp_path / "file").touch()
    return LocalStore(tmp_path / "file") if request.param == "folder" else s3.store_of(S3_BUCKET="missing")


def _read(objects: ObjectStore, key: str = KEY, start: int = 0, end: int | None = None) -> bytes:
    return b"".join(objects.read(key, start, end))


def test_a_stored_object_is_read_back_and_replaced(objects: ObjectStore, tmp_path: Path) -> None:
    objects.put_bytes(KEY, b"first", "image/webp")
    objects.put_bytes(KEY, b"0123456789", "image/png")
    assert (objects.stat(KEY).size_bytes, objects.stat(KEY).media_type) == (10, "image/png")
    assert _read(objects) == b"0123456789"
    large = tmp_path / "large"  # a bucket gets it in several parts
    large.write_bytes(bytes(range(256)) * 4096 * 9)
    objects.put_file("outputs/1f/1/0.mp4", large, "video/mp4")
    assert objects.stat("outputs/1f/1/0.mp4").media_type == "video/mp4"
    assert max(map(len, objects.read("outputs/1f/1/0.mp4"))) <= CHUNK_BYTES
    assert _read(objects, "outputs/1f/1/0.mp4") == large.read_bytes()


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 0, b"0"), (2, 4, b"234"), (2, None, b"23456789"), (9, 20, b"9"), (10, None, b""), (99, 100, b"")],
)
def test_ranges(objects: ObjectStore, start: int, end: int | None, expected: bytes) -> None:
    objects.put_bytes(KEY, b"0123456789", "image/png")
    assert _read(objects, start=start, end=end) == expected


def test_a_deleted_object_is_gone_and_may_be_deleted_again(objects: ObjectStore) -> None:
    objects.put_bytes("outputs/2f/1/0.png", b"x", "image/png")
    for _ in range(2):
        objects.delete("outputs/2f/1/0.png")
    for key in ("outputs/2f/1/0.png", "outputs/2f", "never/stored"):
        with pytest.raises(ObjectNotFound):
            objects.stat(key)
        with pytest.raises(ObjectNotFound):
            objects.read(key)


@pytest.mark.parametrize(
    "key", ["", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", ".hidden", "a\0b", "a\nb", "a\\b"]
)
def test_what_is_no_key_is_refused(objects: ObjectStore, tmp_path: Path, key: str) -> None:
    calls = [
        lambda: objects.put_bytes(key, b"x", "image/png"), lambda: objects.put_file(key, Path(__file__), "image/png"),
        lambda: objects.stat(key), lambda: objects.read(key), lambda: objects.delete(key),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ObjectNotFound):
            call()
    assert list(tmp_path.iterdir()) == []


def test_only_a_bucket_has_links_of_its_own(objects: ObjectStore, s3: S3Server) -> None:
    objects.put_bytes(KEY, b"x", "image/png")
    link = objects.url(KEY)
    assert (link is None) == (objects is not s3.store)
    assert link is None or requests.get(link, timeout=10).content == b"x"


def test_a_store_that_cannot_be_written_says_so_and_may_be_tried_again(unusable: ObjectStore) -> None:
    with pytest.raises(Unavailable, match=r"NoSuchBucket|Not a directory|File exists"):
        unusable.put_bytes(KEY, b"x", "image/png")
    with pytest.raises(Unavailable, match=r"NoSuchBucket|Not a directory|File exists"):
        unusable.put_file(KEY, Path(__file__), "image/png")
    with pytest.raises(ObjectNotFound):
        unusable.stat(KEY)
    link = unusable.url(KEY)
    assert link is None or requests.get(link, timeout=10).status_code == 404


def test_ranges_of_a_server_that_sends_whole_files(s3: S3Server, tmp_path: Path) -> None:
    content = bytes(range(256)) * 2048  # two chunks
    path = tmp_path / "media" / "mill" / KEY
    path.parent.mkdir(parents=True)
    path.write_bytes(content)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = s3.store_of(S3_ENDPOINT_URL=f"http://127.0.0.1:{server.server_port}")
        for start, end in ((0, 9), (300_000, 300_009), (5, None), (0, None), (262_143, 262_144)):
            assert _read(store, start=start, end=end) == content[start : None if end is None else end + 1]
        server.shutdown()
