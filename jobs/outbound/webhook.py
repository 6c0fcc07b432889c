"""Webhooks: their URL and events, and the signature of their messages (Standard Webhooks).

:mod:`jobs.store.outgoing.webhook_outbox` stores pending deliveries, and :mod:`workers.parent.webhook_sender` sends
them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.errors import InvalidRequest, Problem
from jobs.outbound.links import LinkRefused, parse_link, receiver
from jobs.outbound.post import check_address
from jobs.settings import Settings

EVENT_PREFIX = "job."
STARTED = EVENT_PREFIX + "started"
#: Events of a webhook that names none: the end of a job.
ENDS = ("job.succeeded", "job.failed", "job.cancelled", "job.expired")
PAUSED = EVENT_PREFIX + "paused"
EVENTS = (STARTED, PAUSED, *ENDS)

#: Prefix of every secret according to the specification.
SECRET_PREFIX = "whsec_"  # noqa: S105  (a prefix, not a secret)
#: Length of a secret according to the specification: 24 to 64 bytes.
_SECRET_BYTES = range(24, 65)


@dataclass(frozen=True)
class Webhook:
    """The receiver of a job's events."""

    url: str
    events: tuple[str, ...] = ENDS

    def to_json(self) -> str:
        """Return the value that the record stores. Lua scripts read ``to`` and ``events``."""
        return json.dumps({"url": self.url, "to": receiver(parse_link(self.url)), "events": self.events})

    @classmethod
    def from_json(cls, text: str) -> Webhook:
        values = json.loads(text)
        return cls(values["url"], tuple(values["events"]))


def checked(
    url: str, events: Iterable[str] | None, settings: Settings, *,
    fields: tuple[str, str] = ("webhook_url", "webhook_events"),
) -> Webhook:  # fmt: skip
    """Return a checked webhook. Its host is resolved.

    Args:
        url: URL of the receiver.
        events: names of events; None for the default ones.
        settings: which private hosts are allowed, and the time limit for resolving the host.
        fields: names of URL and events in errors.

    Raises:
        InvalidRequest.
    """
    problems = []
    requested = tuple(dict.fromkeys(ENDS if events is None else events))
    unknown = [event for event in requested if event not in EVENTS]
    if unknown or not requested:
        problems.append(Problem(fields[1], f"must be one or more of {', '.join(EVENTS)}", ", ".join(unknown) or None))
    shown = None if "@" in url or "?" in url else url  # it may contain a password or a token
    options = settings.webhooks
    try:
        link = check_address(url, timeout_s=options.timeout_s, allow_hosts=options.allowed_hosts)
    except LinkRefused as exc:
        problems.append(Problem(fields[0], f"is not allowed: {exc}", shown))
    if problems:
        raise InvalidRequest(*problems)
    return Webhook(link._replace(fragment="").geturl(), requested)


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def secret_bytes(secret: str) -> bytes:
    """Return the bytes of a secret. Raises: ValueError: it is malformed."""
    try:
        decoded = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        decoded = b""
    if not secret.startswith(SECRET_PREFIX) or len(decoded) not in _SECRET_BYTES:
        raise ValueError("must be whsec_ followed by 24 to 64 bytes in base64")
    return decoded


def signed_headers(keys: Sequence[str], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """Return the headers that authenticate a message: one signature for each secret."""
    content = f"{message_id}.{timestamp_s}.".encode() + body
    digests = (hmac.digest(secret_bytes(secret), content, hashlib.sha256) for secret in keys)
    signature = " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp_s), "webhook-signature": signature}


def message(event: str, timestamp: str | None, view: dict[str, Any]) -> bytes:
    """Return the body: event, time, and the present job without its request, since prompts may be long or private."""
    data = {name: value for name, value in view.items() if name not in ("request", "warnings")}
    return json.dumps({"type": event, "timestamp": timestamp, "data": data}, ensure_ascii=False).encode()
