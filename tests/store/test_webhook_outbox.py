"""What the outbox gives to senders: in which order, once at a time, and nothing about deleted jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from jobs.outbound.webhook import EVENTS, Webhook
from jobs.store import keys
from jobs.store.outgoing import webhook_outbox
from jobs.store.outgoing.webhook_outbox import Delivery, WebhookOutbox
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]
HOOK = Webhook("http://example.org/hook", EVENTS)
RECEIVER = "a|example.org:80"


def claim(outbox: WebhookOutbox, number: int = 10, *, sender: str = "me") -> list[Delivery]:
    return outbox.claim(RECEIVER, number, lease_s=60, sender=sender)


def due_now(here: StoreDriver) -> None:
    """Return the due deliveries as if every pause and every lease were over."""
    for member in here.redis.zrange(keys.RECEIVER_DELIVERIES + RECEIVER, 0, -1):
        here.redis.zadd(keys.RECEIVER_DELIVERIES + RECEIVER, {member: 1})
        here.redis.hset(keys.WEBHOOK_DELIVERIES + member.split()[0], "until", 1)


def test_events_of_one_job_go_one_after_the_other(driver: Open) -> None:
    here = driver()
    outbox = WebhookOutbox(here.store)
    here.open()
    job_id = here.submit(webhook=HOOK)
    here.finish()
    assert outbox.due() == [RECEIVER]
    first = claim(outbox)
    assert [delivery.event for delivery in first] == ["job.started"]
    assert claim(outbox) == []
    assert outbox.settle(replace(first[0], state="delivered", next_at=None), "me")
    here.redis.zadd(keys.RECEIVER_DELIVERIES + RECEIVER, {f"{job_id} job.succeeded": 1})  # it was postponed briefly
    assert [delivery.event for delivery in claim(outbox)] == ["job.succeeded"]
    assert [delivery.state for delivery in outbox.log(job_id)] == ["delivered", "pending"]


def test_a_sender_that_was_too_slow_changes_nothing(driver: Open) -> None:
    here = driver()
    outbox = WebhookOutbox(here.store)
    job_id = here.submit(webhook=HOOK)
    here.store.cancel(job_id)
    (slow,) = claim(outbox, sender="slow")
    assert outbox.due() == []
    due_now(here)
    (quick,) = claim(outbox, sender="quick")
    assert quick.message_id == slow.message_id
    assert not outbox.settle(replace(slow, state="failed"), "slow")
    assert outbox.settle(replace(quick, state="delivered"), "quick")
    assert [delivery.state for delivery in outbox.log(job_id)] == ["delivered"]
    assert here.redis.keys(keys.RECEIVER_DELIVERIES + "*") == []
    assert here.redis.exists(keys.RECEIVERS) == 0


def test_no_more_than_asked_for_are_given_out(driver: Open) -> None:
    here = driver()
    outbox = WebhookOutbox(here.store)
    for job_id in here.submit_many(5, webhook=HOOK):
        here.store.cancel(job_id)
    assert [len(claim(outbox, 3)), len(claim(outbox, 3)), len(claim(outbox, 3))] == [3, 2, 0]


def test_what_was_not_sent_leaves_with_its_record(driver: Open) -> None:
    here = driver()
    outbox = WebhookOutbox(here.store)
    forgotten, removed = here.submit(webhook=HOOK), here.submit(webhook=HOOK)
    for job_id in (forgotten, removed):
        here.store.cancel(job_id)
    here.redis.zadd(keys.EXPIRING, {forgotten: 1})
    here.sweep()
    here.redis.delete(keys.JOB + removed)
    assert claim(outbox) == []
    assert here.redis.keys(keys.WEBHOOK_DELIVERIES + "*") == []
    assert here.redis.keys(keys.RECEIVER_DELIVERIES + "*") == []
    assert outbox.due() == []


def test_a_job_without_a_webhook_leaves_nothing(driver: Open) -> None:
    here = driver()
    here.open()
    for options in ({}, {"webhook": False}):
        job_id = here.submit(**options)
        here.finish()
        assert WebhookOutbox(here.store).log(job_id) == []
        assert here.store.get(job_id).webhook is None
    assert [name for name in here.redis.keys("*") if "hook" in name or "receivers" in name] == []


def test_the_newest_tries_of_all_jobs_are_found(driver: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_outbox, "MAX_INDEXED", 2)
    here = driver()
    outbox = WebhookOutbox(here.store)
    jobs = here.submit_many(3, webhook=HOOK)

    def end(job_id: str, state: str, **fields: object) -> None:
        here.store.cancel(job_id)
        outbox.resend(job_id)
        due_now(here)
        claimed = {one.job_id: one for one in claim(outbox, sender=job_id)}
        assert outbox.settle(replace(claimed[job_id], state=state, **fields), job_id)  # type: ignore[arg-type]

    def ids(*, given_up: bool = False) -> list[str]:
        return [one.delivery.job_id for one in outbox.newest(10, given_up=given_up)]

    assert ids() == []
    for job_id, state in zip(jobs, ("failed", "delivered", "pending"), strict=True):
        end(job_id, state, tries=[{"at": 5, "status": 500}])
    assert ids() == jobs[:0:-1]
    assert ids(given_up=True) == jobs[:1]  # although it is not among the newest any more
    (found,) = outbox.newest(10, given_up=True)
    assert (found.key_id, found.receiver, found.delivery.state) == ("a", "example.org:80", "failed")
    end(jobs[0], "delivered")
    assert (ids(given_up=True), ids()) == ([], [jobs[0], jobs[2]])
    here.store.purge(jobs[2])
    assert ids() == jobs[:1]
    assert here.redis.zrange(keys.WEBHOOKS_TRIED, 0, -1) == [f"{jobs[0]} job.cancelled"]
