"""Devoid Generator's socket, against a client of its protocol: messages, order, refusals, echoes, links."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from PIL import Image

from tests.support.api import wait_for
from tests.support.devoid_client import MODELS, Client, Refused, request
from tests.support.served_app import ServedApp

SERVICES = "telegram:service_key discord:other:key web:service_key"
SHORT = {"object_id", "service", "message_type", "executor", "gen_type", "gen_status", "avg_time", "service_info"}
LONG = SHORT | {"result", "settings", "payload"}


@pytest.fixture(scope="module")
def devoid(serve: Callable[..., ServedApp]) -> ServedApp:
    """An app with a Devoid Generator's settings."""
    app = serve(
        MODELS, SERVICES=SERVICES, API_KEYS="ops:operators-secret-key:admin", LOGGING_LEVEL="WARN",
        MAX_REQUEST_BYTES=4_000_000,
    )  # fmt: skip
    app.worker("drawn", step_s=0.001)
    return app


@pytest.fixture
def client(devoid: ServedApp) -> Iterator[Client]:
    client = Client(devoid)
    yield client
    client.close()


def native(app: ServedApp, path: str, key: str = "telegram:service_key", method: str = "GET") -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.request(method, app.url(path), headers=headers, timeout=60)


def test_a_request_is_answered_by_queued_generating_and_ok(devoid: ServedApp, client: Client) -> None:
    client.ask(service_info={"user_id": "1", "extra": {"deep": [1, 2.5, None, "ü\ud83d"]}, "chat_id": 5})
    queued, generating, ok = client.until_over()
    assert [message["gen_status"] for message in (queued, generating, ok)] == ["queued", "generating", "ok"]
    assert set(queued) == set(generating) == SHORT
    assert set(ok) == LONG
    for message in (queued, generating, ok):
        assert message["message_type"] == "response"
        assert message["service"] == "telegram"
        assert message["object_id"] == queued["object_id"]
        assert message["service_info"] == {"user_id": "1", "extra": {"deep": [1, 2.5, None, "ü\ud83d"]}, "chat_id": 5}
        assert (message["executor"], message["gen_type"]) == ("automatic1111", "text2img")
        assert message["avg_time"] >= 4
    assert re.fullmatch(r"[0-9a-f]{24}", queued["object_id"])
    assert ok["settings"] == request()["settings"]
    assert ok["payload"] == request()["payload"]
    name = queued["object_id"] + ".jpg"
    assert ok["result"] == {"content_type": "image_url", "content": devoid.url(f"/img/{name}"), "file_name": name}
    picture = requests.get(ok["result"]["content"], timeout=3)
    assert picture.headers["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(picture.content)).size == (32, 32)


def test_the_native_api_shows_its_jobs_and_stops_them(devoid: ServedApp, client: Client) -> None:
    client.ask({"prompt": "long", "steps": 100_000, "width": 32, "height": 32})
    queued, generating = client.next(), client.next()
    job_id = queued["object_id"]
    assert (queued["gen_status"], generating["gen_status"]) == ("queued", "generating")
    assert job_id in [task["id"] for task in native(devoid, "/v1/jobs?limit=100").json()["jobs"]]
    assert native(devoid, f"/v1/jobs/{job_id}", key="discord:other:key").status_code == 404
    assert native(devoid, f"/v1/jobs/{job_id}/cancel", method="POST").json()["cancelled"]
    error = client.next()
    assert set(error) == LONG
    assert (error["gen_status"], error["result"]) == (
        "error",
        {"content_type": "text", "content": "the job was cancelled"},
    )


@pytest.mark.parametrize(
    ("service", "key", "path"),
    [
        ("telegram", "wrong", ""),
        ("telegram", None, ""),
        ("telegram", "other:key", ""),
        ("nosuch", "service_key", ""),
        ("ops", "service_key", ""),
        ("", "service_key", "/ws"),
    ],
)
def test_a_wrong_key_is_refused_before_the_upgrade(devoid: ServedApp, service: str, key: str | None, path: str) -> None:
    with pytest.raises(Refused) as refused:
        Client(devoid, service, key, path)
    assert refused.value.status == 403


@pytest.mark.parametrize("path", ["", "/ws"])
def test_each_service_has_its_own_socket(devoid: ServedApp, path: str) -> None:
    client = Client(devoid, "discord", "other:key", path)
    client.ask()
    assert {message["service"] for message in client.until_over()} == {"discord"}
    client.close()


def mixed(parts: list[str], weights: list[float]) -> dict[str, Any]:
    return request({"images_texts": parts, "weights": weights}, executor="kandinsky", gen_type="mix2img")


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ("no json", "`message` must be JSON"),
        ("[1]", "`message` must be a JSON object"),
        ('{"message_type": "request"}', "`executor` must be one of"),
        ({"message_type": "nonsense"}, "`message_type` must be request or info"),
        (request(executor="dalle"), "`executor` must be one of kandinsky, automatic1111"),
        (request(executor=["kandinsky"]), "`executor` must be one of"),
        (request(gen_type="mix2img"), "`gen_type` is not supported by automatic1111"),
        (request(gen_type="img2img", executor="kandinsky"), "`gen_type` is not supported by kandinsky"),
        (request(service_info=5), "`service_info` must be an object"),
        (request({"prompt": "x", "steps": "many"}), "`steps` must be a whole number"),
        (request({"prompt": "x", "steps": 0}), "`steps` must be between 1 and 100000"),
        (request({"prompt": "x", "cfg_scale": 99}), "`cfg_scale` must be between 0 and 50"),
        (request({"prompt": "x"}, gen_type="img2img"), "`init_images` is required: img2img needs an image"),
        (request({"init_images": ["QUJD"]}, gen_type="img2img"), "`init_images` must be a PNG, JPEG or WebP image"),
        (request({"images_texts": ["a"]}, executor="kandinsky", gen_type="mix2img"), "`images_texts` must be a text"),
        (mixed(["", "", "QUJD", "b"], [1, 1, 1, 1]), "`images_texts[2]` must be a PNG, JPEG or WebP image"),
        (mixed(["", "QUJD", "", "b"], [1, 1, 1, 9]), "`weights[3]` must be between -4 and 4"),
        ("[" * 100_000, "`message` must not be nested deeper than 32 levels"),
        ('{"message_type": "request", "payload": {"a": ' + "[" * 900 + "]" * 900 + "}}", "must not be nested"),
    ],
)
def test_a_bad_message_is_answered_and_the_socket_stays(client: Client, sent: Any, why: str) -> None:
    client.send(sent)
    error = client.next()
    assert set(error) == LONG
    assert error["gen_status"] == "error"
    assert error["result"]["content_type"] == "text"
    assert why in error["result"]["content"]
    assert re.fullmatch(r"[0-9a-f]{24}", error["object_id"])
    if isinstance(sent, dict) and isinstance(sent.get("service_info"), dict):
        assert error["service_info"] == sent["service_info"]
    client.ask()
    assert [message["gen_status"] for message in client.until_over()] == ["queued", "generating", "ok"]


