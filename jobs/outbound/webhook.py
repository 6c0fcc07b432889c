"""What a webhook is: where it goes, which events it tells, how it is signed (Standard Webhooks).

Deliveries are kept and given out by :mod:`jobs.store.webhook_outbox` and sent by :mod:`workers.parent.webhook_sender`.
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
from jobs.outbound.ssrf import Exchange, Refused, parse_link, receiver
from jobs.settings import Settings

EVENT_PREFIX = "job."
STARTED = EVENT_PREFIX + "started"
#: What is told unless a webhook names its events: the end of a job, whichever it is.
ENDS = ("job.succeeded", "job.failed", "job.cancelled", "job.expired")
EVENTS = (STARTED, *ENDS)

#: What every secret begins with, by the specification.
SECRET_PREFIX = "whsec_"  # noqa: S105  (a prefix, not a secret)
#: By the specification: 24 to 64 bytes.
_SECRET_BYTES = range(24, 65)


@dataclass(frozen=True)
class Webhook:
    """Where a job's events go."""

    url: str
    events: tuple[str, ...] = ENDS

    def to_json(self) -> str:
        """As the record holds it; the scripts read ``to`` and ``events``."""
        return json.dumps({"url": self.url, "to": receiver(parse_link(self.url)), "events": self.events})

    @classmethod
    def from_json(cls, text: str) -> Webhook:
        values = json.loads(text)
        return cls(values["url"], tuple(values["events"]))


def checked(
    url: str, events: Iterable[str] | None, settings: Settings, *,
    fields: tuple[str, str] = ("webhook_url", "webhook_events"),
) -> Webhook:  # fmt: skip
    """A webhook that may be kept; its host is looked up.

    Args:
        url: where to.
        events: None: the default ones.
        settings: which private hosts are allowed, and how long the look-up may take.
        fields: names of the two, for the error.

    Raises:
        InvalidRequest.
    """
    problems = []
    wanted = tuple(dict.fromkeys(ENDS if events is None else events))
    unknown = [event for event in wanted if event not in EVENTS]
    if unknown or not wanted:
        problems.append(Problem(fields[1], f"must be one or more of {', '.join(EVENTS)}", ", ".join(unknown) or None))
    shown = None if "@" in url or "?" in url else url  # it may hold a password or a token
    exchange = Exchange(settings.webhooks.timeout_s, settings.webhooks.allowed_hosts)
    try:
        link = parse_link(url)
        exchange.within(lambda: exchange.addresses(link))
    except Refused as exc:
        problems.append(Problem(fields[0], str(exc), shown))
    except TimeoutError:
        problems.append(Problem(fields[0], "the link's host must be found in time", shown))
    if problems:
        raise InvalidRequest(*problems)
    return Webhook(link._replace(fragment="").geturl(), wanted)


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def secret_bytes(secret: str) -> bytes:
    """What a secret stands for. Raises: ValueError: it is none."""
    try:
        found = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        found = b""
    if not secret.startswith(SECRET_PREFIX) or len(found) not in _SECRET_BYTES:
        raise ValueError("must be whsec_ and the base64 of 24 to 64 bytes")
    return found


def signed_headers(keys: Sequence[str], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The headers by which a receiver knows that a message is ours: one signature for each secret."""
    content = f"{message_id}.{timestamp_s}.".encode() + body
    digests = (hmac.digest(secret_bytes(secret), content, hashlib.sha256) for secret in keys)
    signature = " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp_s), "webhook-signature": signature}


def message(event: str, timestamp: str | None, view: dict[str, Any]) -> bytes:
    """The body: what happened, when, and the job as it is now, without its request: prompts may be long, or private."""
    data = {name: value for name, value in view.items() if name not in ("request", "warnings")}
    return json.dumps({"type": event, "timestamp": timestamp, "data": data}, ensure_ascii=False).encode()
