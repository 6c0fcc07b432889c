"""Secrets in links never reach a log, whichever part of the server writes it."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.process.log_lines import JsonFormatter, SafeRecord, TextFormatter, without_queries
from tests.support import raw_http
from tests.support.harness import Stack, wait_for
from tests.support.tiny import BASE

SECRET = "fm-secret-of-a-client"


@pytest.mark.parametrize(
    "text",
    [
        f"GET /api/validate_key?key={SECRET} HTTP/1.1", f"127.0.0.1 \"GET /x?wait=3&key={SECRET} HTTP/1.1\" 200",
        f"/x?k%65y={SECRET}", f"https://bucket.example/outputs/1?X-Amz-Signature={SECRET}",
        f"Invalid request from ip=127.0.0.1: Invalid HTTP request line: 'GET /x?key=a {SECRET} HTTP/1.1'",
        f"Invalid request from ip=127.0.0.1: Invalid HTTP Header: 'Authorization Bearer {SECRET}'",
        f"200 GET /tasks?key={SECRET} (127.0.0.1) 1.00ms", f"/x?{SECRET}",
    ],
)  # fmt: skip
def test_queries_and_malformed_requests_are_hidden(text: str) -> None:
    hidden = without_queries(text)
    assert SECRET not in hidden
    assert "…" in hidden


@pytest.mark.parametrize("text", ["did the worker die?", "Perhaps out of memory? yes", "Listening at: http://[::1]:80"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert without_queries(text) == text


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter(), logging.Formatter("%(message)s")])
def test_messages_arguments_and_exceptions_are_covered(formatter: logging.Formatter) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter)
    link = f"http://x/?key={SECRET}"
    try:
        raise ValueError(link)
    except ValueError as exc:
        record = SafeRecord("name", logging.ERROR, "file", 1, "asked %s", (link,), (type(exc), exc, exc.__traceback__))
    record.url = link
    handler.handle(record)
    handler.handle(record)
    assert "asked http://x/?…" in written.getvalue()
    assert SECRET not in written.getvalue()


@pytest.fixture(scope="module")
def web() -> Iterator[Stack]:
    """A gunicorn that also writes an access log."""
    with tempfile.TemporaryDirectory(prefix="fm-") as folder:
        models = Path(folder) / "models.toml"
        models.write_text(BASE)
        stack = Stack(Path(folder), models, GUNICORN_CMD_ARGS="--access-logfile - --log-level debug")
        try:
            yield stack.up()
        finally:
            stack.close()


def test_gunicorn_logs_no_secret(web: Stack) -> None:
    requests = [
        f"GET /api/validate_key?key={SECRET} HTTP/1.1\r\nHost: localhost\r\nReferer: http://localhost/?key={SECRET}\r\n",
        f"GET /v1/nothing?key={SECRET} HTTP/1.1\r\nHost: localhost\r\n",
        f"GET /x?key={SECRET} and {SECRET} HTTP/1.1\r\nHost: localhost\r\n",
        f"G?T /x?key={SECRET} HTTP/1.1\r\nHost: localhost\r\n",
        f"GET /x?key={SECRET} HTTP/9\r\nHost: localhost\r\n",
        f"GET /x HTTP/1.1\r\nHost: localhost\r\nAuthorization Bearer {SECRET}\r\n",
        f"GET /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {SECRET}\r\n",
    ]
    for request in requests:
        with raw_http.connect(web.port, f"{request}Connection: close\r\n\r\n".encode()) as connection:
            raw_http.read_all(connection)
    wait_for(lambda: "/v1/nothing" in web.log("web"), "the access log")
    wait_for(lambda: "Invalid request" in web.log("web"), "the error log")
    assert SECRET not in web.log("web")
