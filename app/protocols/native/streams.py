"""Follow jobs by server-sent events, with replay of missed events."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from flask import Response, request, stream_with_context

from app.access import addresses, auth, links
from app.events import direct
from app.events.hub import Listener
from app.events.streams import KEEPALIVE_S, event_stream, patiently
from app.extensions import hub, store
from app.protocols.native import previews
from jobs.errors import InvalidRequest, JobNotFound, Problem, Unavailable
from jobs.job_view import preview_view
from jobs.outbound.signed_links import LinkSigner
from jobs.record import Job
from jobs.states import JobState
from jobs.store.events import Event, order
from jobs.store.previews import INTEREST_S, ask, newest
from jobs.strict_json import dumps

View = Callable[[Job], dict[str, Any]]


def stream(
    view: View, *, job_id: str | None = None, key_id: str | None = None, preview: str = previews.NONE
) -> Response:
    """Return the server-sent events of one job until it has finished, or of all jobs of a key without end.

    Args:
        view: returns a job as JSON. It is sent first, after a gap, and when a job has finished.
        job_id: the job; None: all jobs of ``key_id``.
        key_id: the API key; None: all keys.
        preview: whether to make previews of the job while the stream lasts, and to send the pictures within it.

    Raises:
        InvalidRequest: ``Last-Event-ID`` is not an event id.
    """
    since = request.headers.get("Last-Event-ID", "")
    try:
        order(since or "0-0")
    except ValueError:
        raise InvalidRequest(Problem("Last-Event-ID", "must be an id of this stream", since)) from None
    interest = _Interest(job_id) if job_id and preview != previews.NONE else None
    messages = _Stream(view, job_id, key_id, interest, with_pictures=preview == previews.DATA).messages(since)
    return event_stream(stream_with_context(_until_deleted(messages)))


def _until_deleted(messages: Iterator[str]) -> Iterator[str]:
    with suppress(JobNotFound):  # the response has begun, so it can only end
        yield from messages


class _Interest:
    """The request of a stream for previews, renewed while the stream lasts."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._renewed_at = -float(INTEREST_S)

    def renew(self) -> None:
        now = time.monotonic()
        if now - self._renewed_at >= INTEREST_S - KEEPALIVE_S:
            self._renewed_at = now
            with suppress(Unavailable):  # then nobody makes previews
                ask(store(), self._job_id)


@dataclass
class _Stream:
    """The messages of one stream."""

    view: View
    job_id: str | None
    key_id: str | None
    interest: _Interest | None
    with_pictures: bool
    #: The newest event that the client was sent.
    last_id: str = ""

    def messages(self, since: str) -> Iterator[str]:
        """Yield what was missed after ``since`` (if it is no longer known: the present state), then new events."""
        yield from patiently(hub().start)
        with hub().listen(job_id=self.job_id, key_id=self.key_id) as listener:
            self.last_id = listener.last_id
            missed = (yield from patiently(lambda: self._missed(since))) if since else None
            if missed is None:
                text, over = yield from patiently(self._snapshot)
                yield text
                if over:
                    return
            for event in missed or ():
                self.last_id = event.event_id
                yield (yield from self._message(event))
                if self._ends_with(event):
                    return
            if missed == []:
                if self.job_id:
                    _, over = yield from patiently(self._snapshot)
                    if over:
                        return
                yield ": nothing was missed\n\n"
            yield from self._live(listener)

    def _missed(self, since: str) -> list[Event] | None:
        return hub().missed(since, job_id=self.job_id, key_id=self.key_id)

    def _live(self, listener: Listener) -> Iterator[str]:
        """Yield new events. Those that all listeners receive alike are written by the reader of the events."""
        writer = direct.writer()
        if writer:
            listener.handle_now = partial(self._write_now, writer, links.expires_s())
        while True:
            if self.interest:
                self.interest.renew()
            try:
                event = listener.get(KEEPALIVE_S)
            except queue.Empty:
                if not (yield from patiently(auth.still_valid)):
                    return
                yield ": still here\n\n"
                continue
            if writer:
                writer.flush()
            if links.is_over():
                return
            if event is None:  # this stream was too slow; the present state makes up for what it missed
                if self.job_id:
                    text, over = yield from patiently(self._snapshot)
                    yield text
                    if over:
                        return
                continue
            if order(event.event_id) <= order(self.last_id):
                continue
            if _state(event).is_terminal and not (yield from patiently(partial(auth.still_valid, event))):
                return
            self.last_id = event.event_id
            yield (yield from self._message(event))
            if self._ends_with(event):
                return

    def _write_now(self, writer: direct.DirectWriter, link_expires_s: int | None, event: Event) -> bool:
        """Write the message of an event, unless it needs the request: then return False."""
        chunk = _chunk(event)
        if not chunk or (link_expires_s is not None and link_expires_s <= time.time()):
            return False
        if order(event.event_id) <= order(self.last_id):
            return True
        is_written = writer.write(chunk)
        if is_written or writer.has_begun:
            self.last_id = event.event_id
        return is_written

    def _snapshot(self) -> tuple[str, bool]:
        """Return the message with the present state, and whether the job has finished."""
        if not self.job_id:
            # A message without data is not an event, but its id is where a client that reconnects continues.
            return f"id: {self.last_id}\n: listening\n\n", False
        job = store().get(self.job_id)
        return _text("status", self.last_id, self.view(job)), job.state.is_terminal

    def _message(self, event: Event) -> Generator[str, None, str]:
        """Return the message of an event, made once for all listeners that receive it with the same links."""
        make: Callable[[Event], str] | None = self._end if _state(event).is_terminal else None
        has_links = make is not None or "preview" in event.fields
        signer, prefix = ((yield from patiently(auth.signer)), addresses.prefix()) if has_links else (None, "")
        if self.with_pictures and "preview" in event.fields:
            make = partial(_with_picture, signer=signer, prefix=prefix)
        if make:
            name = ("picture" if isinstance(make, partial) else "end", event, signer, prefix)
            text = yield from patiently(lambda: hub().shared.get(name, lambda: make(event)))
        return (make and text) or _without_picture(event, signer, prefix)

    def _end(self, event: Event) -> str:
        """Return the message with the finished job; '' if its record was removed meanwhile."""
        try:
            return _text("end", event.event_id, self.view(store().get(event.job_id)))
        except JobNotFound:
            return ""

    def _ends_with(self, event: Event) -> bool:
        return self.job_id is not None and _state(event).is_terminal


