"""The synchronous client. :mod:`framemill.async_client` is its counterpart for asyncio."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Unpack, overload

import httpx2

from framemill.errors import ApiError, ClientError, WaitTimeout
from framemill.job_fields import JobFields
from framemill.records import Event, Generated, Job, JobPage
from framemill.transport import files, routes, wire
from framemill.transport.operations import Operations
from framemill.transport.polling import Poll


class Client(Operations):
    """Client of one server. Use it in a ``with`` block, or call :meth:`close`. Threads may share it.

    Every method raises :class:`~framemill.errors.ApiError` if the server refuses the request, and
    :class:`~framemill.errors.ServerUnavailable` if it does not respond. Reads are retried several times. A call that
    changes something is retried only if it certainly had not arrived, or if it may safely arrive twice.

    Args:
        base_url: the server's address, including the path prefix of a reverse proxy if there is one.
        api_key: sent as ``Authorization: Bearer``; None: no key.
        timeout_s: maximum wait for a connection and for each part of a response, in seconds.
    """

    def generate(
        self,
        path: str | PathLike[str] | None = None,
        *,
        on_update: Callable[[Job], object] | None = None,
        timeout_s: float | None = None,
        **fields: Unpack[JobFields],
    ) -> Generated:
        """Submit a job, wait until it has succeeded, and save its outputs: all in one call.

        Args:
            path: file for the output, or a folder. Several outputs are saved as ``circle.png``, ``circle-1.png`` and so
                on. An extension that the server knows sets ``output_format``. None: save nothing; :meth:`result` and
                :meth:`save` fetch the outputs later.
            on_update: called with every state of the job, as in :meth:`wait`.
            timeout_s: maximum wait in seconds, after which the job is cancelled. None: no limit.
            fields: see :class:`~framemill.job_fields.JobFields`. The submission is repeated safely if the connection
                breaks, because an ``idempotency_key`` is added.

        Returns:
            The job, with its seed, duration and outputs, and the files that were saved.

        Raises:
            JobFailed, JobCancelled: as in :meth:`wait`.
            WaitTimeout: the time limit has passed. The job is cancelled, as it is by Ctrl-C.
            ApiError, OSError, ValueError: as in :meth:`submit` and :meth:`result`.
        """
        job = self._json(routes.submit(files.idempotent(files.with_format(fields, path))), Job.from_dict)
        try:
            job = self.wait(job.id, on_update, timeout_s)
        except (WaitTimeout, KeyboardInterrupt):
            with suppress(ClientError):
                self.cancel(job.id)
            raise
        return Generated(job=job, files=() if path is None else self.save(job, path))

    def submit(self, **fields: Unpack[JobFields]) -> Job:
        """Submit a job; see :class:`~framemill.job_fields.JobFields`. Retried only with an ``idempotency_key``.

        Raises:
            ApiError: its ``fields`` name each rejected field. Code ``queue_full``: too many jobs wait, or arrive per
                minute. ``idempotency_mismatch``: the idempotency key was used for another request.
            ServerUnavailable: its ``maybe_received`` states whether the job may have been accepted.
            OSError: an image file cannot be read.
            ValueError: the idempotency key does not fit into a header.
        """
        return self._json(routes.submit(fields), Job.from_dict)

    def wait(
        self, job_id: str, on_update: Callable[[Job], object] | None = None, timeout_s: float | None = None
    ) -> Job:
        """Wait until the job has succeeded. The wait survives a restart of the server (up to 30 s).

        Args:
            job_id: the job.
            on_update: called with every state received, including the last one; several times per second while the
                job progresses.
            timeout_s: maximum wait in seconds, after which the job continues. None: no limit.

        Raises:
            JobFailed: the job failed or expired.
            JobCancelled: the job was cancelled.
            WaitTimeout: the time limit has passed.
        """
        poll = Poll(job_id, timeout_s, watched=on_update is not None)
        with closing(self._updates(job_id, poll)) as updates:
            for job in updates:
                if on_update is not None:
                    on_update(job)
                sleep_s = poll.received(job)
                if job.finished:
                    break
                if not poll.streams:
                    time.sleep(sleep_s)
        return job

    def _updates(self, job_id: str, poll: Poll) -> Generator[Job, None, None]:
        """Yield the states of a job without end, from polls or from events."""
        while True:
            try:
                job = self._json(routes.get(job_id, poll.next_wait()), Job.from_dict)
            except ApiError as error:
                time.sleep(poll.failed(error))
                continue
            yield job
            if not poll.streams:
                continue
            count, failure = 0, None
            try:
                with closing(self._listen(routes.events(job_id))) as events:
                    for event in events:
                        count += 1
                        yield event.job
                        if not poll.streams:
                            break
            except ApiError as exc:
                failure = exc
            time.sleep(poll.stream_ended(count, failure))

    def follow(self, job_id: str, after: str = "", *, previews: bool = False) -> Iterator[Event]:
        """Yield the events of a job until it finishes. A lost connection is resumed where it ended (for up to 30 s).

        Args:
            job_id: the job.
            after: ``event_id`` of the last known event; ``""``: begin with the current state.
            previews: make previews meanwhile. Each is announced by a ``preview`` event; :meth:`preview` fetches it.
        """
        routes.events(job_id)  # raises for an invalid id now, not at the first event
        return self._follow(job_id, after, previews=previews)

    def events(self, after: str = "") -> Iterator[Event]:
        """Yield the events of all jobs of this key (admin key: of all jobs) without end; see :meth:`follow`."""
        return self._follow(None, after)

    @overload
    def result(self, job_id: str, path: None = None, index: int = 0) -> bytes: ...
    @overload
    def result(self, job_id: str, path: str | PathLike[str], index: int = 0) -> Path: ...
    def result(self, job_id: str, path: str | PathLike[str] | None = None, index: int = 0) -> bytes | Path:
        """Download an output. With ``path``, it is streamed into that file, which appears only when complete.

        Args:
            job_id: the job.
            path: target file; None: return the bytes.
            index: index of the output, from 0.

        Raises:
            ApiError: code ``not_ready`` if the job has no result.
            OSError: the file cannot be written.
        """
        call = routes.job("GET", job_id, "/result", index=index)
        if path is None:
            return self._send(call, httpx2.Response.read)
        target = Path(path)
        part = wire.part_file(target)

        def save(response: httpx2.Response) -> None:
            with part.open("wb") as file:
                for chunk in response.iter_bytes(wire.CHUNK_BYTES):
                    file.write(chunk)

        try:
            self._send(call, save)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def save(self, job: Job, path: str | PathLike[str]) -> tuple[Path, ...]:
        """Download all outputs of a job that has succeeded, and return the files.

        Args:
            job: the job.
            path: file for the first output, or a folder; see :meth:`generate`.
        """
        return tuple(self.result(job.id, target, index) for index, target in files.targets(job, path))

    def list(
        self, state: str | Iterable[str] | None = None, limit: int | None = None, after: str | None = None,
        *, model: str | None = None, text: str | None = None, since: datetime | str | None = None,
        until: datetime | str | None = None, key: str | None = None,
    ) -> JobPage:  # fmt: skip
        """Return one page of the jobs, newest first.

        With ``model`` or ``text``, a page may have fewer jobs than ``limit`` although more follow.

        Args:
            state: only jobs in this state, or in one of these.
            limit: most jobs of the page; None: 50.
            after: ``next`` of the previous page.
            model: only jobs of this model.
            text: only jobs with all of these words in the prompt or the error, or at the beginning of the id.
            since: only jobs that were created at this time or later.
            until: only jobs that were created before this time.
            key: only jobs of this API key (admin).
        """
        filters = {"model": model, "text": text, "since": since, "until": until, "key": key}
        return self._json(routes.list_jobs(state, limit, after, filters), JobPage.from_dict)
