"""Object stores: a folder and a bucket of a real S3 server behave alike."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests
from botocore.exceptions import ClientError

from jobs.errors import (
    BadSetting,
    ObjectNotFound,
    ObjectRefused,
    ObjectStoreAway,
    ObjectStoreMisset,
    Unavailable,
)
from jobs.objects.base import CHUNK_BYTES, ObjectStore
from jobs.objects.local import LocalStore
from jobs.objects.s3 import S3Store
from jobs.objects.s3_errors import translated
from jobs.settings import Settings
from tests.support.s3_server import S3Server

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
    large = tmp_path / "large"  # a bucket receives it in several parts
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


def test_lists_are_in_order_and_go_on_behind_a_key(objects: ObjectStore) -> None:
    keys = ["list/a-b/0.png", "list/a.png", "list/a/1.1/0.png", "list/a/1.1/10.png", "list/a/1.1/2.png", "list/b/0.png"]
    for key in reversed(keys):
        objects.put_bytes(key, b"x", "image/png")
    objects.put_bytes("list2/a.png", b"x", "image/png")
    began_s = time.time()
    found = list(objects.list("list/"))
    assert [one.key for one in found] == keys
    assert all(abs(one.modified_s - began_s) < 60 for one in found)
    for place, key in enumerate(keys):
        assert [one.key for one in objects.list("list/", key)] == keys[place + 1 :]
    assert [one.key for one in objects.list("list/", "list/a/")] == keys[2:]
    assert [one.key for one in objects.list("list/a/")] == keys[2:5]
    assert list(objects.list("list/", "list2")) == list(objects.list("nothing/")) == []


@pytest.mark.parametrize("prefix", ["", "/", "outputs", "../", "outputs/../", "a//", "/etc/"])
def test_a_list_needs_a_prefix(objects: ObjectStore, prefix: str) -> None:
    with pytest.raises(ObjectNotFound):
        objects.list(prefix)


def test_nothing_is_left_of_a_deleted_folder(tmp_path: Path) -> None:
    objects = LocalStore(tmp_path)
    for key in (KEY, "outputs/1f/2/0.png", "inputs/0.png"):
        objects.put_bytes(key, b"x", "image/png")
    objects.delete(KEY)
    assert (tmp_path / "outputs/1f/2/0.png").exists()
    objects.delete("outputs/1f/2/0.png")
    objects.delete("inputs/0.png")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["inputs", "outputs"]


def test_half_written_files_are_tidied_away_when_they_are_old(tmp_path: Path) -> None:
    objects = LocalStore(tmp_path)
    objects.put_bytes(KEY, b"x", "image/png")
    left = [tmp_path / "outputs/1f/1" / name for name in (".part-abc", ".1.png.meta")]
    for path in left:
        path.write_bytes(b"half")
    objects.tidy(3600)
    assert all(path.exists() for path in left)
    objects.tidy(-1)
    assert not any(path.exists() for path in left)
    assert (objects.stat(KEY).size_bytes, _read(objects)) == (1, b"x")


def test_uploads_that_were_broken_off_are_given_up(s3: S3Server) -> None:
    place = {"Bucket": "media", "Key": "mill/outputs/big/1.1/0.mp4"}
    upload = s3.store.client.create_multipart_upload(**place)["UploadId"]
    s3.store.client.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"x" * 5_000_000)
    s3.store.tidy(3600)
    s3.store.client.list_parts(**place, UploadId=upload)
    s3.store.tidy(-60)
    with pytest.raises(ClientError, match="NoSuchUpload"):
        s3.store.client.list_parts(**place, UploadId=upload)
    s3.store.tidy(-60)


def test_only_a_bucket_has_links_of_its_own(objects: ObjectStore, s3: S3Server) -> None:
    objects.put_bytes(KEY, b"x", "image/png")
    link = objects.url(KEY)
    assert (link is None) == (objects is not s3.store)
    assert link is None or requests.get(link, timeout=60).content == b"x"
    link = objects.url(KEY, "image/svg+xml", "1-0.svg")  # the signature covers these parameters
    assert link is None or requests.get(link, timeout=60).content == b"x"


def test_a_store_that_cannot_be_written_says_so_and_may_be_tried_again(unusable: ObjectStore) -> None:
    with pytest.raises(Unavailable, match=r"NoSuchBucket|Not a directory|File exists"):
        unusable.put_bytes(KEY, b"x", "image/png")
    with pytest.raises(Unavailable, match=r"NoSuchBucket|Not a directory|File exists"):
        unusable.put_file(KEY, Path(__file__), "image/png")
    with pytest.raises(Unavailable, match=r"NoSuchBucket|Not a directory|File exists"):
        unusable.stat(KEY)
    link = unusable.url(KEY)
    assert link is None or requests.get(link, timeout=60).status_code == 404


def test_a_store_shows_that_it_can_be_written_and_keeps_nothing(objects: ObjectStore, unusable: ObjectStore) -> None:
    objects.check_write()
    assert list(objects.list("outputs/write-check/")) == []
    for check in (unusable.check, unusable.check_write):
        with pytest.raises(ObjectStoreMisset, match=r"does not exist \(NoSuchBucket\)|Not a directory|File exists"):
            check()


@pytest.mark.parametrize(
    ("environment", "kind", "reason"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, ObjectStoreMisset, "the secret key is wrong (SignatureDoesNotMatch)"),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, ObjectStoreMisset, "(AccessDenied)|(InvalidAccessKeyId)"),
        ({"S3_BUCKET": "No Bucket"}, ObjectStoreMisset, "no bucket can have this name (ParamValidationError)"),
        ({"S3_ENDPOINT_URL": "http://127.0.0.1:9"}, ObjectStoreAway, "EndpointConnectionError"),
    ],
)  # fmt: skip
def test_what_only_an_operator_can_end_is_told_from_what_passes(
    s3: S3Server, environment: dict[str, str], kind: type[ObjectStoreAway], reason: str
) -> None:
    with pytest.raises(ObjectStoreAway) as caught:
        s3.store_of(**environment).check()
    assert type(caught.value) is kind
    assert any(part in caught.value.message for part in reason.split("|"))


def test_an_endpoint_that_is_no_address_is_named() -> None:
    with pytest.raises(ObjectStoreMisset, match="S3_ENDPOINT_URL is not an address"):
        S3Store(Settings.from_env({"S3_BUCKET": "media", "S3_ENDPOINT_URL": "nonsense"})).check()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("EntityTooLarge", ObjectRefused), ("ExpiredToken", ObjectStoreMisset), ("SlowDown", ObjectStoreAway),
        ("InternalError", ObjectStoreAway), ("503", ObjectStoreAway), ("413", ObjectRefused),
    ],
)  # fmt: skip
def test_a_code_of_s3_is_of_one_kind(code: str, kind: type[ObjectStoreAway]) -> None:
    with pytest.raises(ObjectStoreAway, match=code) as caught, translated():
        raise ClientError({"Error": {"Code": code}}, "PutObject")
    assert type(caught.value) is kind


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


class Recorder(SimpleHTTPRequestHandler):
    """An S3 server that accepts everything. It records the headers, and size and hash of the last upload."""

    seen: ClassVar[list[tuple[str, str, dict[str, str]]]] = []
    #: Number → size and MD5 of each part.
    parts: ClassVar[dict[int, tuple[int, bytes]]] = {}

    def log_message(self, *_: Any) -> None: ...

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        number = re.search(r"partNumber=(\d+)", self.path)
        self.parts[int(number[1]) if number else 0] = len(body), hashlib.md5(body).digest()
        self._answer(b"", hashlib.md5(body).hexdigest())

    def do_HEAD(self) -> None:
        digests = b"".join(digest for _, (_, digest) in sorted(self.parts.items()))
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.md5(digests).hexdigest()}-{len(self.parts)}"')
        self.send_header("Content-Length", str(sum(size for size, _ in self.parts.values())))
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name = b"CompleteMultipartUploadResult" if body else b"InitiateMultipartUploadResult"
        self._answer(b"<%s><UploadId>u</UploadId><Key>k</Key></%s>" % (name, name))

    def _answer(self, body: bytes, etag: str = "") -> None:
        self.seen.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def recorder() -> Iterator[str]:
    """Yield the address of a :class:`Recorder`."""
    Recorder.seen.clear()
    Recorder.parts.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_what_a_bucket_is_told_of_an_output(s3: S3Server, recorder: str, tmp_path: Path) -> None:
    store = s3.store_of(S3_ENDPOINT_URL=recorder, S3_ENCRYPTION="aws:kms", S3_KMS_KEY_ID="key-1")
    path = tmp_path / "file"
    path.write_bytes(b"x")
    store.put_file(KEY, path, "image/png", sha256="ab" * 32, file_name="1f-0.png", tags={"class": "days", "b": "x y"})
    [(_, place, headers)] = Recorder.seen
    assert place == f"/media/mill/{KEY}"
    expected = {
        "content-type": "image/png", "content-disposition": 'inline; filename="1f-0.png"',
        "cache-control": "private, max-age=86400, immutable", "x-amz-meta-sha256": "ab" * 32,
        "x-amz-tagging": "class=days&b=x+y", "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
    }  # fmt: skip
    assert expected.items() <= headers.items()
    store.put_bytes("inputs/a", b"x", "image/png")
    assert Recorder.seen[1][2]["x-amz-server-side-encryption"] == "aws:kms"  # inputs as well
    store.put_bytes("outputs/a", b"x", "image/svg+xml")
    assert Recorder.seen[2][2]["content-disposition"] == "attachment"  # a public address of the bucket displays no page
    plain = s3.store_of(S3_ENDPOINT_URL=recorder)
    plain.put_file(KEY, path, "image/png")
    assert not [name for name in Recorder.seen[3][2] if "encryption" in name or "tagging" in name or "meta" in name]


def test_large_files_are_sent_in_parts_of_the_size_that_was_set(s3: S3Server, recorder: str, tmp_path: Path) -> None:
    store = s3.store_of(S3_ENDPOINT_URL=recorder, S3_PART_BYTES=str(6 * 2**20))
    path = tmp_path / "file"
    path.write_bytes(bytes(13 * 2**20))
    store.put_file(KEY, path, "video/mp4")
    parts = sorted(int(headers["content-length"]) for method, _, headers in Recorder.seen if method == "PUT")
    assert parts == [2**20, 6 * 2**20, 6 * 2**20]
    Recorder.seen.clear()
    path.write_bytes(bytes(5 * 2**20))
    store.put_file(KEY, path, "video/mp4")
    assert [method for method, _, _ in Recorder.seen] == ["PUT"]


def test_the_links_of_a_bucket_are_of_the_kind_that_was_set(s3: S3Server) -> None:
    assert "X-Amz-Signature" in str(s3.store_of().url(KEY))
    public = s3.store_of(RESULT_URLS="public", S3_PUBLIC_URL="https://cdn.example.org/files/")
    assert public.url(KEY) == f"https://cdn.example.org/files/mill/{KEY}"
    assert s3.store_of(RESULT_URLS="proxy").url(KEY) is None


@pytest.mark.parametrize(
    "environment",
    [
        {"S3_ENCRYPTION": "rot13"}, {"RESULT_URLS": "public"}, {"RESULT_URLS": "public", "S3_PUBLIC_URL": "cdn/x"},
        {"RESULT_URLS": "other"}, {"S3_PART_BYTES": "1000"}, {"IMAGE_FORMAT": "mp4"}, {"VIDEO_FORMAT": "png"},
        {"IMAGE_QUALITY": "0"}, {"VIDEO_QUALITY": "101"}, {"THUMBNAIL_FORMAT": "png"}, {"EMBED_METADATA": "maybe"},
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(environment: dict[str, str]) -> None:
    with pytest.raises(BadSetting, match="|".join(environment)):
        Settings.from_env(environment)


def test_links_lead_to_the_address_that_callers_reach(s3: S3Server) -> None:
    """A signature covers the host, so a proxy cannot put another one into a finished link."""
    s3.store.put_bytes(KEY, b"content", "image/png")
    reached = s3.url.replace("127.0.0.1", "localhost")
    store = s3.store_of(S3_PUBLIC_ENDPOINT_URL=reached)
    link = str(store.url(KEY, "image/png", "a.png"))
    assert link.startswith(f"{reached}/media/mill/{KEY}?")
    assert requests.get(link, timeout=60).content == b"content"
    other = str(s3.store.url(KEY)).replace(s3.url, reached)
    assert requests.get(other, timeout=60).status_code == 403


def test_a_link_tells_its_object(s3: S3Server, tmp_path: Path) -> None:
    for store in (s3.store, s3.store_of(S3_PUBLIC_ENDPOINT_URL="https://s3.example.org"), s3.store_of(S3_PREFIX=""),
                  s3.store_of(RESULT_URLS="public", S3_PUBLIC_URL="https://cdn.example.org/files/")):  # fmt: skip
        link = str(store.url(KEY))
        place, _, path = link.partition("://")[2].partition("/")
        assert store.key_of(link) == store.key_of(link.partition("?")[0]) == KEY
        places = ("evil.example", f"{place}.evil.example", f"{place}@evil.example")
        others = [link.replace(place, name) for name in places] + [link.replace(path, path[1:]), "", "x", "https://[x"]
        others += [link.replace(KEY, name) for name in ("outputs/../secret", "%2e%2e/secret")]
        for other in others:
            assert store.key_of(other) is None, other
    assert s3.store_of(RESULT_URLS="proxy").key_of(str(s3.store.url(KEY))) is None
    assert LocalStore(tmp_path).key_of(f"/v1/jobs/1f/{KEY}") is None