def _state(event: Event) -> JobState:
    return JobState(event.fields["state"])


def _with_picture(event: Event, signer: LinkSigner | None, prefix: str) -> str:
    """Return the message of a preview with the picture as a data URL; '' if there is a newer picture."""
    picture = newest(store(), event.job_id)
    if picture is None or picture.step != int(event.fields["preview"]):
        return ""
    data = _data(event, signer, prefix)
    data["preview"]["data"] = f"data:{picture.media_type};base64,{picture.base64}"
    return _text("preview", event.event_id, data)


@lru_cache(maxsize=256)
def _without_picture(event: Event, signer: LinkSigner | None, prefix: str) -> str:
    """Return the message of an event, which is the same for every listener with the same links."""
    data = _data(event, signer, prefix)
    has_step = data["progress"]["step"] and data["state"] not in (JobState.QUEUED, JobState.PAUSED)
    name = "preview" if "preview" in data else "progress" if has_step else "state"
    return _text(name, event.event_id, data)


@lru_cache(maxsize=256)
def _chunk(event: Event) -> bytes:
    """Return the message that every listener receives alike; b'' if it has links or the job has finished."""
    if _state(event).is_terminal or "preview" in event.fields:
        return b""
    return direct.chunk_of(_without_picture(event, None, ""))


def _data(event: Event, signer: LinkSigner | None, prefix: str) -> dict[str, Any]:
    """Return the part of a job that an event carries."""
    fields = event.fields
    step, steps = int(fields.get("step", 0)), int(fields.get("steps", 0))
    data: dict[str, Any] = {
        "id": event.job_id,
        "state": _state(event),
        "progress": {
            "stage": fields.get("stage"),
            "stage_percent": int(fields["stage_percent"]) if "stage_percent" in fields else None,
            "step": step,
            "steps": steps,
            "percent": min(99, 100 * step // max(1, steps)),
        },
        "eta_s": float(fields["eta_s"]) if "eta_s" in fields else None,
    }
    data |= {name: fields[name] for name in ("slot", "device") if name in fields}
    if "pausing" in fields:
        data["pausing"] = True
    if "delivery_problem" in fields:
        data["waiting_for"] = fields["delivery_problem"]
    if "preview" in fields:
        data["preview"] = preview_view(event.job_id, int(fields["preview"]), signer, prefix)
    return data


def _text(name: str, event_id: str, data: Any) -> str:
    return f"id: {event_id}\nevent: {name}\ndata: {dumps(data)}\n\n"