def test_binary_frames_are_read_too(client: Client) -> None:
    client.ws.send_binary(b"\xff\x00")
    assert "must be JSON" in client.next()["result"]["content"]


def test_a_frame_that_is_too_large_closes_the_socket(client: Client) -> None:
    client.send(request({"prompt": "x" * 5_000_000}))
    assert client.messages.get(timeout=60) is None


def test_large_images_come_back_empty(client: Client) -> None:
    noise = Image.effect_noise((512, 512), 90).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    image = base64.b64encode(buffer.getvalue()).decode()
    assert len(image) > 300_000
    payload = {"images_texts": ["a cat", image, image, "a dog"], "weights": [0.3, 0.3, 0.2, 0.2], "steps": 2,
               "width": 32, "height": 32, "prior_steps": "5", "prompt": ""}  # fmt: skip
    client.ask(payload, executor="kandinsky", gen_type="mix2img")
    *_, ok = client.until_over()
    assert ok["gen_status"] == "ok"
    assert ok["payload"] == {**payload, "images_texts": ["a cat", "", "", "a dog"]}


def test_what_the_official_client_always_sends_is_taken(client: Client) -> None:
    payload = {
        "prompt": "a lighthouse", "init_images": None, "steps": 3, "cfg_scale": 7, "sampler_index": "Euler a",
        "width": 512, "height": 512, "seed": 4294967295, "hr_scale": 1, "hr_upscaler": "Latent",
        "hr_second_pass_steps": 0, "hr_resize_x": 768, "hr_resize_y": 1024, "denoising_strength": 0.7,
        "negative_prompt": "child, childish",
    }  # fmt: skip
    client.ask(payload)
    *_, ok = client.until_over()
    assert (ok["gen_status"], ok["payload"]) == ("ok", payload)
    client.ask(
        {"prompt": "a lighthouse", "images_texts": [], "weights": [], "steps": 3, "guidance_scale": 4, "height": 64,
         "width": 64, "sampler": "p_sampler", "prior_cf_scale": 4, "prior_steps": "5", "negative_prior_prompt": "",
         "negative_decoder_prompt": ""},
        executor="kandinsky",
    )  # fmt: skip
    assert client.until_over()[-1]["gen_status"] == "ok"


