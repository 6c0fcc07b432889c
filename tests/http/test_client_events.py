"""The client's streams, waits, safe retries and operators' calls, against the same small server."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import framemill
from framemill.cli import main
from framemill.errors import ApiError, JobFailed, ServerUnavailable, WaitTimeout
from framemill.records import Job
from framemill.transport import event_stream, polling, routes, wire
from tests.support.fake_server import STATES, FakeServer, serving

Answer = tuple[int, Any, dict[str, str]]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as fake:
        yield fake


@pytest.fixture
def client(server: FakeServer) -> Iterator[framemill.Client]:
    with framemill.Client(server.url) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "RETRY_WAITS_S", (0.01, 0.01))
    monkeypatch.setattr(polling, "MIN_INTERVAL_S", 0.01)
    monkeypatch.setattr(polling, "MAX_INTERVAL_S", 0.05)


def _error(status: int, code: str) -> Answer:
    return status, {"detail": code, "error": {"code": code, "message": code}}, {}


def _status(state: str = "running", step: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": "a1", "state": state, "progress": {"step": step, "steps": 9}, **more}


def _stream(*messages: tuple[str, str, dict[str, Any]], cut: bool = False) -> Answer:
    """Return a stream of (id, name, data); ``cut``: the connection breaks after them."""
    text = ": hello\r\n\r\n" + "".join(f"id: {i}\nevent: {n}\ndata: {json.dumps(d)}\n\n" for i, n, d in messages)
    headers = {"Content-Type": "text/event-stream; charset=utf-8"}
    if cut:
        headers |= {"Content-Length": str(len(text) + 100), "Connection": "close"}
    return 200, text.encode(), headers


def _steps(first: int, *steps: int) -> list[tuple[str, str, dict[str, Any]]]:
    return [(f"{first + n}-0", "progress", _status(step=step)) for n, step in enumerate(steps)]


END = ("9-0", "end", _status("succeeded", 9, percent=100))


# --- submit


def test_submit_names_things_as_the_server_does(server: FakeServer, client: framemill.Client) -> None:
    client.submit(
        job_class="premium", priority=5, start_within_s=60, max_run_s=9.5, idempotency_key="order 7", wait_s=20
    )
    assert server.calls[0][2] == {"class": "premium", "priority": 5, "start_within_s": 60, "max_run_s": 9.5}
    client.submit(not_before=datetime(2030, 1, 31, 18, tzinfo=UTC))
    client.submit(not_before="2030-01-31T18:00:00Z")
    assert [call[2] for call in server.calls[1:]] == [
        {"not_before": "2030-01-31T18:00:00+00:00"}, {"not_before": "2030-01-31T18:00:00Z"}
    ]  # fmt: skip
    assert server.queries[0] == {"wait": ["20"]}
    assert server.headers[0]["Idempotency-Key"] == "order 7"


def test_a_job_with_an_idempotency_key_is_sent_again(server: FakeServer, client: framemill.Client) -> None:
    server.first = [None]
    assert client.submit(prompt="x", idempotency_key="k").id == "a1"
    assert [headers.get("Idempotency-Key") for headers in server.headers] == ["k", "k"]
    server.first = [None] * 3
    with pytest.raises(ServerUnavailable, match="may have arrived"):
        client.submit(prompt="x", idempotency_key="k")


@pytest.mark.parametrize("key", ["", " ", "a\nb", "ä"])
def test_an_idempotency_key_must_fit_a_header(server: FakeServer, client: framemill.Client, key: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        client.submit(prompt="x", idempotency_key=key)
    assert server.calls == []


def test_a_held_back_answer_may_take_its_time() -> None:
    assert routes.submit({"wait_s": 20}).arguments(5)["timeout"].read == 25
    assert routes.get("a1", 3).arguments(5)["timeout"].read == 8
    assert routes.events("a1").arguments(5)["timeout"].read == routes.SILENCE_S


# --- follow


def test_a_lost_stream_goes_on_where_it_broke_off(server: FakeServer, client: framemill.Client) -> None:
    server.first = [
        _stream(("1-0", "status", _status()), *_steps(2, 1, 2), cut=True),
        None,
        _error(503, "unavailable"),
        _stream(*_steps(4, 3)),
        _stream(("8-0", "state", _status("delivering")), END),
    ]
    seen = list(client.follow("a1"))
    assert [event.event_id for event in seen] == ["1-0", "2-0", "3-0", "4-0", "8-0", "9-0"]
    assert [event.name for event in seen][:2] == ["status", "progress"]
    assert (seen[2].job.step, seen[-1].job.state, seen[-1].raw["percent"]) == (2, "succeeded", 100)
    assert [headers.get("Last-Event-ID") for headers in server.headers] == [None, "3-0", "3-0", "3-0", "4-0"]
    assert server.headers[0]["Accept"] == "text/event-stream"
    assert {path for _, path, _ in server.calls} == {"/v1/jobs/a1/events"}


def test_following_begins_after_a_known_event(server: FakeServer, client: framemill.Client) -> None:
    server.first = [_stream(), _stream(("9-0", "status", _status("succeeded")))]
    assert [event.job.state for event in client.follow("a1", after="9-0")] == ["succeeded"]
    # Nothing came after it, so the second try asks for the current state.
    assert [headers.get("Last-Event-ID") for headers in server.headers] == ["9-0", None]


def test_following_ends_when_it_is_of_no_use(
    server: FakeServer, client: framemill.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [_error(404, "job_not_found"), (200, {"hello": 1}, {}), _stream(("1-0", "status", {"hello": 1}))]
    for answer in bad:
        server.first = [answer]
        with pytest.raises(ApiError):
            list(client.follow("a1"))
    monkeypatch.setattr(event_stream, "MAX_SILENCE_S", 0.1)
    server.first = [_error(503, "unavailable")] * 100
    with pytest.raises(ServerUnavailable):
        list(client.follow("a1"))
    with pytest.raises(ValueError, match="not a job id"):
        client.follow("..")


def test_all_events_have_no_end(server: FakeServer, client: framemill.Client) -> None:
    server.first = [_stream(END), _stream(("10-0", "state", {"id": "b2", "state": "queued"}))]
    following = client.events(after="5-0")
    assert [(event.event_id, event.job.id) for _, event in zip(range(2), following, strict=False)] == [
        ("9-0", "a1"),
        ("10-0", "b2"),
    ]
    assert {path for _, path, _ in server.calls} == {"/v1/events"}


# --- wait


def test_a_watched_wait_listens_while_the_job_runs(server: FakeServer, client: framemill.Client) -> None:
    queued = _status("queued", position=1)
    server.first = [(200, queued, {}), (200, queued, {}), (200, _status(), {}), _stream(*_steps(1, *range(9)), END)]
    seen: list[Job] = []
    assert client.wait("a1", on_update=seen.append) is seen[-1]
    assert [status.step for status in seen][3:] == [*range(9), 9]
    assert [path.rpartition("/")[2] for _, path, _ in server.calls] == ["a1"] * 3 + ["events"]
    # Its position in the queue is not an event, so it is polled.
    assert server.queries[:3] == [{}, {"wait": ["1.0"]}, {"wait": ["1.0"]}]


def test_a_watched_wait_outlasts_its_stream(server: FakeServer, client: framemill.Client) -> None:
    running = (200, _status(step=5), {})
    requeued = ("4-0", "state", _status("queued"))
    server.first = [running, _stream(*_steps(1, 6, 7), cut=True), None, running, _stream(*_steps(3, 8), requeued)]
    seen: list[Job] = []
    assert client.wait("a1", on_update=seen.append).state == "succeeded"
    assert [status.step for status in seen][:6] == [5, 6, 7, 5, 8, 0]


@pytest.mark.parametrize(
    "answer", [_error(404, "unknown_route"), (200, b"<html>", {}), _stream()], ids=["none", "page", "held back"]
)
def test_a_watched_wait_polls_where_no_events_come(
    server: FakeServer, client: framemill.Client, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.hold = True
    monkeypatch.setattr(server, "events", answer)
    with pytest.raises(JobFailed):
        client.wait("a1", on_update=lambda status: setattr(server, "end", "failed" if server.steps > 12 else None))
    streams = sum(path.endswith("/events") for _, path, _ in server.calls)
    assert 1 <= streams <= polling.MAX_EMPTY_STREAMS


def test_an_unwatched_wait_asks_for_changes_only(server: FakeServer, client: framemill.Client) -> None:
    assert client.wait("a1").state == "succeeded"
    assert server.queries == [{"wait": ["25.0"]}] * len(STATES)


def test_an_older_server_is_not_flooded(server: FakeServer, client: framemill.Client) -> None:
    server.hold = True  # answers at once, whatever is requested
    with pytest.raises(WaitTimeout):
        client.wait("a1", timeout_s=0.5)
    assert len(server.calls) < 30
    assert float(server.queries[-1].get("wait", ["0"])[0]) <= 0.5


def test_async_client_streams_too(server: FakeServer) -> None:
    async def use() -> None:
        async with framemill.AsyncClient(server.url) as client:
            server.first = [_stream(*_steps(1, 1, 2), cut=True), None, _stream(END)]
            assert [event.event_id async for event in client.follow("a1")] == ["1-0", "2-0", "9-0"]
            server.first = [_stream(END), _stream(END)]
            count = 0
            async for _ in client.events():
                count += 1
                if count == 2:
                    break
            server.calls.clear()
            server.first = [
                (200, _status(), {}),
                _stream(*_steps(1, 1, 2), cut=True),
                (200, _status(), {}),
                _stream(END),
            ]
            seen: list[Job] = []
            assert (await client.wait("a1", on_update=seen.append)).step == 9
            assert [status.step for status in seen] == [0, 1, 2, 0, 9]
            server.first = [None]
            assert (await client.submit(prompt="x", idempotency_key="k")).id == "a1"
            for call, answer, request in OPERATIONS:
                server.first, server.calls[:] = [(200, answer, {})], []
                await call(client)
                assert server.calls == [request]

    asyncio.run(use())


# --- operators

KEY = {"service": "shop", "role": "client", "class": "premium", "max_waiting": 3, "models": ["demo-image"]}
NEW_KEY = {**KEY, "secret": "fm_secret"}
TRIED: dict[str, Any] = {
    "job_id": "a1", "key": "shop", "event": "job.failed", "receiver": "example.org:80", "state": "failed",
    "attempts": 7, "status": 500, "error": None, "tried_at": None, "next_try_at": None,
}  # fmt: skip
STORAGE: dict[str, Any] = {
    "bucket": None, "retention": {"default": "days", "days": 30.0, "hours": 6.0},
    "stored": {"outputs": {"files": 3, "bytes": 1536 * 2**20}, "inputs": {"files": 1, "bytes": 7 * 2**20},
               "checkpoints": {"files": 2, "bytes": 3 * 2**20}, "counted_at": None},
    "disks": [{"name": "spool", "free_bytes": 2**30, "total_bytes": 2**32}],
}  # fmt: skip
OPERATIONS: list[tuple[Callable[[Any], Any], dict[str, Any], tuple[str, str, Any]]] = [
    (lambda c: c.delete("a1"), {"id": "a1", "deleted": True, "changed": True}, ("DELETE", "/v1/jobs/a1", {})),
    (lambda c: c.cancel("a1"), {"id": "a1", "state": "cancelled", "cancelled": True},
     ("POST", "/v1/jobs/a1/cancel", {})),
    (lambda c: c.webhooks("a1"), {"deliveries": []}, ("GET", "/v1/jobs/a1/webhooks", {})),
    (lambda c: c.resend_webhooks("a1", "job.failed"), {"deliveries": []},
     ("POST", "/v1/jobs/a1/webhooks/resend", {"event": "job.failed"})),
    (lambda c: c.newest_webhooks(5, failed=True), {"deliveries": []},
     ("GET", "/v1/admin/webhooks", {"limit": ["5"], "failed": ["true"]})),
    (lambda c: c.model_command("demo-image", "load", "gpu0"), {"slots": []},
     ("POST", "/v1/models/demo-image/load", {"slot": "gpu0"})),
    (lambda c: c.retry("a1"), _status("queued"), ("POST", "/v1/jobs/a1/retry", {})),
    (lambda c: c.pause("a1"), _status("paused"), ("POST", "/v1/jobs/a1/pause", {})),
    (lambda c: c.resume("a1"), _status("queued"), ("POST", "/v1/jobs/a1/resume", {})),
    (lambda c: c.front("a1"), _status("queued"), ("POST", "/v1/jobs/a1/front", {})),
    (lambda c: c.pause_slots(), {"paused": ["*"]}, ("POST", "/v1/admin/pause", {})),
    (lambda c: c.pause_slots("gpu0"), {"paused": ["gpu0"]}, ("POST", "/v1/admin/pause", {"slot": "gpu0"})),
    (lambda c: c.resume_slots("gpu0"), {"paused": []}, ("POST", "/v1/admin/resume", {"slot": "gpu0"})),
    (lambda c: c.drain("gpu0", 5), {"slot": "gpu0", "drained": True, "job_id": None},
     ("POST", "/v1/admin/slots/gpu0/drain", {})),
    (lambda c: c.dead(), {"dead": []}, ("GET", "/v1/admin/dead", {})),
    (lambda c: c.fleet_history(), {"interval_s": 60, "slots": []}, ("GET", "/v1/fleet/history", {})),
    (lambda c: c.storage(), STORAGE, ("GET", "/v1/admin/storage", {})),
    (lambda c: c.keys(), {"keys": [KEY]}, ("GET", "/v1/admin/keys", {})),
    (lambda c: c.create_key("shop", job_class="premium", max_waiting=3, models=["demo-image"], role=None), NEW_KEY,
     ("POST", "/v1/admin/keys",
      {"service": "shop", "class": "premium", "max_waiting": 3, "models": ["demo-image"]})),
    (lambda c: c.revoke_key("shop"), {"service": "shop", "revoked": True}, ("DELETE", "/v1/admin/keys/shop", {})),
]  # fmt: skip


@pytest.mark.parametrize(("call", "answer", "request_"), OPERATIONS)
def test_what_operators_do(
    server: FakeServer,
    client: framemill.Client,
    call: Callable[[Any], Any],
    answer: dict[str, Any],
    request_: tuple[str, str, Any],
) -> None:
    server.first = [(200, answer, {})]
    call(client)
    assert server.calls == [request_]


def test_a_key_keeps_its_secret_to_itself(server: FakeServer, client: framemill.Client) -> None:
    server.first = [(200, NEW_KEY, {}), (200, {"keys": [KEY]}, {}), (200, {"paused": ["*"]}, {})]
    key = client.create_key("shop")
    assert (key.secret, key.job_class, key.models, key.max_running) == ("fm_secret", "premium", ("demo-image",), 0)
    assert "fm_secret" not in repr(key)
    assert client.keys()[0].secret is None
    assert client.pause_slots() == ("*",)
    with pytest.raises(ValueError, match="not a service"):
        client.revoke_key("")
    with pytest.raises(ValueError, match="no API key"):
        framemill.Client(server.url, api_key="ä")


# --- command


def test_tables_for_operators(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    queue = {
        "counts": {"queued": 2, "running": 1, "failed": 4}, "paused": ["*", "gpu1"],
        "waiting": {"total": 2, "by_model": {"gone": 2}, "by_class": {"general": 2}}, "waiting_for": ["model gone"],
        "eta": {"jobs": 7, "mean_error_s": 0.5, "mean_actual_s": 10.0},
    }  # fmt: skip
    fleet = {
        "slots": [{"name": "gpu0", "state": "busy", "device": "cpu", "job_id": "a1", "resident": ["demo-image"]}],
        "delivery": ["here"], "version": "0.2.0",
    }  # fmt: skip
    queue_text = (r"(?s)queue +2 queued, 1 running.*waiting +2 for gone.*waiting for +model gone.*"
                  r"paused +the whole queue, gpu1.*finished +4 failed.*ETA error +0\.5 s of 10 s on average "
                  r"\(5 %\), 7 jobs.*")  # fmt: skip
    fleet_text = (r"version +0\.2\.0\ndelivery +here\n\nslot +state +device +job +models in memory\n"
                  r"gpu0 +busy +cpu +a1 +demo-image")  # fmt: skip
    lost = {"id": "a1", "model": "demo-image", "error": {"code": "worker_lost", "message": "the worker died"}}
    for words, answer, expected in (
        (["queue"], queue, queue_text),
        (["fleet"], fleet, fleet_text),
        (["service"], queue, queue_text),
        (["keys", "list"], {"keys": [KEY]}, r"service .*\nshop +client +premium +3 +- +- +demo-image +all"),
        (["keys", "create", "shop", "--model", "demo-image"], NEW_KEY, r"^fm_secret\n$"),
        (["keys", "revoke", "shop"], {"revoked": True}, r"the key of shop was revoked"),
        (["pause", "--queue"], {"paused": ["*"]}, r"paused: the whole queue"),
        (["resume", "--queue"], {"paused": []}, r"paused: nothing"),
        (["dead"], {"dead": [lost]}, r"a1 +demo-image +the worker died"),
        (["storage"], STORAGE,
         (r"outputs +3 files, 1\.5 GiB\ninputs +1 files, 7\.0 MiB\ncheckpoints +2 files, 3\.0 MiB\nkept +30 days\n"
         r"disk +spool: 1\.0 GiB of 4\.0 GiB")),
        (["webhooks", "--failed"], {"deliveries": [TRIED]}, r"a1 +job\.failed +example\.org:80 +failed +7 +500 +shop"),
        (["front", "a1"], _status("queued", position=1), r"a1: position 1"),
        (["retry", "a1"], _status("queued"), r"^a1\n$"),
    ):  # fmt: skip
        server.first = [(200, answer, {}), (200, fleet, {})] if words == ["service"] else [(200, answer, {})]
        assert main(["--url", server.url, *words]) == 0
        out, err = capsys.readouterr()
        assert re.search(expected, out), (words, out)
        assert ("shown this once" in err) == ("create" in words)


def test_follow_prints_a_line_for_each_event(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    failed = _status("failed", 3, error={"code": "out_of_memory", "message": "too large"})
    server.first = [_stream(*_steps(1, 1, 2), END), _stream(*_steps(1, 3), ("2-0", "end", failed)), _stream(END)]
    assert main(["--url", server.url, "follow", "a1"]) == 0
    assert capsys.readouterr().out == "running  step 1/9\nrunning  step 2/9\nsucceeded\n"
    assert main(["--url", server.url, "follow", "a1"]) == 1
    out, err = capsys.readouterr()
    assert out.endswith("failed  too large (out_of_memory)\n")
    assert err == "framemill: job a1: too large (out_of_memory)\n"
    assert main(["--url", server.url, "follow"]) == 3  # the small server then has no further stream of all jobs
    assert capsys.readouterr().out == "a1  succeeded\n"


@pytest.mark.parametrize(
    ("key", "answer", "message"),
    [
        ([], _error(401, "unauthorized"), "the server needs an API key: run 'framemill login', or set "),
        (["--api-key", "old"], _error(401, "unauthorized"), "others can read the key in --api-key"),
        (["--api-key", "old"], _error(401, "unauthorized"), "does not accept this API key: it is unknown or was"),
        (["--api-key", "own"], _error(403, "needs an admin's key"), "not allowed with this API key: needs an admin's"),
    ],
)
def test_keys_that_do_not_fit(
    server: FakeServer, capsys: pytest.CaptureFixture[str], key: list[str], answer: Answer, message: str
) -> None:
    server.first = [answer]
    assert main(["--url", server.url, *key, "models"]) == 3
    assert message in capsys.readouterr().err
    assert not key or key[1] not in capsys.readouterr().err


def test_a_stalled_stream_is_opened_anew(
    server: FakeServer, client: framemill.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "SILENCE_S", 0.2)
    server.first = [_stream(*_steps(1, 1), cut=True), _stream(END)]
    monkeypatch.setattr(server, "stall_s", 60.0)
    started = time.monotonic()
    assert [event.event_id for event in client.follow("a1")] == ["1-0", "9-0"]
    assert time.monotonic() - started < 50
