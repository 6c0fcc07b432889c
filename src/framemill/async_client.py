"""The client for asyncio: :class:`framemill.client.Client` with ``await``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, suppress
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Unpack, overload

import httpx2

from framemill.errors import ApiError, ClientError, WaitTimeout
from framemill.job_fields import JobFields
from framemill.records import Event, Generated, Job, JobPage
from framemill.transport import files, routes, wire
from framemill.transport.async_operations import AsyncOperations
from framemill.transport.polling import Poll


class AsyncClient(AsyncOperations):
    """:class:`~framemill.client.Client` for one event loop. Use ``async with``, or ``await close()``.

    Args:
        base_url: the server's address, including the path prefix of a reverse proxy if there is one.
        api_key: sent as ``Authorization: Bearer``; None: no key.
        timeout_s: maximum wait for a connection and for each part of a response, in seconds.
    """

    async def generate(
        self,
        path: str | PathLike[str] | None = None,
        *,
        on_update: Callable[[Job], object] | None = None,
        timeout_s: float | None = None,
        **fields: Unpack[JobFields],
    ) -> Generated:
        """Submit a job, wait, and save its outputs; see :meth:`framemill.client.Client.generate`.

        The job is also cancelled if the task that awaits it is cancelled.
        """
        job = await self._json(routes.submit(files.idempotent(files.with_format(fields, path))), Job.from_dict)
        try:
            job = await self.wait(job.id, on_update, timeout_s)
        except (WaitTimeout, asyncio.CancelledError):
            with suppress(ClientError):
                await self.cancel(job.id)
            raise
        return Generated(job=job, files=() if path is None else await self.save(job, path))

    async def submit(self, **fields: Unpack[JobFields]) -> Job:
        """Submit a job; see :meth:`framemill.client.Client.submit`."""
        return await self._json(routes.submit(fields), Job.from_dict)

    async def wait(
        self, job_id: str, on_update: Callable[[Job], object] | None = None, timeout_s: float | None = None
    ) -> Job:
        """Wait until the job has succeeded; see :meth:`framemill.client.Client.wait`."""
        poll = Poll(job_id, timeout_s, watched=on_update is not None)
        async with aclosing(self._updates(job_id, poll)) as updates:
            async for job in updates:
                if on_update is not None:
                    on_update(job)
                sleep_s = poll.received(job)
                if job.finished:
                    break
                if not poll.streams:
                    await asyncio.sleep(sleep_s)
        return job

    async def _updates(self, job_id: str, poll: Poll) -> AsyncGenerator[Job, None]:
        while True:
            try:
                job = await self._json(routes.get(job_id, poll.next_wait()), Job.from_dict)
            except ApiError as error:
                await asyncio.sleep(poll.failed(error))
                continue
            yield job
            if not poll.streams:
                continue
            count, failure = 0, None
            try:
                async with aclosing(self._listen(routes.events(job_id))) as events:
                    async for event in events:
                        count += 1
                        yield event.job
                        if not poll.streams:
                            break
            except ApiError as exc:
                failure = exc
            await asyncio.sleep(poll.stream_ended(count, failure))

    def follow(self, job_id: str, after: str = "", *, previews: bool = False) -> AsyncIterator[Event]:
        """Yield the events of a job (``async for``); see :meth:`framemill.client.Client.follow`."""
        routes.events(job_id)  # raises for an invalid id now, not at the first event
        return self._follow(job_id, after, previews=previews)

    def events(self, after: str = "") -> AsyncIterator[Event]:
        """Yield the events of all jobs of this key without end (``async for``); see :meth:`follow`."""
        return self._follow(None, after)

    @overload
    async def result(self, job_id: str, path: None = None, index: int = 0) -> bytes: ...
    @overload
    async def result(self, job_id: str, path: str | PathLike[str], index: int = 0) -> Path: ...
    async def result(self, job_id: str, path: str | PathLike[str] | None = None, index: int = 0) -> bytes | Path:
        """Download an output, into a file if ``path`` is given; see :meth:`framemill.client.Client.result`."""
        call = routes.job("GET", job_id, "/result", index=index)
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

    async def save(self, job: Job, path: str | PathLike[str]) -> tuple[Path, ...]:
        """Download all outputs of a job; see :meth:`framemill.client.Client.save`."""
        return tuple([await self.result(job.id, target, index) for index, target in files.targets(job, path)])

    async def list(
        self, state: str | Iterable[str] | None = None, limit: int | None = None, after: str | None = None,
        *, model: str | None = None, text: str | None = None, since: datetime | str | None = None,
        until: datetime | str | None = None, key: str | None = None,
    ) -> JobPage:  # fmt: skip
        """Return one page of the jobs; see :meth:`framemill.client.Client.list`."""
        filters = {"model": model, "text": text, "since": since, "until": until, "key": key}
        return await self._json(routes.list_jobs(state, limit, after, filters), JobPage.from_dict)
