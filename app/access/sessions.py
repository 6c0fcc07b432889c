"""Sessions of the console: a cookie that stands for a key, for requests that only this server's own pages send.

A browser adds cookies on its own, so the cookie counts for less than a key: a request must come from a page of this
origin, as the browser says, and a ``GET`` that changes something ignores it.
[docs/decisions/0054](../../docs/decisions/0054-console.md) has the reasons.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

from flask import Response, current_app, request

from app.access.origins import Origins
from app.extensions import settings, store
from jobs.callers import Caller, digest_of
from jobs.errors import Unauthorized
from jobs.store.credentials.api_keys import KeyRing
from jobs.store.credentials.link_secret import secrets_of

#: A session ends this long after its last renewal, seconds.
LIFETIME_S = 7 * 24 * 3600
#: The page renews a session that is older than this, seconds.
RENEW_AFTER_S = 24 * 3600
#: Separates these signatures from any other use of the secret, and from later versions.
_PURPOSE = "framemill session 1"


def caller_of_session() -> Caller | None:
    """Return the owner of the key that the current request's session stands for; None: it has no valid session.

    Raises:
        Unauthorized: the key was revoked.
        Unavailable.
    """
    changes = request.method not in ("GET", "HEAD")
    view = current_app.view_functions.get(request.endpoint or "")
    is_disguised = not changes and getattr(view, "changes_state", False)
    if cookie() is None or is_disguised or not is_own_page(changes=changes):
        return None
    expires_s, digest = _verified()
    if expires_s <= time.time():
        return None
    caller = KeyRing(store()).by_digest(digest)
    if caller is None:
        raise Unauthorized("the key of this session was revoked")
    return caller


def cookie() -> str | None:
    """Return the session cookie of the current request, or None."""
    return request.cookies.get(_name())


def is_own_page(*, changes: bool) -> bool:
    """Return whether a page of this server sent the current request; see :meth:`Origins.is_own_page`."""
    return Origins.of(settings()).is_own_page(request.headers, changes=changes)


def start(response: Response, secret: str) -> None:
    """Set the cookie of a new session that stands for a key, given by its secret. Raises: Unavailable."""
    _set(response, digest_of(secret))


def renew(response: Response) -> None:
    """Prolong the session of the current request if it is valid and older than a day. Raises: Unavailable."""
    expires_s, digest = _verified()
    if 0 < expires_s - time.time() < LIFETIME_S - RENEW_AFTER_S:
        _set(response, digest)


def end(response: Response) -> None:
    """Delete the cookie."""
    response.delete_cookie(_name(), path=_path(), httponly=True, samesite="Strict")


def _set(response: Response, digest: str) -> None:
    expires_s = int(time.time()) + LIFETIME_S
    value = f"{expires_s}.{digest}.{_signature(secrets_of(store())[0], str(expires_s), digest)}"
    response.set_cookie(
        _name(), value, max_age=LIFETIME_S, path=_path(), secure=_is_encrypted(), httponly=True, samesite="Strict"
    )  # fmt: skip


def _verified() -> tuple[int, str]:
    """Return when the session expires and the digest of its key; (0, '') if the cookie was not made by this server."""
    expires, _, rest = (cookie() or "").partition(".")
    digest, _, presented = rest.partition(".")
    if not any(
        hmac.compare_digest(_signature(secret, expires, digest).encode(), presented.encode("utf-8", "replace"))
        for secret in secrets_of(store())
    ):
        return 0, ""
    return int(expires), digest


def _signature(secret: str, expires: str, digest: str) -> str:
    text = "\n".join((_PURPOSE, expires, digest))
    made = hmac.digest(secret.encode(), text.encode("utf-8", "replace"), hashlib.sha256)
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def _name() -> str:
    """Return the name of the cookie. Servers on other ports of a host share its cookies, so the port is part of it."""
    _, _, port = request.host.rpartition(":")
    return f"framemill_session_{port}" if port.isdecimal() and ":" in request.host else "framemill_session"


def _path() -> str:
    return f"{request.script_root}/"


def _is_encrypted() -> bool:
    """Return whether the browser speaks TLS, which a proxy may have taken off."""
    addresses = (request.headers.get("Origin", ""), settings().web.public_url)
    return request.is_secure or any(address.lower().startswith("https://") for address in addresses)
