"""The client for asyncio: :class:`framemill.client.Client` with ``await``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from os import PathLike
from pathlib import Path
from typing import Unpack, overload

import httpx2

from framemill.errors import ApiError
from framemill.job_fields import JobFields
from framemill.records import Event, Status, Task, TaskPage
from framemill.transport import routes, wire
from framemill.transport.operations import AsyncOperations
from framemill.transport.polling import Poll


class AsyncClient(AsyncOperations):
    """:class:`~framemill.client.Client` for one event loop. Use ``async with``, or ``await close()``.

    Args:
        base_url: the server's address, including the path prefix of a reverse proxy if there is one.
        api_key: sent as ``Authorization: Bearer``; None: no key.
        timeout_s: maximum wait for a connection and for each part of a response, in seconds.
    """

    async def submit(self, **fields: Unpack[JobFields]) -> Task:
        """Submit a job; see :meth:`framemill.client.Client.submit`."""
        return await self._json(routes.submit(fields), Task.from_dict)

    async def wait(
        self, task_id: str, on_status: Callable[[Status], object] | None = None, timeout_s: float | None = None
    ) -> Status:
        """Wait until the job has succeeded; see :meth:`framemill.client.Client.wait`."""
        poll = Poll(task_id, timeout_s, watched=on_status is not None)
        async with aclosing(self._statuses(task_id, poll)) as statuses:
            async for status in statuses:
                if on_status is not None:
                    on_status(status)
                sleep_s = poll.received(status)
                if status.ended:
                    break
                if not poll.streams:
                    await asyncio.sleep(sleep_s)
        return status

    async def _statuses(self, task_id: str, poll: Poll) -> AsyncGenerator[Status, None]:
        while True:
            try:
                status = await self._json(routes.status(task_id, poll.next_wait()), Status.from_dict)
            except ApiError as error:
                await asyncio.sleep(poll.failed(error))
                continue
            yield status
            if not poll.streams:
                continue
            count, failure = 0, None
            try:
                async with aclosing(self._listen(routes.events(task_id))) as events:
                    async for event in events:
                        count += 1
                        yield event.status
                        if not poll.streams:
                            break
            except ApiError as exc:
                failure = exc
            await asyncio.sleep(poll.stream_ended(count, failure))

    def follow(self, task_id: str, after: str = "", *, previews: bool = False) -> AsyncIterator[Event]:
        """Yield the events of a job (``async for``); see :meth:`framemill.client.Client.follow`."""
        routes.events(task_id)  # raises for an invalid id now, not at the first event
        return self._follow(task_id, after, previews=previews)

    def events(self, after: str = "") -> AsyncIterator[Event]:
        """Yield the events of all jobs of this key without end (``async for``); see :meth:`follow`."""
        return self._follow(None, after)

    @overload
    async def result(self, task_id: str, path: None = None, index: int = 0) -> bytes: ...
    @overload
    async def result(self, task_id: str, path: str | PathLike[str], index: int = 0) -> Path: ...
    async def result(self, task_id: str, path: str | PathLike[str] | None = None, index: int = 0) -> bytes | Path:
        """Download an output, into a file if ``path`` is given; see :meth:`framemill.client.Client.result`."""
        call = routes.task("GET", task_id, "/result", index=index)
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

    async def list(self, state: str | None = None, limit: int | None = None, after: str | None = None) -> TaskPage:
        """Return one page of the jobs; see :meth:`framemill.client.Client.list`."""
        return await self._json(routes.list_tasks(state, limit, after), TaskPage.from_dict)
