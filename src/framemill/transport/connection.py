"""Send requests and read responses: all network I/O of both clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, closing
from typing import Any, Self, TypeVar

import httpx2

from framemill.errors import ApiError
from framemill.records import Event
from framemill.transport import event_stream, routes, wire

T = TypeVar("T")


class Connection:
    """Connections to one server.

    Args:
        base_url: the server's address, including the path prefix of a reverse proxy if there is one.
        api_key: sent as ``Authorization: Bearer``; None: no key.
        timeout_s: maximum wait for a connection and for each part of a response, in seconds.

    Raises:
        ValueError: ``base_url`` is not an http or https address, or ``api_key`` contains characters of no key.
    """

    def __init__(
        self, base_url: str = "http://127.0.0.1:8000", api_key: str | None = None, timeout_s: float = 30
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout_s = timeout_s
        self._http = httpx2.Client(**wire.options(self.base_url, api_key, timeout_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _json(self, call: routes.Call, build: Callable[[Any], T]) -> T:
        def read(response: httpx2.Response) -> T:
            response.read()
            return wire.record_of(response, build)

        return self._send(call, read)

    def _send(self, call: routes.Call, read: Callable[[httpx2.Response], T]) -> T:
        """Send a call, check the status, and let ``read`` consume the response. A failed read repeats the call."""
        waits = wire.retry_waits()
        while True:
            try:
                with self._http.stream(**call.arguments(self.timeout_s)) as response:
                    if response.status_code >= 300:
                        response.read()
                        raise wire.error_of(response)
                    return read(response)
            except httpx2.RequestError as exc:
                if not waits or not call.may_repeat(exc):
                    raise wire.no_answer(call, self.base_url, exc) from exc
            time.sleep(waits.pop(0))

    def _listen(self, call: routes.Call) -> Generator[Event, None, None]:
        """Yield the events of one connection until it ends or fails."""
        try:
            with self._http.stream(**call.arguments(self.timeout_s)) as response:
                if response.status_code >= 300:
                    response.read()
                    raise wire.error_of(response)
                for message in event_stream.source(response):
                    if message.data:
                        yield event_stream.parse(message, response)
        except httpx2.RequestError as exc:
            raise wire.no_answer(call, self.base_url, exc) from exc

    def _follow(self, job_id: str | None, after: str, *, previews: bool = False) -> Generator[Event, None, None]:
        """Yield the events of a job until it finishes, or (None) of all jobs without end, and reconnect as needed."""
        resume = event_stream.Resume(after)
        while True:
            error = None
            try:
                with closing(self._listen(routes.events(job_id, resume.after, previews=previews))) as events:
                    for event in events:
                        resume.received(event)
                        yield event
                        if job_id is not None and event.job.finished:
                            return
            except ApiError as exc:
                error = exc
            time.sleep(resume.lost(error))


class AsyncConnection:
    """:class:`Connection` for one event loop."""

    def __init__(
        self, base_url: str = "http://127.0.0.1:8000", api_key: str | None = None, timeout_s: float = 30
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout_s = timeout_s
        self._http = httpx2.AsyncClient(**wire.options(self.base_url, api_key, timeout_s))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _json(self, call: routes.Call, build: Callable[[Any], T]) -> T:
        async def read(response: httpx2.Response) -> T:
            await response.aread()
            return wire.record_of(response, build)

        return await self._send(call, read)

    async def _send(self, call: routes.Call, read: Callable[[httpx2.Response], Awaitable[T]]) -> T:
        waits = wire.retry_waits()
        while True:
            try:
                async with self._http.stream(**call.arguments(self.timeout_s)) as response:
                    if response.status_code >= 300:
                        await response.aread()
                        raise wire.error_of(response)
                    return await read(response)
            except httpx2.RequestError as exc:
                if not waits or not call.may_repeat(exc):
                    raise wire.no_answer(call, self.base_url, exc) from exc
            await asyncio.sleep(waits.pop(0))

    async def _listen(self, call: routes.Call) -> AsyncGenerator[Event, None]:
        try:
            async with self._http.stream(**call.arguments(self.timeout_s)) as response:
                if response.status_code >= 300:
                    await response.aread()
                    raise wire.error_of(response)
                async for message in event_stream.source(response):
                    if message.data:
                        yield event_stream.parse(message, response)
        except httpx2.RequestError as exc:
            raise wire.no_answer(call, self.base_url, exc) from exc

    async def _follow(self, job_id: str | None, after: str, *, previews: bool = False) -> AsyncGenerator[Event, None]:
        resume = event_stream.Resume(after)
        while True:
            error = None
            try:
                async with aclosing(self._listen(routes.events(job_id, resume.after, previews=previews))) as events:
                    async for event in events:
                        resume.received(event)
                        yield event
                        if job_id is not None and event.job.finished:
                            return
            except ApiError as exc:
                error = exc
            await asyncio.sleep(resume.lost(error))
