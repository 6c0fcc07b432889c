"""For receivers of webhooks: is a message from the server, and what does it say?"""

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
    """The message in a request, by the rules of Standard Webhooks.

    Args:
        secret: ``whsec_…``.
        headers: of the request.
        body: of the request, as it came.
        tolerance_s: how far the sender's clock and this one may differ, seconds.

    Returns:
        ``type``, ``timestamp`` and ``data``. Messages with the same ``webhook-id`` are one: handle it once.

    Raises:
        WrongSignature.
        ValueError: ``secret`` is none.
    """
    sent = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if name not in sent]
    if missing:
        raise WrongSignature(f"{', '.join(missing)} missing")
    message_id, timestamp = sent["webhook-id"], sent["webhook-timestamp"]
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > tolerance_s:
        raise WrongSignature("the message is too old, or this clock is wrong")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signatures = [part[3:] for part in sent["webhook-signature"].split() if part.startswith("v1,")]
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    expected = base64.b64encode(digest)
    if not any(hmac.compare_digest(expected, signature.encode()) for signature in signatures):
        raise WrongSignature("no signature fits")
    message: dict[str, Any] = json.loads(body)
    return message
