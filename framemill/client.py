"""The client for ordinary code. :mod:`framemill.async_client` is its twin for asyncio."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack, overload

import httpx2

from framemill import wire
from framemill.errors import ApiError
from framemill.polling import Poll
from framemill.records import BulkCancellation, Cancellation, Status, Task, TaskPage

T = TypeVar("T")


class Client:
    """Talks to one server. Use it in a ``with`` block, or call :meth:`close`; safe to share between threads.

    Every method raises :class:`~framemill.errors.ApiError` when the server refuses and
    :class:`~framemill.errors.ServerUnavailable` when it does not answer. Reads are tried several times; a call
    that changes something is sent again only if it certainly had not arrived.

    Args:
        base_url: the server's address, with the path prefix of a reverse proxy if there is one.
        api_key: sent as ``Authorization: Bearer``; None: no key.
        timeout_s: longest wait for a connection and for each piece of an answer, seconds.
    """

    def __init__(
        self, base_url: str = "http://127.0.0.1:8000", api_key: str | None = None, timeout_s: float = 30
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._http = httpx2.Client(**wire.options(self.base_url, api_key, timeout_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, **fields: Unpack[wire.Fields]) -> Task:
        """Send a job; see :class:`~framemill.wire.Fields`. Never sent twice.

        Raises:
            ApiError: ``fields`` of it names each refused field; code ``queue_full`` when too many jobs wait.
            ServerUnavailable: ``maybe_received`` of it says whether the job may have been accepted.
            OSError: the image file cannot be read.
        """
        return self._json(wire.submit(fields), Task.from_dict)

    def status(self, task_id: str) -> Status:
        """Where the job is."""
        return self._json(wire.task("GET", task_id, "/status"), Status.from_dict)

    def wait(
        self, task_id: str, on_status: Callable[[Status], object] | None = None, timeout_s: float | None = None
    ) -> Status:
        """Wait until the job has succeeded. A restart of the server meanwhile is waited out (30 s).

        Args:
            task_id: the job.
            on_status: called with every status received, the last one included.
            timeout_s: give up after this many seconds; the job goes on. None: wait as long as it takes.

        Raises:
            JobFailed: it failed or expired.
            JobCancelled: it was cancelled.
            WaitTimeout: the time is up.
        """
        poll = Poll(task_id, timeout_s)
        while True:
            try:
                status = self.status(task_id)
            except ApiError as error:
                time.sleep(poll.refused(error))
                continue
            if on_status is not None:
                on_status(status)
            sleep_s = poll.answered(status)
            if not sleep_s:
                return status
            time.sleep(sleep_s)

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
        call = wire.task("GET", task_id, "/result", index=index)
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

    def cancel(self, task_id: str) -> Cancellation:
        """Stop this job only; ``changed`` of the answer is False if it had ended before."""
        return self._json(wire.task("DELETE", task_id), Cancellation.from_dict)

    def cancel_running(self) -> BulkCancellation:
        """Stop every running job that this key may stop."""
        return self._json(wire.CANCEL_RUNNING, BulkCancellation.from_dict)

    def list(self, state: str | None = None, limit: int | None = None, after: str | None = None) -> TaskPage:
        """A page of jobs, newest first as the server orders them.

        Args:
            state: only jobs in this state.
            limit: length of the page; None: the server's default.
            after: ``next`` of the page before.
        """
        return self._json(wire.list_tasks(state, limit, after), TaskPage.from_dict)

    def models(self) -> Sequence[Mapping[str, Any]]:
        """The models with their kinds, defaults and limits."""
        return self._json(wire.MODELS, lambda answer: answer["models"])

    def service_status(self) -> Mapping[str, Any]:
        """What the server as a whole does: queue, slots, devices."""
        return self._json(wire.SERVICE, dict)

    def _json(self, call: wire.Call, build: Callable[[Any], T]) -> T:
        def read(response: httpx2.Response) -> T:
            response.read()
            return wire.answer_of(response, build)

        return self._send(call, read)

    def _send(self, call: wire.Call, read: Callable[[httpx2.Response], T]) -> T:
        """Send, check the status, and let ``read`` consume the answer; a failed read starts all over."""
        waits = wire.retry_waits()
        while True:
            try:
                with self._http.stream(**call.arguments()) as response:
                    if response.status_code >= 300:
                        response.read()
                        raise wire.error_of(response)
                    return read(response)
            except httpx2.RequestError as exc:
                if not waits or not call.may_repeat(exc):
                    raise wire.no_answer(call, self.base_url, exc) from exc
            time.sleep(waits.pop(0))
