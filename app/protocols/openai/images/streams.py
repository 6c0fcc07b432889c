"""Images as server-sent events: previews of the running job, and each image when it is finished."""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

from flask import Response, stream_with_context

from app import waiting
from app.access import auth
from app.events.hub import Listener
from app.events.streams import KEEPALIVE_S, event_stream, patiently
from app.extensions import hub, store
from app.held import ClientDisconnected, HeldConnection
from app.protocols.openai.images import views
from app.protocols.openai.wire.access import details_of
from jobs.errors import FramemillError
from jobs.record import Job
from jobs.states import JobState
from jobs.store import previews
from jobs.store.events import Event
from jobs.store.held_requests import HeldRequest
from jobs.strict_json import dumps

#: Raises an error if a job has ended without its images.
Check = Callable[[Job, HeldRequest], None]


def respond(connection: HeldConnection, kind: str, fields: Mapping[str, Any], check: Check) -> Response:
    """Return the events of a request whose jobs were submitted.

    Args:
        connection: the held request.
        kind: ``image_generation`` or ``image_edit``.
        fields: the fields of the request.
        check: raises an error if a job has ended without its images.
    """
    stream = _Stream(connection, kind, fields, check)

    def body() -> Iterator[bytes]:
        with suppress(ClientDisconnected):  # nobody reads on; the request waits for a repeat
            yield from connection.deliver(message.encode() for message in stream.messages())

    return event_stream(stream_with_context(body()))


class _Stream:
    """The messages of one stream; arguments as for :func:`respond`."""

    def __init__(self, connection: HeldConnection, kind: str, fields: Mapping[str, Any], check: Check) -> None:
        self._connection, self._kind, self._fields, self._check = connection, kind, fields, check
        self._most, self._sent = int(fields.get("partial_images", 0)), 0
        #: Whether there is a preview that was not sent.
        self._is_new = False

    def messages(self) -> Iterator[str]:
        """Yield the events until the last image, or until an error. Raises: ClientDisconnected."""
        yield from patiently(hub().start)
        try:
            with self._connection.let_go_on_error(), ExitStack() as stack:
                job_ids = self._connection.request.job_ids
                listeners = [stack.enter_context(waiting.listening(job_id)) for job_id in job_ids]
                for job_id, listener in zip(job_ids, listeners, strict=True):
                    job = yield from self._follow(job_id, listener)
                    if not (yield from patiently(auth.still_valid)):
                        return
                    self._check(job, self._connection.request)
                    for index in range(len(job.outputs)):
                        event = partial(views.completed_image, self._kind, self._fields, job, index)
                        yield _text((yield from patiently(event)))
        except FramemillError as exc:
            yield _text({"type": "error", **details_of(exc)})

    def _follow(self, job_id: str, listener: Listener) -> Generator[str, None, Job]:
        """Yield the previews of a job, and return it when it has finished."""
        with self._connection.watched(listener):
            job = yield from patiently(lambda: store().get(job_id))
            while not job.state.is_terminal:
                self._connection.check()
                try:
                    event = listener.get(KEEPALIVE_S)
                except queue.Empty:
                    yield ": still here\n\n"
                    continue
                if event is None or JobState(event.fields["state"]).is_terminal:
                    job = yield from patiently(partial(waiting.job_after, event, job_id))
                elif self._is_due(event):
                    yield from self._preview(job, event)
            return job

    def _is_due(self, event: Event) -> bool:
        """Return whether to send the newest preview now: each belongs to another part of the steps.

        It is sent when it is made; one of an earlier part only if this part has none until its end.
        """
        self._is_new |= "preview" in event.fields
        if self._sent >= self._most or not self._is_new or "step" not in event.fields:
            return False
        step = int(event.fields.get("preview") or event.fields["step"])
        share = step / max(1, int(event.fields["steps"])) * (self._most + 1)
        return share >= self._sent + (0.5 if "preview" in event.fields else 1.5)

    def _preview(self, job: Job, event: Event) -> Iterator[str]:
        preview = yield from patiently(lambda: previews.newest(store(), event.job_id))
        if preview is not None:
            yield _text(views.partial_image(self._kind, self._fields, self._sent, job, preview))
            self._sent += 1
        self._is_new = False


def _text(data: Mapping[str, Any]) -> str:
    return f"event: {data['type']}\ndata: {dumps(data)}\n\n"
