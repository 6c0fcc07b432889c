"""Fans the event log out to the listeners of this process.

One reader follows the log (:mod:`jobs.store.events`), so a listener costs only a queue. Events that the reader or a
listener missed are read from the log; where the log no longer holds them, the listener is told to read the present
state of its job.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from app.events.shared_values import SharedValues
from jobs.errors import Unavailable
from jobs.process.turns import take_turns
from jobs.store.events import BEFORE_ALL, Event, EventLog, order

logger = logging.getLogger(__name__)

#: Events that wait for one listener; a slower one is given the present state instead.
BACKLOG = 1000
#: Listeners that are given an event before other work of the process goes on.
TURN = 1000
#: Pause before the reader connects to Redis again, seconds.
RECONNECT_AFTER_S = 0.5
#: Stands for the jobs of every key among the groups of listeners.
_ALL_KEYS = "*"


class Listener:
    """A queue of events. None in it stands for missed events: the present state of the job must be read."""

    def __init__(self, last_id: str, job_id: str | None) -> None:
        self.job_id = job_id
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._is_waiting = False
        #: The newest event when the listener was registered.
        self.last_id = last_id
        #: Handles an event at once, in the reader and while the listener waits; False: the listener must do it.
        self.handle_now: Callable[[Event], bool] | None = None

    def put(self, event: Event | None) -> None:
        if self.handle_now and self._is_waiting and event and self._queue.empty() and self.handle_now(event):
            return
        if self._queue.qsize() >= BACKLOG:
            with suppress(queue.Empty):
                while True:
                    self._queue.get_nowait()
            event = None
        self._queue.put(event)

    def get(self, timeout_s: float) -> Event | None:
        """Return the next event. Raises: queue.Empty after ``timeout_s``."""
        self._is_waiting = True
        try:
            return self._queue.get(timeout=max(0.0, timeout_s))
        finally:
            self._is_waiting = False


class EventHub:
    """The event reader of an app; it starts with the first listener."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._by_job: dict[str, set[Listener]] = defaultdict(set)
        self._by_key: dict[str, set[Listener]] = defaultdict(set)
        self._by_slot: dict[str, set[Listener]] = defaultdict(set)
        self._lock = threading.Lock()
        self._last_id: str | None = None
        self._closed = threading.Event()
        #: What all listeners of an event need, by the event and the name of the value.
        self.shared = SharedValues()

    def close(self) -> None:
        """Stop the reader when its connection to Redis is lost, instead of reconnecting."""
        self._closed.set()

    @contextmanager
    def listen(self, *, job_id: str | None = None, key_id: str | None = None, slot: str = "") -> Iterator[Listener]:
        """Listen to the events of one job, of the jobs of one slot or one key, or (without all three) of all jobs.

        ``slot`` includes the slots whose names continue it with ``~``.
        """
        self.start()
        assert self._last_id is not None
        listener = Listener(self._last_id, job_id)
        group, name = (self._by_job, job_id) if job_id else (self._by_slot, slot) if slot else (self._by_key, key_id)
        name = name or _ALL_KEYS
        listeners = group[name]
        listeners.add(listener)
        try:
            yield listener
        finally:
            listeners.discard(listener)
            if group is not self._by_key and not listeners:
                group.pop(name, None)

    def missed(self, since: str, *, job_id: str | None = None, key_id: str | None = None) -> list[Event] | None:
        """Return the events after ``since``; None if some of them are no longer in the log."""
        events = self._log.after(since)
        if events is None:
            return None
        return [e for e in events if job_id in (None, e.job_id) and key_id in (None, e.key_id)]

    def start(self) -> None:
        """Start the reader if it does not run yet. Raises: Unavailable."""
        with self._lock:
            if self._last_id is None:
                self._last_id = self._log.newest_id()
                threading.Thread(target=self._run, name="events", daemon=True).start()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._read()
            except Unavailable:
                pass  # Redis does not answer; the requests that need it say so
            except Exception:
                logger.exception("the event reader continues after an error")
            self._closed.wait(RECONNECT_AFTER_S)

    def _read(self) -> None:
        """Distribute events until the connection is lost. Raises: Unavailable."""
        for event in self._log.follow():
            if event is None:  # a new subscription
                self._catch_up()
            else:
                self._distribute(event)

    def _catch_up(self) -> None:
        """Distribute the events between the last distributed one and the subscription."""
        assert self._last_id is not None
        events = self._log.all() if self._last_id == BEFORE_ALL else self._log.after(self._last_id)
        if events is None:
            groups = (self._by_job, self._by_slot, self._by_key)
            for listener in [one for group in groups for some in group.copy().values() for one in some]:
                listener.put(None)
            self._last_id = self._log.newest_id()
        for event in events or []:
            self._distribute(event)

    def _distribute(self, event: Event) -> None:
        if order(event.event_id) <= order(self._last_id or BEFORE_ALL):
            return
        self._last_id = event.event_id
        for number, listener in enumerate(self._listeners(event)):
            listener.put(event)
            if number % TURN == TURN - 1:
                take_turns()

    def _listeners(self, event: Event) -> list[Listener]:
        return [
            *self._by_job.get(event.job_id, ()),
            *self._by_slot.get(event.fields.get("slot", "").partition("~")[0], ()),
            *self._by_key.get(event.key_id, ()),
            *self._by_key.get(_ALL_KEYS, ()),
        ]
