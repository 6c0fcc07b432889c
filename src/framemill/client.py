"""The client for ordinary code. :mod:`framemill.async_client` is its twin for asyncio."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import Unpack, overload

import httpx2

from framemill import calls, wire
from framemill.errors import ApiError
from framemill.events import Event
from framemill.operations import Operations
from framemill.polling import Poll
from framemill.records import Status, Task, TaskPage


class Client(Operations):
    """Talks to one server. Use it in a ``with`` block, or call :meth:`close`; safe to share between threads.

    Every method raises :class:`~framemill.errors.ApiError` when the server refuses and
    :class:`~framemill.errors.ServerUnavailable` when it does not answer. Reads are tried several times; a call
    that changes something is sent again only if it certainly had not arrived or may safely arrive twice.

    Args:
        base_url: the server's address, with the path prefix of a reverse proxy if there is one.
        api_key: sent as ``Authorization: Bearer``; None: no key.
        timeout_s: longest wait for a connection and for each piece of an answer, seconds.
    """

    def submit(self, **fields: Unpack[calls.Fields]) -> Task:
        """Send a job; see :class:`~framemill.calls.Fields`. Sent again only with an ``idempotency_key``.

        Raises:
            ApiError: ``fields`` of it names each refused field; code ``queue_full`` when too many jobs wait or come,
                ``idempotency_mismatch`` when the idempotency key was used for another request.
            ServerUnavailable: ``maybe_received`` of it says whether the job may have been accepted.
            OSError: the image file cannot be read.
            ValueError: an idempotency key that a header cannot hold.
        """
        return self._json(calls.submit(fields), Task.from_dict)

    def wait(
        self, task_id: str, on_status: Callable[[Status], object] | None = None, timeout_s: float | None = None
    ) -> Status:
        """Wait until the job has succeeded. A restart of the server meanwhile is waited out (30 s).

        Args:
            task_id: the job.
            on_status: called with every status received, the last one included; several times a second while the
                job makes steps.
            timeout_s: give up after this many seconds; the job goes on. None: wait as long as it takes.

        Raises:
            JobFailed: it failed or expired.
            JobCancelled: it was cancelled.
            WaitTimeout: the time is up.
        """
        poll = Poll(task_id, timeout_s, watched=on_status is not None)
        with closing(self._statuses(task_id, poll)) as statuses:
            for status in statuses:
                if on_status is not None:
                    on_status(status)
                sleep_s = poll.answered(status)
                if status.ended:
                    break
                if not poll.streams:
                    time.sleep(sleep_s)
        return status

    def _statuses(self, task_id: str, poll: Poll) -> Generator[Status, None, None]:
        """What is heard of a job, by asking or by events, without end."""
        while True:
            try:
                status = self._json(calls.status(task_id, poll.ask()), Status.from_dict)
            except ApiError as error:
                time.sleep(poll.refused(error))
                continue
            yield status
            if not poll.streams:
                continue
            heard, failure = 0, None
            try:
                with closing(self._listen(calls.events(task_id))) as events:
                    for event in events:
                        heard += 1
                        yield event.status
                        if not poll.streams:
                            break
            except ApiError as exc:
                failure = exc
            time.sleep(poll.stream_ended(heard, failure))

    def follow(self, task_id: str, after: str = "", *, previews: bool = False) -> Iterator[Event]:
        """The events of a job until it is over. A lost connection is taken up again where it broke off (30 s).

        Args:
            task_id: the job.
            after: ``event_id`` of the last event that is known already; ``""``: begin with the present state.
            previews: have previews made meanwhile; each is an event ``preview``, and :meth:`preview` fetches it.
        """
        calls.events(task_id)  # a wrong id is refused now, not at the first event
        return self._follow(task_id, after, previews=previews)

    def events(self, after: str = "") -> Iterator[Event]:
        """The events of all jobs of this key (with an admin's key: of all jobs), without end; as :meth:`follow`."""
        return self._follow(None, after)

    @overload
    def result(self, task_id: str, path: None = None, index: int = 0) -> bytes: ...
    @overload
    def result(self, task_id: str, path: str | PathLike[str], index: int = 0) -> Path: ...
    def result(self, task_id: str, path: str | PathLike[str] | None = None, index: int = 0) -> bytes | Path:
        """Fetch an output. With ``path`` it is streamed into that file, which appears only when complete.

        Args:
            task_id: the job.
            path: where to store it; None: return the bytes.
            index: which output, from 0.

        Raises:
            ApiError: code ``result_not_ready`` for a job without a result.
            OSError: the file cannot be written.
        """
        call = calls.task("GET", task_id, "/result", index=index)
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

    def list(self, state: str | None = None, limit: int | None = None, after: str | None = None) -> TaskPage:
        """A page of jobs, newest first as the server orders them.

        Args:
            state: only jobs in this state.
            limit: length of the page; None: the server's default.
            after: ``next`` of the page before.
        """
        return self._json(calls.list_tasks(state, limit, after), TaskPage.from_dict)
