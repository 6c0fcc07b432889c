"""The bodies of a worker's calls.

What is no number or text in them is repaired (see :class:`jobs.strict_json.JsonReader`): refusing a result for a NaN in
a measurement would lose the job.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from flask import Request

from app.access import auth
from app.bodies.body_stream import BodyStream
from app.bodies.file_strings import FileString
from app.bodies.json_body import json_of
from app.extensions import settings, store
from app.protocols.aime.endpoints.served import endpoints
from app.protocols.aime.workers.pulling import MAX_SLOTS
from jobs.callers import Role
from jobs.errors import FramemillError, InvalidRequest, MalformedBody, Problem, Unauthorized
from jobs.store.credentials.api_keys import KeyRing
from jobs.strict_json import PIECE_BYTES, JsonReader, Limits

#: Largest progress of all jobs of a worker, with its previews, bytes.
MAX_PROGRESS_BYTES = 32 * 1024 * 1024
#: The same without its previews: the text so far of every job of the largest batch.
MAX_BATCH_TEXT_BYTES = 8 * 1024 * 1024
#: A body is read up to this length, to answer it: a worker repeats what it could not send to the end, without a pause.
MAX_READ_BYTES = 4 * 1024**3
#: Values in what a worker sends: a transcription has several for each word, and a batch for each job.
MAX_VALUES = 100_000

#: A member of an object that names a worker or its job. Quotes inside of texts follow a backslash.
_NAME = re.compile(rb'(?<!\\)"(job_id|job_type|auth|auth_key)"\s*:\s*"([^"\\]*)"')


def call_of(request: Request) -> dict[str, Any]:
    """Return the fields of a call without pictures. Raises: MalformedBody, Unauthorized."""
    text_bytes = settings().web.max_json_bytes
    body = _read(request, Limits(text_bytes, text_bytes))
    return body if isinstance(body, dict) else {}


def progress_of(request: Request) -> list[Any]:
    """Return what a worker reports about each of its jobs. Raises: TooMuch, MalformedBody, Unauthorized."""
    _check_header()
    return _items(_read_all(request, Limits(MAX_PROGRESS_BYTES, MAX_BATCH_TEXT_BYTES, MAX_VALUES)))


@contextmanager
def results_of(request: Request) -> Iterator[list[Any]]:
    """Return the results that a worker sends, with their files on the disk until the end of the block.

    Raises:
        TooMuch: they exceed a limit.
        MalformedBody, InvalidRequest: they make no sense.
        Unauthorized: the header has a wrong key.
        Unavailable: the disk is full.
    """
    _check_header()
    options = settings().web
    limits = Limits(options.max_result_bytes, options.max_json_bytes, MAX_VALUES)
    folder, reserve_bytes = settings().paths.data_dir / "tmp", settings().spool.reserve_bytes
    with ExitStack() as files:
        opened = lambda head: files.enter_context(FileString(head, folder, reserve_bytes))  # noqa: E731
        yield _items(_read_all(request, limits, opened))


class TooMuch(FramemillError):
    """A body that exceeds a limit. It was read to its end, or the worker would send it again.

    Attributes:
        fields: what names the worker and its job in it.
    """

    def __init__(self, problem: FramemillError, fields: dict[str, str]) -> None:
        super().__init__(problem.message)
        self.fields = fields


def _read_all(request: Request, limits: Limits, files: Callable[[str], FileString] | None = None) -> Any:
    """Return the body. Raises: TooMuch, MalformedBody, InvalidRequest, Unavailable."""
    stream = BodyStream(request, MAX_READ_BYTES)
    reader: JsonReader | None = JsonReader(limits, repair=True, files=files)
    problem: InvalidRequest | None = None
    first = last = b""
    while data := stream.read():
        first = first or data
        last = (last + data)[-PIECE_BYTES:]
        try:
            if reader is not None:
                reader.feed(data)
        except InvalidRequest as exc:
            problem, reader = exc, None
    if problem is not None:
        raise TooMuch(problem, _names_in(first) | _names_in(last))
    assert reader is not None
    return {} if reader.is_empty else reader.finish()


def _names_in(part: bytes) -> dict[str, str]:
    """Return what names a worker and its job in a part of a body."""
    return {name.decode(): value.decode("utf-8", "replace") for name, value in _NAME.findall(part)}


def _read(request: Request, limits: Limits) -> Any:
    _check_header()
    return json_of(request, limits, repair=True)


def _check_header() -> None:
    """Check a key in the header before the body is read; workers of today send theirs in the body."""
    if (secret := auth.secret()) is not None and not _is_worker_key(secret):
        raise Unauthorized("this key is not a worker's")


def _is_worker_key(secret: str) -> bool:
    if auth.is_open() or any(one.worker_key and one.accepts_worker_key(secret) for one in endpoints().by_name.values()):
        return True
    caller = KeyRing(store()).authenticate(secret)
    return caller is not None and caller.role is Role.WORKER


def _items(body: Any) -> list[Any]:
    items = body if isinstance(body, list) else [body]
    if len(items) > MAX_SLOTS:
        raise MalformedBody(Problem("body", f"must have at most {MAX_SLOTS} jobs, as many as a worker may have"))
    return items
