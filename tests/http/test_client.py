"""The client over real HTTP, against a small server that follows the contract."""

from __future__ import annotations

import asyncio
import base64
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import framemill
from framemill.cli import main
from framemill.errors import ApiError, JobCancelled, JobFailed, ServerUnavailable, WaitTimeout
from framemill.records import Job
from framemill.transport import polling, wire
from tests.support.fake_server import PNG, STATES, FakeServer, refusal, serving


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


def test_submit_sends_what_was_given_and_nothing_else(server: FakeServer, client: framemill.Client) -> None:
    job = client.submit(model="demo-image", prompt="a red circle", steps=20, seed=None)
    assert server.calls == [("POST", "/v1/jobs", {"model": "demo-image", "prompt": "a red circle", "steps": 20})]
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert (job.id, job.position, job.request["seed"]) == ("a1", 2, 7)
    assert job.warnings == ("width 63 was rounded to 64",)


def test_images_are_files_bytes_or_text(server: FakeServer, client: framemill.Client, tmp_path: Path) -> None:
    file = tmp_path / "in.png"
    file.write_bytes(PNG)
    client.submit(image=file)
    client.submit(image=PNG)
    client.submit(image="https://pictures.example/a.png")
    encoded = base64.b64encode(PNG).decode()
    assert [body["image"] for _, _, body in server.calls] == [encoded, encoded, "https://pictures.example/a.png"]


def test_all_pictures_of_a_request_are_sent(server: FakeServer, client: framemill.Client, tmp_path: Path) -> None:
    file = tmp_path / "in.png"
    file.write_bytes(PNG)
    mix = [{"text": "a cat", "weight": 0.3}, {"image": file}, {"image": "https://pictures.example/a.png"}]
    client.submit(image=file, mask=PNG, mix=mix, loras=[{"name": "grain"}], scheduler="DDIM", num_images=2)
    encoded = base64.b64encode(PNG).decode()
    [(_, _, body)] = server.calls
    assert body == {
        "image": encoded, "mask": encoded, "loras": [{"name": "grain"}], "scheduler": "DDIM", "num_images": 2,
        "mix": [{"text": "a cat", "weight": 0.3}, {"image": encoded}, {"image": "https://pictures.example/a.png"}],
    }  # fmt: skip


