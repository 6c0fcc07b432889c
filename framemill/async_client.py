"""The client for asyncio: :class:`framemill.client.Client` with ``await``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack, overload

import httpx2

from framemill import wire
from framemill.errors import ApiError
from framemill.polling import Poll
from framemill.records import BulkCancellation, Cancellation, Status, Task, TaskPage

T = TypeVar("T")


class AsyncClient:
    """As :class:`~framemill.client.Client`, for use within one event loop: ``async with``, or ``await close()``.

    Args:
        base_url: the server's address, with the path prefix of a reverse proxy if there is one.
        api_key: sent as ``Authorization: Bearer``; None: no key.
        timeout_s: longest wait for a connection and for each piece of an answer, seconds.
    """

    def __init__(
        self, base_url: str = "http://127.0.0.1:8000", api_key: str | None = None, timeout_s: float = 30
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._http = httpx2.AsyncClient(**wire.options(self.base_url, api_key, timeout_s))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def submit(self, **fields: Unpack[wire.Fields]) -> Task:
        """Send a job; fields and errors as :meth:`framemill.client.Client.submit`."""
        return await self._json(wire.submit(fields), Task.from_dict)

    async def status(self, task_id: str) -> Status:
        """Where the job is."""
        return await self._json(wire.task("GET", task_id, "/status"), Status.from_dict)

    async def wait(
        self, task_id: str, on_status: Callable[[Status], object] | None = None, timeout_s: float | None = None
    ) -> Status:
        """Wait until the job has succeeded; arguments and errors as :meth:`framemill.client.Client.wait`."""
        poll = Poll(task_id, timeout_s)
        while True:
            try:
                status = await self.status(task_id)
            except ApiError as error:
                await asyncio.sleep(poll.refused(error))
                continue
            if on_status is not None:
                on_status(status)
            sleep_s = poll.answered(status)
            if not sleep_s:
                return status
            await asyncio.sleep(sleep_s)

    @overload
    async def result(self, task_id: str, path: None = None, index: int = 0) -> bytes: ...
    @overload
    async def result(self, task_id: str, path: str | PathLike[str], index: int = 0) -> Path: ...
    async def result(self, task_id: str, path: str | PathLike[str] | None = None, index: int = 0) -> bytes | Path:
        """Fetch an output, into a file if ``path`` is given, as :meth:`framemill.client.Client.result`."""
        call = wire.task("GET", task_id, "/result", index=index)
        if path is None:
            return await self._send(call, httpx2.Response.aread)
        target = Path(path)
        part = wire.part_file(target)

        async def save(response: httpx2.Response) -> None:
            with part.open("wb") as file:
                async for chunk in response.aiter_bytes(wire.CHUNK_BYTES):
                    file.write(chunk)

        try:
            await self._send(call, save)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    async def cancel(self, task_id: str) -> Cancellation:
        """Stop this job only; ``changed`` of the answer is False if it had ended before."""
        return await self._json(wire.task("DELETE", task_id), Cancellation.from_dict)

    async def cancel_running(self) -> BulkCancellation:
        """Stop every running job that this key may stop."""
        return await self._json(wire.CANCEL_RUNNING, BulkCancellation.from_dict)

    async def list(self, state: str | None = None, limit: int | None = None, after: str | None = None) -> TaskPage:
        """A page of jobs; arguments as :meth:`framemill.client.Client.list`."""
        return await self._json(wire.list_tasks(state, limit, after), TaskPage.from_dict)

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """The models with their kinds, defaults and limits."""
        return await self._json(wire.MODELS, lambda answer: answer["models"])

    async def service_status(self) -> Mapping[str, Any]:
        """What the server as a whole does: queue, slots, devices."""
        return await self._json(wire.SERVICE, dict)

    async def _json(self, call: wire.Call, build: Callable[[Any], T]) -> T:
        async def read(response: httpx2.Response) -> T:
            await response.aread()
            return wire.answer_of(response, build)

        return await self._send(call, read)

    async def _send(self, call: wire.Call, read: Callable[[httpx2.Response], Awaitable[T]]) -> T:
        """Send, check the status, and let ``read`` consume the answer; a failed read starts all over."""
        waits = wire.retry_waits()
        while True:
            try:
                async with self._http.stream(**call.arguments()) as response:
                    if response.status_code >= 300:
                        await response.aread()
                        raise wire.error_of(response)
                    return await read(response)
            except httpx2.RequestError as exc:
                if not waits or not call.may_repeat(exc):
                    raise wire.no_answer(call, self.base_url, exc) from exc
            await asyncio.sleep(waits.pop(0))
