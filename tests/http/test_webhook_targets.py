"""The hosts that webhooks may be sent to, and one post to a real receiver."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.outbound.post import post
from tests.support.receiver import SECRET, Receiver, receiving
from tests.support.service import Service
from tests.support.web import script

JOB = {"model": "tiny-image", "prompt": "a red circle"}
LOCAL = frozenset({"127.0.0.1"})


@pytest.fixture
def signing(services: Callable[..., Service]) -> Service:
    """A server that can sign webhooks."""
    return services(WEBHOOK_SECRET=SECRET, WEBHOOK_ALLOW="127.0.0.1")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


# ---- at submission


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://127.0.0.2/hook", "public addresses only"),
        ("http://10.0.0.1/hook", "public addresses only"),
        ("http://[::1]:8000/hook", "public addresses only"),
        ("http://169.254.169.254/latest/meta-data", "public addresses only"),
        ("http://localhost/hook", "public addresses only"),
        ("http://no-such-host.invalid/hook", "public addresses only"),
        ("ftp://example.org/hook", "http:// or https://"),
        ("http://user:secret@example.org/hook", "without user name or password"),
        ("http://a b/", "spaces"),
    ],
)
def test_a_url_that_leads_elsewhere_is_refused_before_anything_is_queued(signing: Service, url: str, rule: str) -> None:
    response = signing.post("/v1/jobs", json={**JOB, "webhook_url": url})
    assert response.status_code == 422
    problem = response.get_json()["error"]["fields"][0]
    assert problem["field"] == "webhook_url"
    assert rule in problem["rule"]
    assert "secret" not in response.text
    assert signing.json("/v1/jobs?limit=1")["total"] == 0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"webhook_url": "http://127.0.0.1/", "webhook_events": ["job.lost"]}, "webhook_events"),
        ({"webhook_url": "http://127.0.0.1/", "webhook_events": []}, "webhook_events"),
        ({"webhook_events": ["job.failed"]}, "webhook_events"),
        ({"webhook_url": 5}, "webhook_url"),
    ],
)
def test_wrong_fields_are_named(signing: Service, fields: dict[str, Any], field: str) -> None:
    response = signing.post("/v1/jobs", json={**JOB, **fields})
    assert (response.status_code, response.get_json()["error"]["fields"][0]["field"]) == (422, field)


def test_without_a_secret_no_job_may_have_a_webhook(services: Callable[..., Service], receiver: Receiver) -> None:
    response = services(WEBHOOK_ALLOW="127.0.0.1").post("/v1/jobs", json={**JOB, "webhook_url": receiver.url})
    assert response.status_code == 422
    assert "WEBHOOK_SECRET" in response.get_json()["error"]["fields"][0]["rule"]


# ---- one post


def test_a_name_that_changes_while_it_is_used_leads_nowhere_else(receiver: Receiver) -> None:
    """The name is resolved once, and the connection goes to the address that was checked."""
    resolved: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        resolved.append(host)
        return ["127.0.0.1"] if len(resolved) == 1 else ["127.0.0.2"]

    url = receiver.url.replace("127.0.0.1", "moving.example.org")
    allowed = frozenset({"moving.example.org"})
    assert post(url, b"{}", {}, timeout_s=5, allow_hosts=allowed, resolve=resolve).status == 204
    assert resolved == ["moving.example.org"]
    refused = post(url, b"{}", {}, timeout_s=5, resolve=resolve)
    assert (refused.status, refused.error) == (None, "the link's host must exist and have public addresses only")
    assert len(receiver.messages) == 1


def test_the_receivers_status_counts_even_if_its_body_never_comes() -> None:
    def hang(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 429 Slow down\r\nRetry-After: 7\r\nContent-Length: 10\r\n\r\n")
        time.sleep(2)

    with script(hang) as port:
        result = post(f"http://127.0.0.1:{port}/", b"{}", {}, timeout_s=20, allow_hosts=LOCAL)
    assert (result.status, result.retry_after_s, result.error) == (429, 7.0, "")


def test_the_body_and_headers_arrive_as_given_and_redirects_are_not_followed(receiver: Receiver) -> None:
    receiver.answers = [(302, {"Location": receiver.url})]
    body = b'{"data": {"id": "x"}}'
    result = post(receiver.url, body, {"webhook-id": "1"}, timeout_s=5, allow_hosts=LOCAL)
    assert (result.status, result.accepted) == (302, False)
    [message] = receiver.messages
    assert message.body == body
    assert (message.headers["webhook-id"], message.headers["host"]) == ("1", receiver.url.split("/")[2])


def test_failures_are_named_without_addresses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert post(f"http://127.0.0.1:{port}/", b"", {}, timeout_s=5, allow_hosts=LOCAL).error == (
        "the connection was refused"
    )
    with script(lambda sock: sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as port:
        error = post(f"http://127.0.0.1:{port}/", b"", {}, timeout_s=5, allow_hosts=LOCAL).error
        assert error == "no correct answer: RemoteProtocolError"
        error = post(f"https://127.0.0.1:{port}/", b"", {}, timeout_s=5, allow_hosts=LOCAL).error
        assert error.startswith("the encrypted connection failed: ")
    with script(lambda sock: time.sleep(1)) as port:
        error = post(f"http://127.0.0.1:{port}/", b"", {}, timeout_s=0.3, allow_hosts=LOCAL).error
    assert error == "no answer within 0.3 seconds"
