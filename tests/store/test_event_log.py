"""The event log: what a reader finds, what it receives while it follows, and when it must read again."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from app.events.hub import EventHub
from jobs.errors import Unavailable
from jobs.store import events, keys
from jobs.store.events import BEFORE_ALL, Event, EventLog, order
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]


@pytest.fixture
def here(driver: Open) -> StoreDriver:
    return driver()


@pytest.fixture
def log(here: StoreDriver) -> EventLog:
    return EventLog(here.store)


def states(found: list[Event] | None) -> list[tuple[str, str]]:
    assert found is not None
    return [(event.job_id, event.fields["state"]) for event in found]


def test_it_holds_the_changes_of_all_jobs_in_order(here: StoreDriver, log: EventLog) -> None:
    assert (log.newest_id(), log.all()) == (BEFORE_ALL, [])
    first, second = here.submit("a"), here.submit("b")
    here.store.cancel(first)
    found = log.all()
    assert states(found) == [(first, "queued"), (second, "queued"), (first, "cancelled")]
    assert [event.key_id for event in found] == ["a", "b", "a"]
    assert log.newest_id() == found[-1].event_id
    assert states(log.after(found[0].event_id)) == states(found[1:])
    assert log.after(found[-1].event_id) == []


def test_a_reader_learns_that_events_are_no_longer_kept(driver: Open) -> None:
    here = driver(event_log_length=10)
    log = EventLog(here.store)
    assert log.after("5-0") is None
    here.submit()
    first = log.newest_id()
    here.redis.xtrim(keys.EVENTS, 0)
    assert log.after(first) is None
    here.submit()
    assert log.after(first) is None
    assert states(log.after(log.newest_id())) == []


def test_it_is_followed(here: StoreDriver, log: EventLog) -> None:
    follower = log.follow()
    assert next(follower) is None  # from now on no event is missed
    job_id = here.submit()
    event = next(follower)
    assert event == log.all()[0]
    assert event.fields == log.all()[0].fields
    assert states([event]) == [(job_id, "queued")]


def test_a_lost_connection_is_subscribed_again(here: StoreDriver, log: EventLog) -> None:
    follower = log.follow()
    assert next(follower) is None
    here.redis.client_kill_filter(_type="pubsub")
    here.submit()
    assert next(follower) is None
    assert len(log.all()) == 1


def test_a_silent_redis_is_pinged_and_then_away(here: StoreDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SILENCE_S", 0.1)
    follower = EventLog(here.store).follow()
    assert next(follower) is None
    here.redis.client_pause(1000)  # Redis does not respond to the ping
    with pytest.raises(Unavailable):
        next(follower)


def test_a_subscription_without_events_goes_on(here: StoreDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SILENCE_S", 0.1)
    follower = EventLog(here.store).follow()
    assert next(follower) is None
    later = threading.Timer(1.0, lambda: here.submit(job_id="j"))
    later.start()
    event = next(follower)
    later.join()
    assert event is not None
    assert states([event]) == [("j", "queued")]


def test_listeners_of_a_job_a_key_and_a_slot_get_its_events(here: StoreDriver, log: EventLog) -> None:
    hub = EventHub(log)
    here.open("gpu0")
    with (
        hub.listen(job_id="j") as of_job, hub.listen(key_id="a") as of_key, hub.listen(slot="gpu0") as of_slot,
        hub.listen(key_id="b") as of_another, hub.listen() as of_all,
    ):  # fmt: skip
        here.submit("a", job_id="j")
        for listener in (of_job, of_key, of_slot, of_all):
            event = listener.get(10)
            assert event is not None
            assert (event.job_id, event.fields["slot"]) == ("j", "gpu0")
        here.submit("b", job_id="k")
        event = of_another.get(10)
        assert event is not None
        assert event.job_id == "k"
    missed = hub.missed(of_job.last_id, key_id="b")
    assert missed is None or states(missed) == [("k", "queued")]


def test_a_listener_that_does_not_read_is_told_to_look(
    here: StoreDriver, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.events.hub.BACKLOG", 2)
    with EventHub(log).listen() as listener:
        here.submit_many(5)
        last = here.submit()
        with EventHub(log).listen(job_id=last) as other:
            here.store.cancel(last)
            assert other.get(10)
        seen = [listener.get(10)]
        while seen[-1] is not None:
            seen.append(listener.get(10))
        assert len(seen) <= 3


@pytest.mark.parametrize("text", ["yesterday", "1", "1-", "-1", "1-2-3", "184467440737095516160-0", ""])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no event id"):
        order(text)


def test_ids_are_ordered_by_number() -> None:
    assert order("9-10") < order("10-9") < order("10-10")


def test_the_message_about_the_end_of_a_job_may_have_its_record() -> None:
    text = '{"task_id": "j", "state": "succeeded", "key": "a"}'
    plain = Event.from_json("1-0", text)
    assert (plain.job_id, plain.key_id, plain.record) == ("j", "a", None)
    full = Event.from_json("1-0", text, '{"state": "succeeded", "prompt": "two\\nlines"}')
    assert full.record == {"state": "succeeded", "prompt": "two\nlines"}
    assert full == plain


def test_a_message_is_read_with_its_record(here: StoreDriver, log: EventLog) -> None:
    follower = log.follow()
    assert next(follower) is None
    here.redis.publish(keys.EVENTS, '1-0 {"task_id": "j", "state": "failed"}\n{"state": "failed", "model": "m"}')
    event = next(follower)
    assert event is not None
    assert (event.job_id, event.fields, event.record) == (
        "j", {"task_id": "j", "state": "failed"}, {"state": "failed", "model": "m"},
    )  # fmt: skip
