"""Webhooks of API keys, and the check of addresses for each delivery, through the complete stack to real receivers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import framemill
from framemill.cli import main
from framemill.errors import ApiError
from jobs.store import keys
from tests.support import drawn_models
from tests.support.harness import Stack, wait_for
from tests.support.receiver import Message, Receiver, receiving
from tests.support.webhook_calls import OPTIONS, settled


@pytest.fixture(scope="module")
def io_stack(drawn_models_file: Path) -> Iterator[Stack]:
    """A server without GPU workers: jobs wait until they are cancelled or expire."""
    with drawn_models.stack_in_new_folder(drawn_models_file, "io", **OPTIONS) as stack:
        yield stack


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


# ---- of keys


@pytest.fixture
def keyed(start: Callable[..., Stack]) -> tuple[Stack, dict[str, str]]:
    """A server with keys and without WEBHOOK_SECRET; the secrets by service."""
    stack = start("io", **{**OPTIONS, "WEBHOOK_SECRET": ""})
    secrets = {"ops": stack.first_key()}
    with framemill.Client(stack.url(""), secrets["ops"]) as client:
        secrets["other"] = client.create_key("other").secret or ""
    return stack, secrets


def set_webhook(ops: framemill.Client) -> dict[str, Any]:
    """Return what the list of keys says about the shop's webhook."""
    found = next(key.webhook for key in list(ops.keys()) if key.service == "shop")
    assert found is not None
    return dict(found)


def test_all_jobs_of_a_key_have_its_webhook_until_the_receiver_is_gone(
    keyed: tuple[Stack, dict[str, str]], receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    stack, secrets = keyed
    words = ["--url", stack.url(""), "--api-key", secrets["ops"], "keys"]
    capfd.readouterr()
    assert main([*words, "create", "shop", "--webhook-url", receiver.url]) == 0
    key, secret = capfd.readouterr().out.split()
    with framemill.Client(stack.url(""), secrets["ops"]) as ops, framemill.Client(stack.url(""), key) as shop:
        assert set_webhook(ops) == {
            "url": receiver.url, "events": ["job.succeeded", "job.failed", "job.cancelled", "job.expired"],
            "gone_at": None,
        }  # fmt: skip

        def end(**fields: Any) -> str:
            task = shop.submit(model="tiny-image", prompt="x", **fields)
            shop.cancel(task.id)
            return task.id

        def heard(job_id: str) -> Message:
            wait_for(lambda: receiver.of(job_id), "the event")
            return receiver.of(job_id)[-1]

        first = end()
        expected, sent = heard(first).signatures(secret)
        assert sent == [expected]

        # No other key may see it, or send it again.
        with framemill.Client(stack.url(""), secrets["other"]) as other:
            for call in (other.webhooks, other.resend_webhooks):
                with pytest.raises(ApiError) as refused:
                    call(first)
                assert refused.value.code == "job_not_found"
            with pytest.raises(ApiError) as refused:
                other.set_webhook("shop", receiver.url)
            assert refused.value.code == "forbidden"

        # A new secret signs in addition to the old one.
        capfd.readouterr()
        assert main([*words, "webhook", "shop", "--new-secret"]) == 0
        renewed = capfd.readouterr().out.strip()
        message = heard(end())
        assert message.headers["webhook-signature"].split(" ") == [
            message.signatures(renewed)[0], message.signatures(secret)[0],
        ]  # fmt: skip

        # A job may have its own webhook, signed with the same secret, or none.
        with receiving() as own:
            job_id = end(webhook_url=own.url)
            wait_for(lambda: own.of(job_id), "the job's own webhook")
            assert own.of(job_id)[0].signatures(renewed)[0] in own.of(job_id)[0].headers["webhook-signature"]
        silent = end(webhook_url="")
        assert shop.webhooks(silent)["url"] is None

        receiver.answers = [410]
        last = end()
        wait_for(lambda: shop.webhooks(last)["deliveries"][0]["state"] == "gone", "the end of the webhook")
        assert set_webhook(ops)["gone_at"] is not None
        assert shop.webhooks(end())["url"] is None
        ops.set_webhook("shop", receiver.url, ["job.cancelled"])
        heard(end())
        ops.remove_webhook("shop")
        assert shop.webhooks(end())["url"] is None
        with pytest.raises(ApiError) as refused:
            shop.submit(model="tiny-image", prompt="x", webhook_url=receiver.url)  # there is no secret any more
        assert refused.value.fields[0]["field"] == "webhook_url"
        with pytest.raises(ApiError) as refused:
            ops.set_webhook("nobody", receiver.url)
        assert refused.value.code == "key_not_found"


def test_the_address_is_checked_again_for_every_try(io_stack: Stack, receiver: Receiver) -> None:
    job_id = io_stack.submit(webhook_url=receiver.url)
    record = io_stack.store.client.hget(keys.JOB + job_id, "webhook")
    # As if a name that was public at submission had moved into the private network.
    io_stack.store.client.hset(keys.JOB + job_id, "webhook", record.replace("127.0.0.1", "localhost"))
    io_stack.cancel(job_id)
    delivery = settled(io_stack, job_id, "pending", tries=6)
    assert {one["error"] for one in delivery["tries"]} == {"the link's host must exist and have public addresses only"}
    assert receiver.messages == []
