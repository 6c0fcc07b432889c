"""Events: one reader of Redis per process, fanned out to every listener in it.

The events of all jobs are one capped stream, and each is published too. The reader is told by its subscription, so an
event costs no question; a listener costs a queue. What the reader or a listener missed while it was away is read from
the stream; what is no longer there is replaced by the job's present state.
"""

from __future__ import annotations

import json
import logging
import queue
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jobs.errors import Unavailable
from jobs.settings import Settings
from jobs.store import keys
from jobs.store.jobs import JobStore
from jobs.store.scripts import connect

logger = logging.getLogger(__name__)

#: After so long without a word Redis is asked whether it is there, and given as long again to answer, seconds.
SILENCE_S = 5.0
#: Events that wait for one listener; a slower one is given the present state instead.
BACKLOG = 1000
#: Older than every event.
BEFORE_ALL = "0-0"


_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")


@dataclass(frozen=True)
class Event:
    """One change of one job."""

    #: Id in the stream: ``<milliseconds>-<number>``, ordered.
    event_id: str
    job_id: str
    key_id: str
    #: The fields of the event, as strings. The id alone tells events apart, so they can be keys of a cache.
    fields: dict[str, Any] = field(compare=False)


class Listener:
    """A queue of events; None in it: something was missed, look at the present state."""

    def __init__(self, last_id: str, job_id: str | None) -> None:
        self.job_id = job_id
        self._queue: queue.Queue[Event | None] = queue.Queue(BACKLOG)
        #: The newest event when the listener came.
        self.last_id = last_id

    def put(self, event: Event | None) -> None:
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(None)

    def get(self, timeout_s: float) -> Event | None:
        """The next event. Raises: queue.Empty after ``timeout_s``."""
        return self._queue.get(timeout=max(0.0, timeout_s))


class EventHub:
    """The reader of this process; it starts with the first listener."""

    def __init__(self, settings_: Settings, store_: JobStore) -> None:
        self._store = store_
        self._client = connect(settings_, timeout_s=2 * SILENCE_S)
        self._by_job: dict[str, set[Listener]] = defaultdict(set)
        self._by_key: dict[str, set[Listener]] = defaultdict(set)
        self._by_slot: dict[str, set[Listener]] = defaultdict(set)
        self._lock = threading.Lock()
        self._last_id: str | None = None

    @contextmanager
    def listen(self, *, job_id: str | None = None, key_id: str | None = None, slot: str = "") -> Iterator[Listener]:
        """Events of one job, of the jobs of one slot or one key, or (none of them) of all, from now on.

        ``slot`` stands for those that continue its name with ``~``, too.
        """
        self._start()
        assert self._last_id is not None
        listener = Listener(self._last_id, job_id)
        group, name = (self._by_job, job_id) if job_id else (self._by_slot, slot) if slot else (self._by_key, key_id)
        name = name or keys.ALL
        listeners = group[name]
        listeners.add(listener)
        try:
            yield listener
        finally:
            listeners.discard(listener)
            if group is not self._by_key and not listeners:
                group.pop(name, None)

    def missed(self, since: str, *, job_id: str | None = None, key_id: str | None = None) -> list[Event] | None:
        """Events after ``since``; None when some are no longer kept."""
        oldest = self._store.call(lambda c: c.xrange(keys.EVENTS, count=1))
        if not oldest or order(since) < order(oldest[0][0]):
            return None
        found = self._store.call(lambda c: c.xrange(keys.EVENTS, min=f"({since}"))
        events = [_event(event_id, entry["event"]) for event_id, entry in found]
        return [e for e in events if job_id in (None, e.job_id) and key_id in (None, e.key_id)]

    def _start(self) -> None:
        with self._lock:
            if self._last_id is None:
                newest = self._store.call(lambda c: c.xrevrange(keys.EVENTS, count=1))
                self._last_id = newest[0][0] if newest else BEFORE_ALL
                threading.Thread(target=self._run, name="events", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            try:
                self._read()
            except Unavailable:
                pause.wait(0.5)
            except Exception:
                logger.exception("the event reader goes on after an error")
                pause.wait(0.5)

    def _read(self) -> None:
        """Hand events out until the connection is lost. Raises: Unavailable."""
        with self._client.pubsub() as subscription:
            subscription.subscribe(keys.EVENTS)
            asked = False
            while True:
                reply = self._store.call(lambda _: subscription.parse_response(block=False, timeout=SILENCE_S))
                if reply is None:
                    if asked:  # the connection is half open
                        raise Unavailable("the job store does not answer")
                    self._store.call(lambda _: subscription.ping())
                    asked = True
                    continue
                asked = False
                if reply[0] == "subscribe":  # also after redis-py connected anew by itself
                    self._catch_up()
                elif reply[0] == "message":
                    event_id, _, text = reply[2].partition(" ")
                    self._hand_out(_event(event_id, text))

    def _catch_up(self) -> None:
        """What came between the newest event handed out and the subscription."""
        assert self._last_id is not None
        if self._last_id == BEFORE_ALL:
            found = self._store.call(lambda c: c.xrange(keys.EVENTS))
            events: list[Event] | None = [_event(event_id, entry["event"]) for event_id, entry in found]
        else:
            events = self.missed(self._last_id)
        if events is None:
            listeners = [
                one
                for group in (self._by_job, self._by_slot, self._by_key)
                for some in group.copy().values()
                for one in some
            ]
            for listener in listeners:
                listener.put(None)
            newest = self._store.call(lambda c: c.xrevrange(keys.EVENTS, count=1))
            self._last_id = newest[0][0]
        for event in events or []:
            self._hand_out(event)

    def _hand_out(self, event: Event) -> None:
        if order(event.event_id) <= order(self._last_id or BEFORE_ALL):
            return
        self._last_id = event.event_id
        for listener in self._listeners(event):
            listener.put(event)

    def _listeners(self, event: Event) -> list[Listener]:
        return [
            *self._by_job.get(event.job_id, ()),
            *self._by_slot.get(event.fields.get("slot", "").partition("~")[0], ()),
            *self._by_key.get(event.key_id, ()),
            *self._by_key.get(keys.ALL, ()),
        ]


def order(event_id: str) -> tuple[int, int]:
    """An event id as something that can be compared. Raises: ValueError."""
    match = _ID.fullmatch(event_id)
    if match is None or max(map(int, match.groups())) >= 2**64:
        raise ValueError(f"{event_id[:40]!r} is no event id")
    return int(match[1]), int(match[2])


def _event(event_id: str, text: str) -> Event:
    fields = json.loads(text)
    return Event(event_id, fields["task_id"], fields.get("key", keys.NOBODY), fields)
