"""The client for asyncio: :class:`framemill.client.Client` with ``await``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from os import PathLike
from pathlib import Path
from typing import Unpack, overload

import httpx2

from framemill import calls, wire
from framemill.errors import ApiError
from framemill.events import Event
from framemill.operations import AsyncOperations
from framemill.polling import Poll
from framemill.records import Status, Task, TaskPage


class AsyncClient(AsyncOperations):
    """As :class:`~framemill.client.Client`, for use within one event loop: ``async with``, or ``await close()``.

    Args:
        base_url: the server's address, with the path prefix of a reverse proxy if there is one.
        api_key: sent as ``Authorization: Bearer``; None: no key.
        timeout_s: longest wait for a connection and for each piece of an answer, seconds.
    """

    async def submit(self, **fields: Unpack[calls.Fields]) -> Task:
        """Send a job; fields and errors as :meth:`framemill.client.Client.submit`."""
        return await self._json(calls.submit(fields), Task.from_dict)

    async def wait(
        self, task_id: str, on_status: Callable[[Status], object] | None = None, timeout_s: float | None = None
    ) -> Status:
        """Wait until the job has succeeded; arguments and errors as :meth:`framemill.client.Client.wait`."""
        poll = Poll(task_id, timeout_s, watched=on_status is not None)
        async with aclosing(self._statuses(task_id, poll)) as statuses:
            async for status in statuses:
                if on_status is not None:
                    on_status(status)
                sleep_s = poll.answered(status)
                if status.ended:
                    break
                if not poll.streams:
                    await asyncio.sleep(sleep_s)
        return status

    async def _statuses(self, task_id: str, poll: Poll) -> AsyncGenerator[Status, None]:
        while True:
            try:
                status = await self._json(calls.status(task_id, poll.ask()), Status.from_dict)
            except ApiError as error:
                await asyncio.sleep(poll.refused(error))
                continue
            yield status
            if not poll.streams:
                continue
            heard, failure = 0, None
            try:
                async with aclosing(self._listen(calls.events(task_id))) as events:
                    async for event in events:
                        heard += 1
                        yield event.status
                        if not poll.streams:
                            break
            except ApiError as exc:
                failure = exc
            await asyncio.sleep(poll.stream_ended(heard, failure))

    def follow(self, task_id: str, after: str = "", *, previews: bool = False) -> AsyncIterator[Event]:
        """The events of a job, with ``async for``; arguments as :meth:`framemill.client.Client.follow`."""
        calls.events(task_id)  # a wrong id is refused now, not at the first event
        return self._follow(task_id, after, previews=previews)

    def events(self, after: str = "") -> AsyncIterator[Event]:
        """The events of all jobs of this key, with ``async for``, without end; as :meth:`follow`."""
        return self._follow(None, after)

    @overload
    async def result(self, task_id: str, path: None = None, index: int = 0) -> bytes: ...
    @overload
    async def result(self, task_id: str, path: str | PathLike[str], index: int = 0) -> Path: ...
    async def result(self, task_id: str, path: str | PathLike[str] | None = None, index: int = 0) -> bytes | Path:
        """Fetch an output, into a file if ``path`` is given, as :meth:`framemill.client.Client.result`."""
        call = calls.task("GET", task_id, "/result", index=index)
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
        """A page of jobs; arguments as :meth:`framemill.client.Client.list`."""
        return await self._json(calls.list_tasks(state, limit, after), TaskPage.from_dict)
