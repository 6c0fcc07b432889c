"""Downloads through the server, condition by condition, as in RFC 9110."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from app.downloads import send_object
from jobs.objects.base import CHUNK_BYTES
from jobs.objects.local import LocalStore
from jobs.record import Output

CONTENT = bytes(range(256)) * (2 * CHUNK_BYTES // 256) + b"end"
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TAG = f'"{SHA256}"'


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    objects = LocalStore(tmp_path)
    objects.put_bytes("outputs/1/a.mp4", CONTENT, "video/mp4")
    output = Output("outputs/1/a.mp4", "video/mp4", SIZE, SHA256, 2, 2)
    app = Flask(__name__)

    @app.route("/file")
    def file() -> Response:
        return send_object(objects, output, name="job-0")

    with app.test_client() as made:
        yield made


def test_the_whole_file(client: FlaskClient) -> None:
    answer = client.get("/file")
    assert (answer.status_code, answer.data) == (200, CONTENT)
    expected = {
        "Content-Type": "video/mp4", "Content-Length": str(SIZE), "ETag": TAG, "Accept-Ranges": "bytes",
        "Content-Disposition": 'inline; filename="job-0.mp4"', "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    assert expected.items() <= dict(answer.headers).items()
    head = client.head("/file")
    assert (head.status_code, head.data) == (200, b"")
    assert expected.items() <= dict(head.headers).items()


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0), ("bytes=5-9", 5, 9), (f"bytes={SIZE - 1}-", SIZE - 1, SIZE - 1),
        ("bytes=-3", SIZE - 3, SIZE - 1),
        (f"bytes=0-{SIZE + 99}", 0, SIZE - 1), (f"bytes=-{SIZE + 99}", 0, SIZE - 1),
        (f"bytes={CHUNK_BYTES - 1}-{CHUNK_BYTES}", CHUNK_BYTES - 1, CHUNK_BYTES),
    ],
)  # fmt: skip
def test_one_range(client: FlaskClient, wanted: str, first: int, last: int) -> None:
    answer = client.get("/file", headers={"Range": wanted})
    assert (answer.status_code, answer.data) == (206, CONTENT[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert answer.headers["Content-Length"] == str(last - first + 1)
    assert answer.headers["ETag"] == TAG


@pytest.mark.parametrize("wanted", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}"])
def test_a_range_behind_the_end(client: FlaskClient, wanted: str) -> None:
    answer = client.get("/file", headers={"Range": wanted})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{SIZE}")


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-9", "lines=0-1", "bytes=9-5", "bytes=x-y", "bytes", "bytes=0-1;2"])
def test_what_is_no_single_range_is_answered_with_the_whole_file(client: FlaskClient, wanted: str) -> None:
    answer = client.get("/file", headers={"Range": wanted})
    assert (answer.status_code, answer.data) == (200, CONTENT)


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (TAG, 206), ('"another"', 200), (f"W/{TAG}", 200), ("Sat, 21 Nov 2026 15:19:33 GMT", 200),
        (SHA256, 200), ("*", 200),
    ],
)  # fmt: skip
def test_a_range_of_the_same_file_only(client: FlaskClient, condition: str, status: int) -> None:
    answer = client.get("/file", headers={"Range": "bytes=1-2", "If-Range": condition})
    assert (answer.status_code, answer.data) == (status, CONTENT[1:3] if status == 206 else CONTENT)


@pytest.mark.parametrize(
    ("condition", "status"),
    [(TAG, 304), (f"W/{TAG}", 304), (f'"another", {TAG}', 304), ("*", 304), ('"another"', 200), ("", 200)],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file_that_the_client_has_is_not_sent(client: FlaskClient, method: str, condition: str, status: int) -> None:
    answer = client.open("/file", method=method, headers={"If-None-Match": condition})
    assert answer.status_code == status
    assert answer.headers["ETag"] == TAG
    assert answer.data == (CONTENT if (method, status) == ("GET", 200) else b"")


def test_a_file_that_the_client_has_is_not_sent_in_part_either(client: FlaskClient) -> None:
    answer = client.get("/file", headers={"If-None-Match": TAG, "Range": "bytes=0-1"})
    assert (answer.status_code, answer.data) == (304, b"")
