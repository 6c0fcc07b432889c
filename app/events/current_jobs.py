"""Jobs as this process has read them, so that a poll of a job that has not changed costs one small read.

Redis decides what is valid: each poll reads the fields that change (:data:`jobs.record.CHANGING`), and only if they
differ from those of the job that is kept here, that job is replaced. So a poll shows every acknowledged change, whoever
made it. Position and expected time depend on other jobs; they may be :data:`FRESH_S` old.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from jobs.errors import JobNotFound
from jobs.forecast import OVER, Forecast
from jobs.record import Job
from jobs.states import JobState
from jobs.store import queries
from jobs.store.events import Event
from jobs.store.jobs import JobStore

#: Longest time for which the forecast of an unchanged job and bodies made of it are reused, seconds.
FRESH_S = 1.0
#: Most records that are kept, and the sum of their lengths in characters.
MAX_RECORDS, MAX_CHARS = 4096, 32 * 1024 * 1024


@dataclass
class _Seen:
    """A job, and what was made of it."""

    job: Job
    #: The texts of :data:`jobs.record.CHANGING`.
    texts: list[str | None]
    #: Length of its record.
    chars: int
    forecast: Forecast | None = None
    forecast_at: float = 0.0
    #: Response bodies and when they were made, by what they depend on besides the job.
    bodies: dict[Hashable, tuple[float, bytes]] = field(default_factory=dict)


class CurrentJobs:
    """Reads jobs and keeps them. Every method raises Unavailable when Redis does not answer."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        #: See :data:`FRESH_S`.
        self.fresh_s = FRESH_S
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._chars = 0

    def __len__(self) -> int:
        return len(self._seen)

    def get(self, job_id: str) -> Job:
        """Return a job as it is now; the same object as before if it has not changed. Raises: JobNotFound."""
        seen = self._seen.get(job_id)
        if seen is None:
            return self._read(job_id)
        return self._current(seen, *queries.changing_fields(self._store, [job_id]))

    def get_with_progress(self, job_id: str) -> tuple[Job, str]:
        """As :meth:`get`, and what a worker over HTTP reported last (JSON; '' for nothing), in the same read."""
        texts, reported = queries.changing_fields_and_progress(self._store, job_id)
        seen = self._seen.get(job_id)
        return (self._read(job_id) if seen is None else self._current(seen, texts)), reported

    def find(self, job_ids: Sequence[str]) -> list[Job]:
        """Return those of these jobs that exist, as they are now. Known ones are read in one round trip."""
        known = [seen for job_id in job_ids if (seen := self._seen.get(job_id))]
        texts = queries.changing_fields(self._store, [seen.job.job_id for seen in known]) if known else []
        by_id = {seen.job.job_id: (seen, changing) for seen, changing in zip(known, texts, strict=True)}
        jobs = []
        for job_id in job_ids:
            with suppress(JobNotFound):
                jobs.append(self._current(*by_id[job_id]) if job_id in by_id else self._read(job_id))
        return jobs

    def _current(self, seen: _Seen, texts: list[str | None]) -> Job:
        """Return a job with these texts. Raises: JobNotFound."""
        if texts == seen.texts:
            return seen.job
        job = seen.job.updated(texts)
        if job is None:
            return self._read(seen.job.job_id)
        self._keep(_Seen(job, texts, seen.chars))
        return job

    def forecast(self, job: Job) -> Forecast:
        """Return where a job stands now, or stood at most ``fresh_s`` ago."""
        if job.state.is_terminal:
            return OVER
        seen, now = self._seen.get(job.job_id), time.monotonic()
        if seen is None or seen.job is not job:
            return self._store.forecast(job.job_id)[0]
        if seen.forecast is not None and now <= seen.forecast_at + self.fresh_s:
            return seen.forecast
        if seen.forecast is not None and seen.forecast.eta_s is not None and job.state is JobState.RUNNING:
            # A run that reports nothing new comes nearer to its end with the time.
            seen.forecast = replace(seen.forecast, eta_s=max(0.0, seen.forecast.eta_s - (now - seen.forecast_at)))
        else:
            seen.forecast = self._store.forecast(job.job_id)[0]
        seen.forecast_at = now
        return seen.forecast

    def body(self, job: Job, depends_on: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return the body of a response about a job, made at most ``fresh_s`` ago.

        Args:
            job: the job.
            depends_on: what the body depends on besides the job: its kind, the forecast, the reader.
            make: makes the body.
        """
        seen, now = self._seen.get(job.job_id), time.monotonic()
        if seen is None or seen.job is not job:
            return make()
        made_at, body = seen.bodies.get(depends_on, (0.0, b""))
        if not body or now > made_at + self.fresh_s:
            if body:  # other polls are answered with the old one while a new one is made
                seen.bodies[depends_on] = now, body
            body = make()
            for other, (made_at, _) in list(seen.bodies.items()):
                if now > made_at + self.fresh_s:
                    seen.bodies.pop(other, None)
            seen.bodies[depends_on] = now, body
        return body

    def after(self, event: Event) -> Job:
        """Return a job as it is after an event, which has the record of a job that is over. Raises: JobNotFound."""
        record = event.record
        return self.get(event.job_id) if record is None else self._taken(event.job_id, record)

    def _read(self, job_id: str) -> Job:
        try:
            record = self._store.read(job_id)
        except JobNotFound:
            self._forget(job_id)
            raise
        return self._taken(job_id, record)

    def _taken(self, job_id: str, record: dict[str, str]) -> Job:
        job = Job.from_hash(job_id, record)
        self._keep(_Seen(job, queries.changing_of(record), sum(map(len, record.values()))))
        return job

    def _keep(self, seen: _Seen) -> None:
        if seen.chars > MAX_CHARS // 16:
            return self._forget(seen.job.job_id)
        with self._lock:
            self._drop(seen.job.job_id)
            self._seen[seen.job.job_id] = seen
            self._chars += seen.chars
            while self._chars > MAX_CHARS or len(self._seen) > MAX_RECORDS:
                self._drop(next(iter(self._seen)))
        return None

    def _forget(self, job_id: str) -> None:
        with self._lock:
            self._drop(job_id)

    def _drop(self, job_id: str) -> None:
        if dropped := self._seen.pop(job_id, None):
            self._chars -= dropped.chars
