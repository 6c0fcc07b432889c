"""Webhook messages that are sent again, and receivers that reject further messages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from jobs.outbound.webhook import EVENTS, Webhook
from jobs.store import keys
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]
HOOK = Webhook("http://example.org/hook", EVENTS)
RECEIVER = "a|example.org:80"


def claim(here: StoreDriver) -> list[list[str]]:
    for member in here.redis.zrange(keys.RECEIVER_DELIVERIES + RECEIVER, 0, -1):
        here.redis.zadd(keys.RECEIVER_DELIVERIES + RECEIVER, {member: 1})
    claimed = here.store.script("webhook_claim", receiver=RECEIVER, limit=9, lease_ms=9000, sender="s")
    return list(claimed)


def settle(here: StoreDriver, job_id: str, event: str, *, gone: int = 0, message_id: str = "") -> int:
    written = json.loads(here.redis.hget(keys.WEBHOOK_DELIVERIES + job_id, event))
    outcome = {"state": "gone" if gone else "delivered", "round": 3}
    delivery = json.dumps({**written, **outcome, "message_id": message_id or written["message_id"]})
    settled = here.store.script(
        "webhook_settle", id=job_id, event=event, sender="s", delivery=delivery, wait_ms="", gone=gone
    )
    return int(settled)


def ended(here: StoreDriver) -> str:
    """Return a job whose two messages were sent."""
    here.open()
    job_id = here.submit(webhook=HOOK)
    here.finish()
    for event in ("job.started", "job.succeeded"):
        assert [one[:2] for one in claim(here)] == [[job_id, event]]
        assert settle(here, job_id, event) == 1
    assert claim(here) == []
    return job_id


@pytest.mark.parametrize("event", ["", "job.started", "job.failed"])
def test_messages_are_sent_again_on_request(driver: Open, event: str) -> None:
    here = driver()
    job_id = ended(here)
    expected = {"": ["job.started", "job.succeeded"], "job.started": ["job.started"], "job.failed": []}[event]
    resent = here.store.script("webhook_resend", id=job_id, event=event)
    assert sorted(resent) == expected
    assert here.redis.zrange(keys.RECEIVERS, 0, -1) == ([RECEIVER] if expected else [])
    if expected:
        delivery = json.loads(claim(here)[0][2])
        created_at = here.store.get(job_id).created_at_ms
        message_id = f"msg_{job_id}_{created_at}_started"
        assert (delivery["state"], delivery["round"], delivery["message_id"]) == ("pending", 0, message_id)


def test_a_job_without_a_webhook_has_nothing_to_send_again(driver: Open) -> None:
    here = driver()
    assert here.store.script("webhook_resend", id=here.submit(), event="") == []
    assert here.store.script("webhook_resend", id="unknown", event="") == []


def test_a_receiver_that_wants_no_more_gets_no_message_of_later_changes(driver: Open) -> None:
    here = driver()
    config = json.dumps({"url": HOOK.url, "to": "example.org:80", "events": list(EVENTS)})
    here.redis.hset(keys.WEBHOOKS, "a", config)
    here.open()
    job_id = here.submit()
    here.start()
    [[_, event, _]] = claim(here)
    assert settle(here, job_id, event, gone=1) == 1
    here.finish()
    assert claim(here) == []
    assert "gone_at" in json.loads(here.redis.hget(keys.WEBHOOKS, "a") or "")
    later = here.submit()
    assert "webhook" not in here.store.read(later)
    here.store.script("webhook_resend", id=job_id, event="")
    assert here.redis.hexists(keys.WEBHOOK_DELIVERIES + job_id, "gone") is False


def test_each_pause_is_announced_and_no_try_of_an_earlier_one_hides_it(driver: Open) -> None:
    here = driver()
    job_id = here.submit(webhook=HOOK)
    here.store.pause(job_id)
    [[_, event, first]] = claim(here)
    assert event == "job.paused"
    here.store.resume(job_id)
    time.sleep(0.002)  # the id of a message has its time
    here.store.pause(job_id)
    assert claim(here) == [], "the first message is being sent"
    assert settle(here, job_id, event, message_id=json.loads(first)["message_id"]) == 0
    [[_, event, second]] = claim(here)
    assert event == "job.paused"
    assert json.loads(second)["message_id"] != json.loads(first)["message_id"]
    assert settle(here, job_id, event) == 1
    assert claim(here) == []
