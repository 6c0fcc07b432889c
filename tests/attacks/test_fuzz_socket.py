"""Odd messages on Devoid Generator's socket: the server answers in the protocol's words, and the socket stays open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.devoid_client import Client, request
from tests.support.fuzzed_app import Errors, FuzzedApp, fuzzed_app
from tests.support.odd_values import TEXTS, VALUES, bodies, profile

PAYLOAD = [
    "prompt", "negative_prompt", "steps", "width", "height", "seed", "cfg_scale", "sampler_name", "init_images", "mask",
    "batch_size", "n_iter", "enable_hr", "hr_scale", "override_settings", "num_steps", "guidance_scale", "w", "h",
    "images_texts", "weights", "prior_steps", "sampler",
]  # fmt: skip
FIELDS = ["message_type", "executor", "gen_type", "settings", "service_info", "payload"]
MESSAGES = st.one_of(
    bodies(request(), FIELDS),
    st.builds(
        lambda payload, executor, gen_type: request(payload, executor=executor, gen_type=gen_type),
        bodies({"prompt": "a red circle", "steps": 1, "width": 16, "height": 16}, PAYLOAD),
        st.sampled_from(["automatic1111", "kandinsky"]),
        st.sampled_from(["text2img", "img2img", "mix2img"]),
    ),
    VALUES,
).map(json.dumps)


@pytest.fixture(scope="module")
def socket() -> Iterator[tuple[FuzzedApp, Errors, Client]]:
    with fuzzed_app(with_keys=True) as (app, errors):
        client = Client(app, "ops", app.admin)
        yield app, errors, client
        client.close()


def until_info(client: Client) -> list[dict[str, Any]]:
    """Ask for information, and return the messages that came before it."""
    client.send({"message_type": "info"})
    messages = []
    while (message := client.next())["message_type"] != "info":
        messages.append(message)
    return messages


@profile(120)
@given(text=st.one_of(MESSAGES, TEXTS.filter(lambda text: text.isprintable())))
def test_odd_messages(socket: tuple[FuzzedApp, Errors, Client], text: str) -> None:
    _, errors, client = socket
    client.send(text)
    for message in until_info(client):
        assert message["message_type"] == "response"
        assert message["gen_status"] in ("queued", "generating", "ok", "error")
        if message["gen_status"] == "error":
            assert message["result"]["content_type"] == "text"
            assert "server's log" not in message["result"]["content"]
    assert errors.take() == []


def test_a_valid_message_still_works(socket: tuple[FuzzedApp, Errors, Client]) -> None:
    _, _, client = socket
    client.ask(settings={"premium": 1}, service_info={"mine": True})
    while (message := client.next()).get("service_info") != {"mine": True} or "result" not in message:
        pass
    assert message["gen_status"] == "ok", message