def test_the_command_sends_loras_and_mixes(server: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "a=b.png"
    file.write_bytes(PNG)
    flags = ["--lora", "grain=0.5", "--lora", "glow", "--mix-text", "1 + 1 = two", "--mix-text", "a cat=0.3",
             "--mix-image", str(file), "--mix-image", f"{file}=0.2", "--mask", str(file), "--num-images", "2",
             "--scheduler", "Euler a"]  # fmt: skip
    assert main(["--url", server.url, "submit", *flags]) == 0
    encoded = base64.b64encode(PNG).decode()
    [(_, _, body)] = server.calls
    assert body == {
        "loras": [{"name": "grain", "weight": 0.5}, {"name": "glow"}],
        "mix": [{"text": "1 + 1 = two"}, {"text": "a cat", "weight": 0.3}, {"image": encoded},
                {"image": encoded, "weight": 0.2}],
        "mask": encoded, "num_images": 2, "scheduler": "Euler a",
    }  # fmt: skip


def test_the_command_says_how_a_mask_is_used(server: FakeServer) -> None:
    flags = ["--resize", "pad", "--inpaint-area", "masked", "--inpaint-padding", "32", "--inpaint-blur", "4",
             "--inpaint-fill", "noise"]  # fmt: skip
    assert main(["--url", server.url, "submit", *flags]) == 0
    [(_, _, body)] = server.calls
    assert body == {
        "resize": "pad", "inpaint": {"area": "masked", "padding_px": 32, "blur_px": 4, "fill": "noise"},
    }  # fmt: skip


def test_wait_reports_every_state(client: framemill.Client) -> None:
    seen: list[Job] = []
    status = client.wait("a1", on_update=seen.append)
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
    assert 0.2 <= time.monotonic() - started < 30
    assert caught.value.job is not None
    assert caught.value.job.state == "running"
    assert isinstance(caught.value, TimeoutError)


def test_wait_outlasts_a_restart_but_not_an_error(server: FakeServer, client: framemill.Client) -> None:
    server.first = [refusal(503, "unavailable", {"Retry-After": "0"}), None, refusal(429, "rate", {"Retry-After": "0"})]
    assert client.wait("a1").state == "succeeded"
    server.first = [refusal(404, "job_not_found")]
    with pytest.raises(ApiError) as caught:
        client.wait("a1")
    assert caught.value.code == "job_not_found"


def test_results_as_bytes_and_as_file(client: framemill.Client, server: FakeServer, tmp_path: Path) -> None:
    assert client.result("a1") == PNG
    path = client.result("a1", tmp_path / "out.png", index=3)
    assert path.read_bytes() == PNG
    assert list(tmp_path.iterdir()) == [path]
    assert server.calls[-1] == ("GET", "/v1/jobs/a1/result", {"index": ["3"]})


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
        server.first = [(307, b"", {"Location": f"{storage.url}/v1/jobs/a1/result".replace("127.0.0.1", "localhost")})]
        assert client.result("a1") == PNG
        assert "Authorization" not in storage.headers[0]


def test_the_other_calls(server: FakeServer, client: framemill.Client) -> None:
    page = client.list(state="running", limit=1)
    assert ([job.id for job in page.jobs], page.total, page.next) == (["a1"], 2, "a1")
    assert server.calls[-1][2] == {"state": ["running"], "limit": ["1"]}
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    client.list(["queued", "running"], model="m", text="red circle", since=noon, until="2026-02-01", key="shop")
    assert server.calls[-1][2] == {
        "state": ["queued,running"], "model": ["m"], "text": ["red circle"], "since": [noon.isoformat()],
        "until": ["2026-02-01"], "key": ["shop"],
    }  # fmt: skip
    assert client.cancel("a1").cancelled
    assert client.cancel_all() == ("a1",)
    assert server.calls[-1] == ("POST", "/v1/jobs/cancel", {"waiting": False})
    assert client.models()[0]["name"] == "demo-image"
    assert client.cancel_all(waiting=True) == ("a1",)
    assert server.calls[-1] == ("POST", "/v1/jobs/cancel", {"waiting": True})
    assert client.fleet()["delivery"] == ["here"]
    assert client.queue()["counts"] == {"queued": 2}


@pytest.mark.parametrize("job_id", ["", ".", ".."])
def test_ids_that_mean_other_routes_are_refused(server: FakeServer, client: framemill.Client, job_id: str) -> None:
    with pytest.raises(ValueError, match="not a job id"):
        client.cancel(job_id)
    assert server.calls == []


def test_ids_are_quoted(server: FakeServer, client: framemill.Client) -> None:
    with pytest.raises(ApiError):
        client.get("a/b?c")
    assert server.calls[0][1] == "/v1/jobs/a%2Fb%3Fc"


def test_an_error_carries_everything(client: framemill.Client, server: FakeServer) -> None:
    with pytest.raises(ApiError) as caught:
        client.submit(steps=1000)
    error = caught.value
    assert (error.code, error.status, error.fields[0]["field"]) == ("invalid_request", 422, "steps")
    server.first = [refusal(429, "queue_full", {"Retry-After": "10"})]
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
            client.get("a1")


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
            job = await client.submit(prompt="x", image=PNG)
            server.first = [None, refusal(503, "unavailable", {"Retry-After": "0"})]
            seen: list[Job] = []
            assert (await client.wait(job.id, on_update=seen.append)).state == "succeeded"
            assert [s.state for s in seen] == list(STATES)
            assert await client.result("a1") == PNG
            assert (await client.result("a1", tmp_path / "out.png")).read_bytes() == PNG
            assert (await client.list(limit=1)).total == 2
            assert (await client.get("a1")).finished
            assert (await client.models())[0]["name"] == "demo-image"
            assert (await client.fleet())["delivery"] == ["here"]
            assert (await client.queue())["counts"] == {"queued": 2}
            assert (await client.cancel("a1")).cancelled
            assert await client.cancel_all() == ("a1",)
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
    running = [Job(id="a1", state="running", step=step, steps=9) for step in (1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6)]
    sleeps = [poll.received(status) for status in running]
    assert sleeps[0] == polling.MIN_INTERVAL_S
    assert sleeps[5] == polling.MAX_INTERVAL_S
    assert sleeps[-1] == polling.MIN_INTERVAL_S
    error = ServerUnavailable("no_answer", "gone")
    for _ in range(2):  # a response in between restarts the count
        now += polling.MAX_SILENCE_S + 1
        assert poll.failed(error) == polling.MAX_INTERVAL_S
        poll.received(running[-1])
    poll.failed(error)
    now += polling.MAX_SILENCE_S + 1
    with pytest.raises(ServerUnavailable):
        poll.failed(error)
