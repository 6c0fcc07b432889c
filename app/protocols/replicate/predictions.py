"""Create, list and follow predictions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import request

from app.access import addresses, auth
from app.extensions import dispatcher, objects, store
from app.fields import query_of
from app.payloads import rename_fields
from app.protocols.replicate import mapping, models, webhooks
from app.submit import accept, prepare
from jobs.errors import InvalidRequest, Problem
from jobs.models.spec import ModelSpec
from jobs.prediction_view import (
    AS_DATA,
    HAS_DEADLINE,
    OWNER,
    PREDICTIONS_PATH,
    PROTOCOL,
    STATUS,
    prediction_view,
)
from jobs.record import Job
from jobs.states import JobState
from jobs.store import listing
from jobs.store.listing import JobFilter

#: Longest wait of ``Prefer: wait``, seconds.
MAX_WAIT_S = 60.0
#: Share of that time after which the response is sent: clients give up half a second after its end.
_WAIT_SHARE = 0.97
#: Predictions per page.
PAGE = 100
_WAIT = re.compile(r"wait(?:\s*=\s*(\d{1,6}))?", re.IGNORECASE)
#: ``90``, ``90s``, ``1m30s``, ``1h``.
_DURATION = re.compile(r"(?=.)(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s?)?")
#: Shortest time after which a prediction is stopped, seconds.
MIN_DEADLINE_S = 5


def view(job: Job) -> dict[str, Any]:
    """Return a prediction as JSON."""
    return prediction_view(job, objects(), auth.signer(), addresses.base_url())


def create_of_version(body: Mapping[str, Any]) -> dict[str, Any]:
    """Create a prediction of the version that the body names; return it. Raises: FramemillError."""
    checked = mapping.checked(body, of_version=True)
    owner, spec = models.of_version(checked["version"])
    return _create(checked, owner, spec)


def create_of_model(body: Mapping[str, Any], owner: str, name: str) -> dict[str, Any]:
    """Create a prediction of a model; return it. Raises: FramemillError."""
    return _create(mapping.checked(body, of_version=False), owner, models.of_path(owner, name))


def _create(body: Mapping[str, Any], owner: str, spec: ModelSpec) -> dict[str, Any]:
    wait_s, deadline_s = _wait_s(), _deadline_s()
    mapped = mapping.map_input(body, spec)
    sent: dict[str, Any] = {OWNER: owner[:200], **({AS_DATA: True} if mapped.as_data else {})}
    values = dict(mapped.values)
    if deadline_s:
        values |= {"start_within_s": deadline_s, "max_run_s": deadline_s}
        sent[HAS_DEADLINE] = deadline_s
    try:
        prepared = prepare(
            values, mapped.pictures, mapped.warnings, protocol=PROTOCOL, sent=sent, webhook=webhooks.requested(body)
        )
    except InvalidRequest as exc:
        raise rename_fields(exc, mapped.names) from exc
    job = accept(prepared, wait_s * _WAIT_SHARE).job
    if wait_s and not job.state.is_terminal:
        # Clients that asked to wait take every other word for the end.
        return {**view(job), "status": STATUS[JobState.QUEUED]}
    return view(job)


def cancel(job_id: str) -> dict[str, Any]:
    """Stop a prediction; return it. Raises: JobNotFound."""
    auth.visible_job(job_id)
    job, _ = dispatcher().cancel(job_id)
    return view(job)


def page() -> dict[str, Any]:
    """Return a page of the caller's predictions, newest first. Raises: InvalidRequest: the cursor is wrong."""
    cursor = query_of(request).get("cursor")
    found = listing.page(store(), JobFilter(key_id=auth.caller().scope), limit=PAGE, after=cursor)
    following = f"{addresses.base_url()}{PREDICTIONS_PATH}?cursor={found.next}" if found.next else None
    shown = [view(replace(job, sent={**job.sent, AS_DATA: False})) for job in found.jobs if not job.command]
    return {"previous": None, "next": following, "results": shown}


def _wait_s() -> float:
    """Return how long the client waits for the end, seconds; 0: it does not."""
    for part in request.headers.get("Prefer", "").split(","):
        if found := _WAIT.fullmatch(part.strip()):
            return min(MAX_WAIT_S, float(found[1])) if found[1] else MAX_WAIT_S
    return 0.0


def _deadline_s() -> float:
    """Return ``Cancel-After`` in seconds, 0 without it. Raises: InvalidRequest."""
    text = request.headers.get("Cancel-After", "").strip()
    if not text:
        return 0.0
    found = _DURATION.fullmatch(text)
    seconds = (
        sum(int(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0
    )
    if seconds < MIN_DEADLINE_S:
        rule = f"must be a time such as 90, 90s or 1h30m, at least {MIN_DEADLINE_S} seconds"
        raise InvalidRequest(Problem("Cancel-After", rule, text))
    return float(seconds)
