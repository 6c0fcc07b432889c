"""Signed links: addresses of this server that are valid without a key for a time, as a page needs them.

The signature proves that a key's owner was shown the link. What the link leads to is decided when it is followed, by
what this key may see then. [docs/decisions/0044](../docs/decisions/0044-signed-links.md) has the reasons.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

#: Names in the query: when the link expires (seconds since 1970), the key that it acts for, and the proof.
EXPIRES, SIGNER, SIGNATURE = "expires", "signer", "signature"
#: The query that chooses between files of one path, and is therefore signed. Others, such as ``preview`` of a stream,
#: only choose how a resource is shown.
SIGNED_QUERY = "index"
#: Separates these signatures from any other use of the secret, and from later versions.
_PURPOSE = "framemill link 1 GET"
#: Links expire at multiples of this share of their lifetime, so that one shown again is the same and browsers cache it.
_STEPS = 4


@dataclass(frozen=True)
class LinkSigner:
    """Signs links for one key."""

    secret: str = field(repr=False)
    #: The key that the links act for.
    key_id: str
    #: When the links expire, seconds since 1970.
    expires_s: int

    @classmethod
    def lasting(cls, secret: str, key_id: str, lifetime_s: int, latest_s: int | None = None) -> LinkSigner:
        """Return a signer of links that expire after this time at the latest, and not before three quarters of it.

        Args:
            secret: the newest secret.
            key_id: the key that the links act for.
            lifetime_s: longest lifetime, seconds.
            latest_s: the links do not outlive this moment, seconds since 1970; None: no such moment.
        """
        step_s = max(1, lifetime_s // _STEPS)
        expires_s = int(time.time()) // step_s * step_s + lifetime_s
        return cls(secret, key_id, expires_s if latest_s is None else min(expires_s, latest_s))

    def query(self, path: str, index: str) -> str:
        """Return the query that makes a link to this path (and output) valid."""
        signature = _signature(self.secret, path, index, str(self.expires_s), self.key_id)
        return f"{EXPIRES}={self.expires_s}&{SIGNER}={quote(self.key_id, safe='')}&{SIGNATURE}={signature}"


def address(path: str, query: Mapping[str, int], signer: LinkSigner | None, base_url: str = "") -> str:
    """Return the address of a path with this query; it is signed if there is a signer."""
    parts = [f"{name}={value}" for name, value in query.items()]
    if signer:
        parts.append(signer.query(path, str(query.get(SIGNED_QUERY, ""))))
    text = "&".join(parts)
    return f"{base_url}{path}?{text}" if text else base_url + path


def is_signed(path: str, query: Mapping[str, str], secrets: Iterable[str]) -> bool:
    """Return whether a link was signed with one of these secrets. Whether it has expired is not checked."""
    index, expires, key_id, presented = (query.get(name, "") for name in (SIGNED_QUERY, EXPIRES, SIGNER, SIGNATURE))
    return any(
        hmac.compare_digest(_signature(secret, path, index, expires, key_id).encode(), presented.encode())
        for secret in secrets
    )


def _signature(secret: str, path: str, index: str, expires: str, key_id: str) -> str:
    # No part of what the server signs contains a line break, so a text can be split into parts in one way only.
    text = "\n".join((_PURPOSE, path, index, expires, key_id))
    digest = hmac.digest(secret.encode(), text.encode("utf-8", "surrogateescape"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
