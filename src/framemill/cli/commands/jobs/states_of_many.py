"""Follow many jobs at once: by the stream of events, and by looking at them where the stream is silent."""

from __future__ import annotations

import threading
import time
from collections import deque
from queue import Empty, SimpleQueue

from framemill.client import Client
from framemill.errors import ApiError, ClientError, ServerUnavailable
from framemill.records import Job

#: The jobs are looked at after so many seconds without an event, and at the latest after so many.
SILENT_S, LATEST_S = 1.0, 5.0
#: Up to so many jobs are asked for one by one; more are read as pages of the list.
FEW, MOST_AT_ONCE, MOST_PAGES = 8, 500, 4
#: The server may be unreachable for so many seconds. Long enough for a restart.
MAX_SILENCE_S = 30.0


class StatesOfMany:
    """The states of jobs, as they change. A job that has ended is told once, and then no longer followed.

    Args:
        client: the client.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._open: dict[str, None] = {}
        self._events: SimpleQueue[Job] = SimpleQueue()
        self._found: deque[Job] = deque()
        self._looked_at = self._heard_at = time.monotonic()
        self._away_since: float | None = None
        self._listener: threading.Thread | None = None

    @property
    def unfinished(self) -> list[str]:
        """The ids of the jobs that are followed, in the order in which they were added."""
        return list(self._open)

    @property
    def is_away(self) -> bool:
        """Whether the server did not respond lately."""
        return self._away_since is not None

    def add(self, job_id: str) -> None:
        """Follow a job."""
        self._open[job_id] = None
        if self._listener is None:
            self._listener = threading.Thread(target=self._listen, daemon=True)
            self._listener.start()

    def next(self, timeout_s: float) -> Job | None:
        """Return the next state of one of the jobs; None if there is none for this long.

        Raises:
            ServerUnavailable: the server has not responded for half a minute.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            job = self._found.popleft() if self._found else self._event(deadline)
            if job is not None and job.id in self._open:
                if job.finished:
                    del self._open[job.id]
                return job
            if job is None and not self._found and time.monotonic() >= deadline:
                return None

    def _event(self, deadline: float) -> Job | None:
        """Wait for an event until it is time for a look or the deadline has come."""
        look_at = min(self._heard_at + SILENT_S, self._looked_at + LATEST_S)
        look_at = max(look_at, self._looked_at + SILENT_S)
        try:
            job = self._events.get(timeout=max(0.0, min(deadline, look_at) - time.monotonic()))
        except Empty:
            if self._open and time.monotonic() >= look_at:
                self._look()
            return None
        self._heard_at = time.monotonic()
        return job

    def _look(self) -> None:
        try:
            self._found.extend(self._each() if len(self._open) <= FEW else self._listed())
        except ServerUnavailable:
            self._away_since = self._away_since or time.monotonic()
            if time.monotonic() - self._away_since > MAX_SILENCE_S:
                raise
        else:
            self._away_since = None
        self._looked_at = time.monotonic()

    def _each(self) -> list[Job]:
        found = []
        for job_id in self.unfinished:
            try:
                found.append(self._client.get(job_id))
            except ServerUnavailable:
                raise
            except ApiError as exc:  # it was deleted
                error = {"code": exc.code, "message": str(exc)}
                found.append(Job.from_dict({"id": job_id, "state": "failed", "error": error}))
        return found

    def _listed(self) -> list[Job]:
        found: list[Job] = []
        after: str | None = None
        for _ in range(MOST_PAGES):
            page = self._client.list(limit=min(MOST_AT_ONCE, 2 * len(self._open)), after=after)
            found += [job for job in page.jobs if job.id in self._open]
            after = page.next
            if after is None or len(found) >= len(self._open):
                break
        return found

    def _listen(self) -> None:
        try:
            for event in self._client.events():
                if event.job.id in self._open:
                    self._events.put(event.job)
        except (ClientError, RuntimeError):
            return  # looks go on; a closed client is a RuntimeError
