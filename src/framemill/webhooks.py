"""Verify webhooks at the receiver."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

from framemill.errors import WrongSignature


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, tolerance_s: float = 300) -> dict[str, Any]:
    """Verify the signature of a request and return its message, following Standard Webhooks.

    Args:
        secret: the signing secret, ``whsec_…``.
        headers: headers of the request.
        body: body of the request, unchanged.
        tolerance_s: maximum difference between the sender's clock and this one, in seconds.

    Returns:
        ``type``, ``timestamp`` and ``data``. A message may arrive more than once, each time with the same
        ``webhook-id``: process it once.

    Raises:
        WrongSignature: a header is missing, the message is too old, or no signature matches.
        ValueError: ``secret`` is not a signing secret.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if name not in lowered]
    if missing:
        raise WrongSignature(f"{', '.join(missing)} missing")
    message_id, timestamp = lowered["webhook-id"], lowered["webhook-timestamp"]
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > tolerance_s:
        raise WrongSignature("the message is too old, or this clock is wrong")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signatures = [part[3:] for part in lowered["webhook-signature"].split() if part.startswith("v1,")]
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    expected = base64.b64encode(digest)
    if not any(hmac.compare_digest(expected, signature.encode()) for signature in signatures):
        raise WrongSignature("no signature matches")
    message: dict[str, Any] = json.loads(body)
    return message
