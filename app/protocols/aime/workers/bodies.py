"""The bodies of a worker's calls.

What is no number or text in them is repaired (see :class:`jobs.strict_json.JsonReader`): refusing a result for a NaN in
a measurement would lose the job.
"""

from __future__ import annotations

from typing import Any

from flask import Request

from app.access import auth
from app.bodies.json_body import json_of
from app.extensions import settings, store
from app.protocols.aime.endpoints.served import endpoints
from app.protocols.aime.workers.pulling import MAX_SLOTS
from jobs.callers import Role
from jobs.errors import MalformedBody, Problem, Unauthorized
from jobs.store.api_keys import KeyRing
from jobs.strict_json import Limits

#: Largest progress of all jobs of a worker, with its previews, bytes.
MAX_PROGRESS_BYTES = 32 * 1024 * 1024
#: The same without its previews: the text so far of every job of the largest batch.
MAX_BATCH_TEXT_BYTES = 8 * 1024 * 1024
#: Values in what a worker sends: a transcription has several for each word, and a batch for each job.
MAX_VALUES = 100_000


def call_of(request: Request) -> dict[str, Any]:
    """Return the fields of a call without pictures. Raises: MalformedBody, Unauthorized."""
    text_bytes = settings().web.max_json_bytes
    body = _read(request, Limits(text_bytes, text_bytes))
    return body if isinstance(body, dict) else {}


def progress_of(request: Request) -> list[Any]:
    """Return what a worker reports about each of its jobs. Raises: MalformedBody, Unauthorized."""
    return _items(_read(request, Limits(MAX_PROGRESS_BYTES, MAX_BATCH_TEXT_BYTES, MAX_VALUES)))


def results_of(request: Request) -> list[Any]:
    """Return the results that a worker sends. Raises: MalformedBody, Unauthorized."""
    options = settings().web
    return _items(_read(request, Limits(options.max_result_bytes, options.max_json_bytes, MAX_VALUES)))


def _read(request: Request, limits: Limits) -> Any:
    """Return the body. A key in the header is checked before; workers of today send theirs in the body."""
    if (secret := auth.secret()) is not None and not _is_worker_key(secret):
        raise Unauthorized("this key is not a worker's")
    return json_of(request, limits, repair=True)


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
