"""The event log: the changes of all jobs, as a capped Redis stream and as messages on a channel of the same name.

The scripts write both in the call that changes the job. A reader subscribes to the
channel, so it need not poll, and reads from the stream what it missed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import redis

from jobs.callers import NOBODY
from jobs.errors import StoreRefuses, Unavailable
from jobs.store import keys
from jobs.store.connecting.client import connect
from jobs.store.scripts import Scripts

#: After this much silence the reader pings Redis, which has as long again to answer, in seconds.
SILENCE_S = 5.0
#: An id that is older than every event.
BEFORE_ALL = "0-0"
#: The largest id that a stream can have.
NEWEST_POSSIBLE = f"{2**64 - 1}-{2**64 - 1}"

_LOST = object()
_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")


@dataclass(frozen=True)
class Event:
    """One change of one job."""

    #: Id in the stream: ``<milliseconds>-<number>``, ordered.
    event_id: str
    job_id: str
    key_id: str
    #: The fields of the event, as strings. The id alone tells events apart, so events can be keys of a cache.
    fields: dict[str, Any] = field(compare=False)
    #: JSON of the record of a job that is over; '' if the message had none.
    record_text: str = field(default="", compare=False, repr=False)

    @classmethod
    def from_json(cls, event_id: str, text: str, record_text: str = "") -> Event:
        """Read an event as the scripts write it: the id of the job is called ``task_id``, as in version 0.1.0."""
        fields = json.loads(text)
        return cls(event_id, fields["task_id"], fields.get("key", NOBODY), fields, record_text)

    @property
    def record(self) -> dict[str, str] | None:
        """The record of the job, which is over with this event; None if it must be read."""
        if not self.record_text:
            return None
        record: dict[str, str] = json.loads(self.record_text)
        return record


class EventLog:
    """Reads the events. Every method raises Unavailable when Redis does not answer."""

    def __init__(self, store: Scripts) -> None:
        self._store = store
        # The subscription waits for ``SILENCE_S``, so its connection has another timeout than those of the store.
        self._client: Any = connect(store.settings, timeout_s=SILENCE_S, protocol=2)

    def newest_id(self) -> str:
        """The id of the newest event; ``BEFORE_ALL`` when there is none."""
        newest = self._store.call(lambda c: c.xrevrange(keys.EVENTS, count=1))
        return str(newest[0][0]) if newest else BEFORE_ALL

    def all(self) -> list[Event]:
        """Return the events that the stream holds, oldest first."""
        return self._read("-")

    def after(self, event_id: str) -> list[Event] | None:
        """Return the events after ``event_id``, oldest first; None when the stream no longer holds all of them."""
        if order(event_id) == order(NEWEST_POSSIBLE):  # Redis refuses to read after it
            return []
        oldest = self._store.call(lambda c: c.xrange(keys.EVENTS, count=1))
        if not oldest or order(event_id) < order(oldest[0][0]):
            return None
        return self._read(f"({event_id}")

    def _read(self, start: str) -> list[Event]:
        entries = self._store.call(lambda c: c.xrange(keys.EVENTS, min=start))
        return [Event.from_json(entry_id, entry["event"]) for entry_id, entry in entries]

    def follow(self) -> Iterator[Event | None]:
        """Yield events as they are published, until Redis does not answer.

        None stands for a new subscription: events that were published before it must be read with :meth:`after`.
        """
        # redis-py's own subscription asks the system twice for each message whether there is one.
        connection = self._store.call(lambda _: self._client.connection_pool.get_connection())
        try:
            while True:
                self._store.call(lambda _: connection.send_command("SUBSCRIBE", keys.EVENTS))
                yield from self._messages(connection)
        finally:
            connection.disconnect()
            self._client.connection_pool.release(connection)

    def _messages(self, connection: Any) -> Iterator[Event | None]:
        """Yield what a subscription receives until the connection is lost."""
        pinged = False
        while True:
            try:
                reply = self._store.call(lambda _: _reply(connection))
            except StoreRefuses:  # Redis that cannot save its data refuses even a ping, but the connection works
                pinged = False
                continue
            if reply is _LOST:
                return
            if reply is None:
                if pinged:  # the connection is half open
                    raise Unavailable("the job store does not answer")
                self._store.call(lambda _: connection.send_command("PING"))
                pinged = True
                continue
            pinged = False
            if reply[0] == "subscribe":
                yield None
            elif reply[0] == "message":
                event_id, _, texts = reply[2].partition(" ")
                text, _, record_text = texts.partition("\n")
                yield Event.from_json(event_id, text, record_text)


def _reply(connection: Any) -> Any:
    """Return the next message, or the reply to a ping; None after ``SILENCE_S``; ``_LOST``: the server has hung up."""
    try:
        return connection.read_response(disconnect_on_error=False)
    except redis.TimeoutError:
        return None
    except redis.ConnectionError:
        connection.disconnect()
        return _LOST


@lru_cache(maxsize=1024)
def order(event_id: str) -> tuple[int, int]:
    """An event id as a value that sorts by age. Raises: ValueError."""
    match = _ID.fullmatch(event_id)
    if match is None or max(map(int, match.groups())) >= 2**64:
        raise ValueError(f"{event_id[:40]!r} is no event id")
    return int(match[1]), int(match[2])