def test_sockets_of_one_service_get_their_own_jobs_messages(devoid: ServedApp, client: Client) -> None:
    other = Client(devoid)
    for number in range(4):
        (client, other)[number % 2].ask(service_info={"user_id": number})
    assert {m["service_info"]["user_id"] for m in client.until_over(2)} == {0, 2}
    assert {m["service_info"]["user_id"] for m in other.until_over(2)} == {1, 3}
    other.close()


def test_a_service_that_was_away_gets_what_it_missed_in_order(devoid: ServedApp) -> None:
    first = Client(devoid, "web")
    for number in range(3):
        first.ask(service_info={"user_id": number})
    ids = [first.next()["object_id"]]
    first.close()
    found = wait_for(lambda: _all_over(devoid, 3), "its jobs to be over")
    second = Client(devoid, "web")
    messages = [*first.seen, *_rest(first), *second.until_over(len(found) - _ends(first))]
    assert second.is_silent()
    second.close()
    for job_id in {message["object_id"] for message in messages} | set(ids):
        told = [message["gen_status"] for message in messages if message["object_id"] == job_id]
        assert told == ["queued", "generating", "ok"]


def _all_over(app: ServedApp, number: int) -> list[Any]:
    tasks = native(app, "/v1/jobs?limit=10", "web:service_key").json()["jobs"]
    done = [task for task in tasks if task["state"] == "succeeded"]
    return done if len(tasks) >= number == len(done) else []


def _rest(client: Client) -> list[dict[str, Any]]:
    found = []
    while (message := client.messages.get(timeout=10)) is not None:
        found.append(message)
    client.seen += found
    return found


def _ends(client: Client) -> int:
    return sum(message["gen_status"] in ("ok", "error") for message in client.seen)


def test_info_tells_of_queue_and_slots(client: Client) -> None:
    client.send({"message_type": "info"})
    info = client.next()
    assert info["message_type"] == "info"
    assert set(info["queue"]) == {"waiting", "running", "premium", "general"}
    assert [slot["name"] for slot in info["slots"]] == ["gpu0"]
    client.send({"message_type": "response"})
    assert client.is_silent(0.2)


def test_the_two_open_routes(devoid: ServedApp) -> None:
    for name in ("5f0000000000000000000000.jpg", "x.png", "..%2Fmodels.toml", "a.jpg"):
        missing = devoid.get(f"/img/{name}")
        assert missing.status_code == 404
    assert devoid.get("/img/a.jpg").json() == {"content": "Image not found"}


def test_the_front_page_is_that_of_whoever_asks(devoid: ServedApp) -> None:
    line = '{"RestAPI":"Devoid Image Generator","website":"https://web.devoid.pics/"}'
    assert devoid.get("/", headers={"service": "telegram", "authorization": "service_key"}).text == line
    for headers in ({}, {"Accept": "application/json"}, {"Accept": "image/png"}):
        server = devoid.get("/", headers=headers)
        assert server.json()["name"] == "Framemill"
        assert devoid.get(server.json()["openapi"]).status_code == 200
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    page = devoid.get("/", headers={"Accept": browser})
    assert (page.status_code, page.headers["Vary"]) == (200, "Accept, service")
    assert page.headers["Content-Type"].startswith("text/html")


def test_an_empty_prompt_is_a_prompt(client: Client) -> None:
    for executor in ("kandinsky", "automatic1111"):
        client.ask({"prompt": "", "steps": 2, "width": 32, "height": 32}, executor=executor)
        assert client.until_over()[-1]["gen_status"] == "ok"
    client.ask({"steps": 2}, executor="kandinsky")
    assert client.until_over()[-1]["result"]["content"] == "`prompt` is required for text2img; it may be empty"


def test_a_revoked_key_ends_the_socket(devoid: ServedApp) -> None:
    client = Client(devoid, "discord", "other:key")
    assert native(devoid, "/v1/admin/keys/discord", "operators-secret-key", "DELETE").status_code == 200
    client.ask()
    assert client.messages.get(timeout=60) is None
    with pytest.raises(Refused):
        Client(devoid, "discord", "other:key")


def test_a_plain_request_to_the_socket_is_refused(devoid: ServedApp) -> None:
    assert devoid.get("/ws/telegram").status_code in (400, 403)
    with pytest.raises(Refused):
        Client(devoid, path="/v1/models")


def test_a_job_that_is_paused_and_resumed_is_announced_once(devoid: ServedApp, client: Client) -> None:
    owner = {"headers": {"Authorization": "Bearer telegram:service_key"}}
    client.ask({"prompt": "paused", "steps": 2000, "width": 32, "height": 32})
    queued, generating = client.next(), client.next()
    assert (queued["gen_status"], generating["gen_status"]) == ("queued", "generating")
    devoid.pause(queued["object_id"], **owner)
    assert client.is_silent()
    devoid.resume(queued["object_id"], **owner)
    assert client.next()["gen_status"] == "ok"
