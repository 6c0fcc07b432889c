"""Flags of Devoid Generator's requests: sync, premium and moderation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.devoid_client import MODELS, Client, Refused, request
from tests.support.served_app import ServedApp

Serve = Callable[..., ServedApp]


def test_without_sync_the_link_comes_before_the_upload(serve: Serve) -> None:
    app = serve(MODELS, SERVICES="telegram:service_key")
    worker = app.worker("drawn")
    worker.delivers.clear()  # nothing is uploaded yet
    client = Client(app)
    client.ask(settings={"sync_with_s3": 1})
    client.ask(settings={"sync_with_s3": 0})
    told = [client.next() for _ in range(5)]
    ends = [message for message in told if message["gen_status"] == "ok"]
    assert [end["settings"] for end in ends] == [{"sync_with_s3": 0}]
    worker.delivers.set()
    last = client.next()
    assert (last["gen_status"], last["settings"]) == ("ok", {"sync_with_s3": 1})
    assert client.is_silent()
    client.close()


def test_premium_jobs_get_their_share(serve: Serve) -> None:
    app = serve(MODELS, SERVICES="telegram:service_key")
    app.store.pause_slots()  # until all have arrived
    app.worker("drawn")
    app.workers[0].step_s = 0.05  # classes share seconds: each job takes about the same
    client = Client(app)
    small = {"prompt": "x", "steps": 1, "width": 32, "height": 32}
    for number in range(40):
        client.ask(small, settings={"premium": number % 2})
    assert [client.next()["gen_status"] for _ in range(40)] == ["queued"] * 40
    app.store.pause_slots(resume=True)
    over = [message for message in client.until_over(40) if message["gen_status"] == "ok"]
    shares = Counter(message["settings"]["premium"] for message in over[:24])
    assert shares[1] == pytest.approx(18, abs=3)
    assert len(over) == 40
    client.close()


def test_moderation_is_what_the_service_says(serve: Serve, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("forbidden\n")
    app = serve(
        MODELS, SERVICES="telegram:service_key", MODERATION="block", MODERATION_WORDS_FILE=words,
        MODERATION_OUTPUTS="none",
    )  # fmt: skip
    app.worker("drawn")
    client = Client(app)
    payload = {**request()["payload"], "prompt": "something forbidden"}
    client.ask(payload, settings={"moderate": 1})
    assert "moderation" in client.next()["result"]["content"]
    client.ask(payload, settings={"moderate": 0})
    assert client.until_over()[-1]["gen_status"] == "ok"
    client.close()


def test_a_key_without_premium_has_none(serve: Serve) -> None:
    app = serve(MODELS, API_KEYS="bot:a-key-of-sixteen-chars,vip:another-key-of-sixteen:client:premium")
    app.worker("drawn")
    client = Client(app, "bot", "a-key-of-sixteen-chars")
    client.ask(settings={"premium": 1})
    assert client.next()["result"]["content"] == "this key has no premium class"
    client.ask(settings={"premium": 0})
    assert client.until_over()[-1]["gen_status"] == "ok"
    client.close()
    with pytest.raises(Refused):
        Client(app, "bot", "another-key-of-sixteen")
