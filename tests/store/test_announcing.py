"""Events for Flower: their receivers get the same events, whether each is sent at once or many together."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import pytest

from jobs.settings import Settings
from jobs.store.jobs import JobStore
from tasks.announcing import Announcer
from tasks.celery_app import create_celery

EVENTS = ("task-sent", "task-failed", "task-succeeded")
PATIENCE_S = 20.0


@pytest.mark.parametrize(("delay_s", "messages"), [(0.0, 3), (0.2, 1)])
def test_events_are_received_in_their_order(server: Settings, delay_s: float, messages: int) -> None:
    store, celery = JobStore(server), create_celery(server)
    received: list[dict[str, Any]] = []
    with celery.connection_for_read() as connection:
        receiver = celery.events.Receiver(connection, handlers={"*": received.append})
        with receiver.consumer_context() as (listening, _, _):
            with suppress(socket.timeout):
                listening.drain_events(timeout=0.5)  # kombu subscribes with the first call
            before = published(store)
            announcer = Announcer(store, celery, delay_s)
            for kind in EVENTS:
                announcer.send("api@here", kind, uuid="a")
            with suppress(socket.timeout):
                while len(received) < len(EVENTS):
                    listening.drain_events(timeout=PATIENCE_S)
    assert [event["type"] for event in received] == list(EVENTS)
    assert {(event["hostname"], event["uuid"]) for event in received} == {("api@here", "a")}
    times = [event["timestamp"] for event in received]
    assert times == sorted(times)
    assert published(store) - before == messages


def test_nobody_is_told_unless_somebody_listens(server: Settings) -> None:
    store = JobStore(server)
    store.client.flushdb()
    assert not Announcer(store, create_celery(server)).is_watched()
    store.mark_watched()
    assert Announcer(store, create_celery(server)).is_watched()


def published(store: JobStore) -> int:
    """Return how many messages were published in Redis."""
    stats: dict[str, dict[str, int]] = store.client.info("commandstats")  # type: ignore[assignment]
    return stats.get("cmdstat_publish", {"calls": 0})["calls"]
