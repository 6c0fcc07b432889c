"""The client and the command, over real HTTP, against a small server that follows the contract."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import framemill
from framemill import polling, wire
from framemill.cli import main
from framemill.errors import ApiError, JobCancelled, JobFailed, ServerUnavailable, WaitTimeout
from framemill.progress import ProgressBar, duration
from framemill.records import Status

PNG = b"\x89PNG pretended " + bytes(range(256)) * 1000
STATES = ("queued", "running", "delivering", "succeeded")


class FakeServer(ThreadingHTTPServer):
    """One job that moves on with every question for its status, unless ``hold`` keeps it running."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.calls: list[tuple[str, str, Any]] = []
        self.queries: list[dict[str, list[str]]] = []
        self.headers: list[dict[str, str]] = []
        #: Answers given before the ordinary ones: (status, body, headers), or None to cut the connection.
        self.first: list[tuple[int, Any, dict[str, str]] | None] = []
        self.steps = 0
        self.hold = False
        self.end: str | None = None
        #: The answer to a request for a job's events.
        self.events: tuple[int, Any, dict[str, str]] = (404, {"detail": "no such route"}, {})
        #: A connection that is to be cut is first silent for so many seconds.
        self.stall_s = 0.0

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # connections cut on purpose

    def status(self) -> dict[str, Any]:
        state = self.end or ("running" if self.hold else STATES[min(self.steps, 3)])
        self.steps += 1
        done = state == "succeeded"
        error = {"code": "out_of_memory", "message": "too large"} if state == "failed" else None
        return {
            "task_id": "a1", "state": state, "status": "processing", "step": 10 if state != "queued" else None,
            "steps": 20 if state != "queued" else None, "percent": 50, "eta_s": 3.2, "stage": None, "error": error,
            "position": 2 if state == "queued" else None, "warnings": [], "created_at": "2026-01-01T00:00:00Z",
            "outputs": [{"index": 0, "url": "/v1/tasks/a1/result?index=0", "media_type": "image/png"}] if done else [],
        }  # fmt: skip

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        if (method, path) == ("POST", "/v1/tasks/"):
            if body.get("steps", 1) > 100:
                problem = {"field": "steps", "rule": "must be 1 to 100", "value": body["steps"]}
                error = {"code": "invalid_request", "message": "steps: must be 1 to 100", "fields": [problem]}
                return 422, {"detail": error["message"], "error": error}, {}
            return 200, {
                "task_id": "a1", "status": "pending", "state": "queued", "position": 2, "eta_s": 3.2, "links": {},
                "warnings": ["width 63 was rounded to 64"], "request": {"seed": 7},
            }, {}  # fmt: skip
        if (method, path) == ("GET", "/v1/tasks/a1"):
            return 200, self.status(), {}
        if path == "/v1/tasks/a1/events":
            return self.events
        if path == "/v1/tasks/a1/result":
            return 200, PNG, {"Content-Type": "image/png"}
        if (method, path) == ("GET", "/v1/tasks/"):
            return 200, {"tasks": [self.status()], "total": 2, "next": "a1"}, {}
        if (method, path) == ("DELETE", "/v1/tasks/a1"):
            self.end = "cancelled"
            stopped = {"task_id": "a1", "state": "cancelled", "changed": True, "stop_status": "success", "reason": ""}
            return 200, stopped, {}
        if (method, path) == ("DELETE", "/v1/tasks/running"):
            return 200, {"stop_status": "success", "reason": "", "cancelled": ["a1"]}, {}
        if path == "/v1/models":
            return 200, {"models": [{"name": "demo-image", "kinds": ["text2img"], "description": "Shapes."}]}, {}
        if path == "/v1/service/status":
            return 200, {"service_status": "idle"}, {}
        return 404, {"detail": "no such job", "error": {"code": "job_not_found", "message": "no such job"}}, {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        parts = urlsplit(self.path)
        self.server.calls.append((self.command, parts.path, body if body is not None else parse_qs(parts.query)))
        self.server.queries.append(parse_qs(parts.query))
        self.server.headers.append(dict(self.headers))
        planned = self.server.first.pop(0) if self.server.first else self.server.answer(self.command, parts.path, body)
        if planned is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, answer, headers = planned
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        if int(headers.get("Content-Length", 0)) > len(content):
            threading.Event().wait(self.server.stall_s)

    do_POST = do_DELETE = do_GET

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        thread = threading.Thread(target=lambda: fake.serve_forever(0.01))
        thread.start()
        yield fake
        fake.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as fake:
        yield fake


@pytest.fixture
def client(server: FakeServer) -> Iterator[framemill.Client]:
    with framemill.Client(server.url, api_key="secret") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "RETRY_WAITS_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(polling, "MIN_INTERVAL_S", 0.01)
    monkeypatch.setattr(polling, "MAX_INTERVAL_S", 0.05)


def _error(status: int, code: str, headers: dict[str, str] | None = None) -> tuple[int, Any, dict[str, str]]:
    return status, {"detail": code, "error": {"code": code, "message": code}}, headers or {}


# --- client


def test_submit_sends_what_was_given_and_nothing_else(server: FakeServer, client: framemill.Client) -> None:
    task = client.submit(model="demo-image", prompt="a red circle", steps=20, seed=None)
    assert server.calls == [("POST", "/v1/tasks/", {"model": "demo-image", "prompt": "a red circle", "steps": 20})]
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert (task.task_id, task.position, task.request["seed"]) == ("a1", 2, 7)
    assert task.warnings == ("width 63 was rounded to 64",)


def test_images_are_files_bytes_or_text(server: FakeServer, client: framemill.Client, tmp_path: Path) -> None:
    file = tmp_path / "in.png"
    file.write_bytes(PNG)
    client.submit(image=file)
    client.submit(image=PNG)
    client.submit(image="https://pictures.example/a.png")
    encoded = base64.b64encode(PNG).decode()
    assert [body["image"] for _, _, body in server.calls] == [encoded, encoded, "https://pictures.example/a.png"]


def test_wait_reports_every_state(client: framemill.Client) -> None:
    seen: list[Status] = []
    status = client.wait("a1", on_status=seen.append)
    assert [s.state for s in seen] == list(STATES)
    assert seen[-1] is status
    assert (seen[0].position, seen[1].step, seen[1].steps, seen[1].eta_s) == (2, 10, 20, 3.2)
    assert status.outputs[0].media_type == "image/png"


def test_wait_tells_the_ends_apart(server: FakeServer, client: framemill.Client) -> None:
    server.end = "failed"
    with pytest.raises(JobFailed, match=r"a1: too large \(out_of_memory\)"):
        client.wait("a1")
    server.end = "expired"
    with pytest.raises(JobFailed) as expired:
        client.wait("a1")
    assert expired.value.code == "expired"
    server.end = "cancelled"
    with pytest.raises(JobCancelled):
        client.wait("a1")


def test_wait_ends_when_its_time_is_up(server: FakeServer, client: framemill.Client) -> None:
    server.hold = True
    started = time.monotonic()
    with pytest.raises(WaitTimeout) as caught:
        client.wait("a1", timeout_s=0.2)
    assert 0.2 <= time.monotonic() - started < 2
    assert caught.value.status is not None
    assert caught.value.status.state == "running"
    assert isinstance(caught.value, TimeoutError)


def test_wait_outlasts_a_restart_but_not_an_error(server: FakeServer, client: framemill.Client) -> None:
    server.first = [_error(503, "unavailable", {"Retry-After": "0"}), None, _error(429, "rate", {"Retry-After": "0"})]
    assert client.wait("a1").state == "succeeded"
    server.first = [_error(404, "job_not_found")]
    with pytest.raises(ApiError) as caught:
        client.wait("a1")
    assert caught.value.code == "job_not_found"


def test_results_as_bytes_and_as_file(client: framemill.Client, server: FakeServer, tmp_path: Path) -> None:
    assert client.result("a1") == PNG
    path = client.result("a1", tmp_path / "out.png", index=3)
    assert path.read_bytes() == PNG
    assert list(tmp_path.iterdir()) == [path]
    assert server.calls[-1] == ("GET", "/v1/tasks/a1/result", {"index": ["3"]})


def test_a_download_cut_off_starts_again(server: FakeServer, client: framemill.Client, tmp_path: Path) -> None:
    short = (200, PNG[:1000], {"Content-Length": str(len(PNG)), "Connection": "close"})
    server.first = [short, short]
    assert client.result("a1", tmp_path / "out.png").read_bytes() == PNG
    server.first = [short] * 4
    with pytest.raises(ServerUnavailable):
        client.result("a1", tmp_path / "other.png")
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_a_result_may_be_elsewhere_and_the_key_stays_here(server: FakeServer, client: framemill.Client) -> None:
    with serving() as storage:
        server.first = [(307, b"", {"Location": f"{storage.url}/v1/tasks/a1/result".replace("127.0.0.1", "localhost")})]
        assert client.result("a1") == PNG
        assert "Authorization" not in storage.headers[0]


def test_the_other_calls(server: FakeServer, client: framemill.Client) -> None:
    page = client.list(state="running", limit=1)
    assert ([job.task_id for job in page.tasks], page.total, page.next) == (["a1"], 2, "a1")
    assert server.calls[-1][2] == {"state": ["running"], "limit": ["1"]}
    assert client.cancel("a1").changed
    assert client.cancel_running().cancelled == ("a1",)
    assert client.models()[0]["name"] == "demo-image"
    assert client.service_status() == {"service_status": "idle"}


@pytest.mark.parametrize("task_id", ["", "running", ".", ".."])
def test_ids_that_mean_other_jobs_are_refused(server: FakeServer, client: framemill.Client, task_id: str) -> None:
    with pytest.raises(ValueError, match="no job id"):
        client.cancel(task_id)
    assert server.calls == []


def test_ids_are_quoted(server: FakeServer, client: framemill.Client) -> None:
    with pytest.raises(ApiError):
        client.status("a/b?c")
    assert server.calls[0][1] == "/v1/tasks/a%2Fb%3Fc"


def test_an_error_carries_everything(client: framemill.Client, server: FakeServer) -> None:
    with pytest.raises(ApiError) as caught:
        client.submit(steps=1000)
    error = caught.value
    assert (error.code, error.status, error.fields[0]["field"]) == ("invalid_request", 422, "steps")
    server.first = [_error(429, "queue_full", {"Retry-After": "10"})]
    with pytest.raises(ApiError) as caught:
        client.submit(prompt="x")
    assert (caught.value.code, caught.value.retry_after_s) == ("queue_full", 10.0)
    server.first = [(503, b"<html>busy</html>", {})]
    with pytest.raises(ServerUnavailable) as busy:
        client.models()
    assert (busy.value.code, busy.value.status) == ("http_503", 503)


def test_another_service_is_noticed(server: FakeServer, client: framemill.Client) -> None:
    bodies: list[Any] = [b"<html></html>", {"hello": 1}, []]
    for body in bodies:
        server.first = [(200, body, {})]
        with pytest.raises(ApiError, match="did not answer like a Framemill server"):
            client.status("a1")


def test_reads_are_tried_again(server: FakeServer, client: framemill.Client) -> None:
    server.first = [None, None]
    assert client.models()
    assert len(server.calls) == 3


@pytest.mark.parametrize("call", [lambda c: c.submit(prompt="x"), lambda c: c.cancel("a1")])
def test_what_may_have_arrived_is_not_sent_again(
    server: FakeServer, client: framemill.Client, call: Callable[[framemill.Client], object]
) -> None:
    server.first = [None]
    with pytest.raises(ServerUnavailable, match="may have arrived") as caught:
        call(client)
    assert caught.value.maybe_received
    assert len(server.calls) == 1


def test_what_cannot_have_arrived_is_sent_again(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with framemill.Client(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(ServerUnavailable) as caught:
            client.submit(prompt="x")
        assert not caught.value.maybe_received
        assert caught.value.status is None


def test_no_proxy_is_used_on_loopback(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with framemill.Client(server.url) as client:
        assert client.models()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", ""])
def test_addresses_are_checked_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        framemill.Client(url)


def test_a_path_prefix_is_kept(server: FakeServer) -> None:
    with framemill.Client(f"{server.url}/mill/") as client, pytest.raises(ApiError):
        client.models()
    assert server.calls[0][1] == "/mill/v1/models"


def test_async_client_does_the_same(server: FakeServer, tmp_path: Path) -> None:
    async def use() -> None:
        async with framemill.AsyncClient(server.url, api_key="secret") as client:
            task = await client.submit(prompt="x", image=PNG)
            server.first = [None, _error(503, "unavailable", {"Retry-After": "0"})]
            seen: list[Status] = []
            assert (await client.wait(task.task_id, on_status=seen.append)).state == "succeeded"
            assert [s.state for s in seen] == list(STATES)
            assert await client.result("a1") == PNG
            assert (await client.result("a1", tmp_path / "out.png")).read_bytes() == PNG
            assert (await client.list(limit=1)).total == 2
            assert (await client.status("a1")).ended
            assert (await client.models())[0]["name"] == "demo-image"
            assert await client.service_status() == {"service_status": "idle"}
            assert (await client.cancel("a1")).changed
            assert (await client.cancel_running()).cancelled == ("a1",)
            server.first = [None]
            with pytest.raises(ServerUnavailable, match="may have arrived"):
                await client.submit(prompt="x")

    asyncio.run(use())


def test_both_clients_offer_the_same() -> None:
    sync, other = (
        {name for name in dir(kind) if not name.startswith("_")} for kind in (framemill.Client, framemill.AsyncClient)
    )
    assert sync == other


def test_polling_slows_down_while_nothing_moves() -> None:
    now = 0.0
    poll = polling.Poll("a1", None, clock=lambda: now)
    running = [Status(task_id="a1", state="running", step=step, steps=9) for step in (1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6)]
    sleeps = [poll.answered(status) for status in running]
    assert sleeps[0] == polling.MIN_INTERVAL_S
    assert sleeps[5] == polling.MAX_INTERVAL_S
    assert sleeps[-1] == polling.MIN_INTERVAL_S
    error = ServerUnavailable("no_answer", "gone")
    for _ in range(2):  # an answer in between starts the count anew
        now += polling.MAX_SILENCE_S + 1
        assert poll.refused(error) == polling.MAX_INTERVAL_S
        poll.answered(running[-1])
    poll.refused(error)
    now += polling.MAX_SILENCE_S + 1
    with pytest.raises(ServerUnavailable):
        poll.refused(error)


# --- progress


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_one_line_in_place() -> None:
    terminal = Terminal()
    with ProgressBar("text2img", terminal) as bar:
        bar.update(Status(task_id="a", state="queued", position=2, eta_s=61))
        bar.update(Status(task_id="a", state="running", step=10, steps=20, eta_s=3.2))
        bar.update(Status(task_id="a", state="succeeded"))
    lines = terminal.getvalue().split("\r\x1b[K")
    assert lines[1] == "text2img  waiting, position 2, 1 min 01 s left"
    assert lines[2] == f"text2img  {'█' * 12}{'░' * 12} step 10/20, 3 s left"
    assert lines[3].endswith("done\n")


def test_elsewhere_few_plain_lines_are_written() -> None:
    now, log = 0.0, io.StringIO()
    with ProgressBar("", log, clock=lambda: now) as bar:
        for step in range(1, 51):
            bar.update(Status(task_id="a", state="running", step=step, steps=50))
            now += 0.1
        bar.update(Status(task_id="a", state="succeeded"))
    lines = log.getvalue().splitlines()
    assert [line.split()[-1] for line in lines] == ["1/50", "21/50", "41/50", "done"]
    assert log.getvalue().isascii()


def test_durations_for_people() -> None:
    assert [duration(s) for s in (-1, 3.4, 60, 3725)] == ["0 s", "3 s", "1 min 00 s", "1 h 02 min"]


# --- command


def test_submit_prints_the_id(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", server.url, "submit", "--prompt", "a red circle", "--guidance-scale", "4"]) == 0
    out, err = capsys.readouterr()
    assert out == "a1\n"
    assert "width 63 was rounded to 64" in err
    assert server.calls[0][2] == {"prompt": "a red circle", "guidance_scale": 4.0}


def test_submit_waits_and_stores(server: FakeServer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    image = tmp_path / "in.png"
    image.write_bytes(PNG)
    target = tmp_path / "out.png"
    assert main(["--url", server.url, "submit", "--image", str(image), "-o", str(target)]) == 0
    out, err = capsys.readouterr()
    assert target.read_bytes() == PNG
    assert out == ""
    for part in ("job a1, seed 7", "waiting, position 2", "step 10/20, 3 s left", "done", f"saved {target}"):
        assert part in err


def test_submit_wait_prints_the_link(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", server.url, "submit", "--wait"]) == 0
    assert capsys.readouterr().out == f"{server.url}/v1/tasks/a1/result?index=0\n"


def test_exit_codes(server: FakeServer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    base = ["--url", server.url]
    server.end = "failed"
    assert main([*base, "submit", "--wait"]) == 1
    server.end = "cancelled"
    assert main([*base, "submit", "--wait"]) == 5
    assert main([*base, "submit", "--image", str(tmp_path / "missing.png")]) == 1
    assert main([*base, "submit", "--steps", "1000"]) == 3
    assert "  steps: must be 1 to 100" in capsys.readouterr().err
    assert main([*base, "status", "unknown"]) == 3
    server.first = [_error(503, "unavailable", {"Retry-After": "5"})]
    assert main([*base, "models"]) == 4
    assert "try again in 5 s" in capsys.readouterr().err
    assert main(["--url", "nonsense", "models"]) == 2
    with pytest.raises(SystemExit) as usage:
        main(["submit", "--kind", "poem"])
    assert usage.value.code == 2


def test_tables_and_json(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["--url", server.url]
    for words, expected in (
        (["list", "--limit", "1"], r"id  state .*\na1  queued  50 %"),
        (["models"], r"demo-image  text2img  Shapes\."),
        (["service"], r"service +idle"),
        (["status", "a1"], r"state     running\nstep      10/20"),
        (["cancel", "a1"], r"a1 was cancelled"),
    ):
        assert main([*base, *words]) == 0
        assert re.search(expected, capsys.readouterr().out), words
    for words, name, value in ((["list"], "total", 2), (["service"], "service_status", "idle")):
        assert main([*base, "--json", *words]) == 0
        assert json.loads(capsys.readouterr().out)[name] == value


def test_result_names_the_file_after_the_job(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    server.end = "succeeded"
    assert main(["--url", server.url, "result", "a1"]) == 0
    assert (tmp_path / "a1.png").read_bytes() == PNG
    capsysbinary.readouterr()
    assert main(["--url", server.url, "result", "a1", "-o", "-"]) == 0
    assert capsysbinary.readouterr().out == PNG


def test_ctrl_c_while_waiting_cancels_the_job(server: FakeServer) -> None:
    server.hold = True
    # A shell that starts programs in the background has them ignore SIGINT.
    code = "import signal; signal.signal(2, signal.default_int_handler); from framemill.cli import main; exit(main())"
    command = [sys.executable, "-c", code, "--url", server.url, "submit", "--wait"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        deadline = time.monotonic() + 20
        while not any(path == "/v1/tasks/a1" for _, path, _ in server.calls):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert server.calls[-1][:2] == ("DELETE", "/v1/tasks/a1")
    assert "job a1 was cancelled on the server" in err


def test_runs_as_a_module(server: FakeServer) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "framemill", "--help"], capture_output=True, text=True, timeout=30, check=True
    )
    assert "exit codes:" in done.stdout
