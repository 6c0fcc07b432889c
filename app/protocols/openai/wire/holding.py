"""Requests whose repeats get the same jobs: how one is recognised and opened."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

from flask import request

from app import held
from app.access import auth
from app.extensions import store
from app.held import HeldConnection, RequestMismatch
from app.media.decoding import off_the_hub
from jobs.errors import IdempotencyMismatch
from jobs.record import new_job_id
from jobs.store.held_requests import HeldRequest, HeldRequests, new_holder


def held_connection(route: str, body: Mapping[str, Any], fields: Mapping[str, Any], jobs: int) -> HeldConnection:
    """Open the current request, or take over the earlier one that it repeats.

    The SDKs repeat a request whose connection was lost or timed out, with the same body. An ``Idempotency-Key`` names
    the request, also after its response was received.

    Args:
        route: name of the route.
        body: the fields as they were sent.
        fields: the checked fields.
        jobs: number of jobs of a new request.

    Raises:
        ClientDisconnected.
        IdempotencyMismatch: the key was used for another request, which has not finished.
    """
    requests, key = HeldRequests(store(), auth.caller().key_id), request.headers.get("Idempotency-Key", "")
    request_id = f"openai-key-{hashlib.sha256(key.encode()).hexdigest()}" if key else f"openai-{secrets.token_hex(8)}"
    seed = int(fields.get("seed", -1))

    def new() -> HeldRequest:
        job_ids = tuple(new_job_id() for _ in range(jobs))
        return HeldRequest(
            requests.key_id, request_id, job_ids, secrets.randbelow(2**32) if seed < 0 else seed, new_holder()
        )

    digest = off_the_hub(lambda: _digest(route, body))
    try:
        return held.hold(requests, new, digest, forced=bool(key), random=seed < 0 and not key)
    except RequestMismatch:
        raise IdempotencyMismatch() from None


def _digest(route: str, body: Mapping[str, Any]) -> str:
    """Return a digest that is equal for equal fields: the boundary of a form differs with each try."""
    digest = hashlib.sha256(route.encode())
    for name, value in sorted(body.items()):
        for part in value if isinstance(value, list) else [value]:
            data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
            digest.update(f"{name} {len(data)} ".encode())
            digest.update(data)
    return digest.hexdigest()
