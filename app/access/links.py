"""Requests by signed links: they need no key, and act for the key that the link was made for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app, g, request

from app.extensions import settings, store
from jobs.callers import NOBODY, Caller
from jobs.errors import Forbidden, LinkExpired
from jobs.outbound import signed_links
from jobs.outbound.signed_links import EXPIRES, SIGNATURE, SIGNER, LinkSigner
from jobs.store.credentials.api_keys import KeyRing
from jobs.store.credentials.link_secret import secrets_of

_View = TypeVar("_View", bound=Callable[..., Any])

#: What is documented of a route that links lead to.
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"signedLink": []}]
PARAMETERS: list[dict[str, Any]] = [
    {"in": "query", "name": EXPIRES, "description": "Part of a signed link.", "schema": {"type": "integer"}},
    {"in": "query", "name": SIGNER, "description": "Part of a signed link.", "schema": {"type": "string"}},
]


#: Paths of other protocols whose responses have links to outputs.
_LINKING_PATHS = ("/mcp", "/v1/images", "/v1/predictions", "/v1/models")


def followed_by_links(view: _View) -> _View:
    """Mark a view that signed links may lead to. It changes nothing, and shows what its path names only."""
    view.is_followed_by_links = True  # type: ignore[attr-defined]
    return view


def leads_to_output(view: _View) -> _View:
    """Mark a view as :func:`followed_by_links` does, which sends an output that other protocols link to."""
    view.leads_to_output = True  # type: ignore[attr-defined]
    return followed_by_links(view)


def is_followed() -> bool:
    """Return whether the current request was made by following a link: it has a signature, and no key."""
    if request.method not in ("GET", "HEAD") or SIGNATURE not in request.args or "Authorization" in request.headers:
        return False
    return _has_mark("is_followed_by_links")


def may_follow(caller: Caller) -> bool:
    """Return whether the current request follows a link to an output that a protocol shows which the key may use.

    A key that is limited to ``/mcp`` may not call the route of outputs, but gets links that lead there.
    """
    return is_followed() and _has_mark("leads_to_output") and any(map(caller.may_call, _LINKING_PATHS))


def _has_mark(name: str) -> bool:
    return getattr(current_app.view_functions.get(request.endpoint or ""), name, False)


def caller_of_link() -> Caller:
    """Return the owner of the key for which the link of the current request was made.

    Raises:
        Forbidden: the signature is wrong, or the key was revoked.
        LinkExpired.
    """
    if not signed_links.is_signed(request.path, request.args, secrets_of(store())):
        raise Forbidden("the signature of this link is wrong")
    expires_s = int(request.args[EXPIRES])
    if expires_s <= time.time():
        raise LinkExpired()
    caller = KeyRing(store()).by_name(request.args[SIGNER])
    if caller is None:
        raise Forbidden("the key that this link was made with was revoked")
    g.link_expires_s = expires_s
    return caller


def expires_s() -> int | None:
    """Return when the link of the current request expires, seconds since 1970; None for a request with a key."""
    found: int | None = g.get("link_expires_s")
    return found


def is_over() -> bool:
    """Return whether the link of the current request, whose response takes long, has expired meanwhile."""
    latest_s = expires_s()
    return latest_s is not None and latest_s <= time.time()


def signer_for(caller: Caller) -> LinkSigner | None:
    """Return the signer of the links that a caller is shown; None on a server without keys, where all links work.

    Links in the response to a link expire with it: nobody prolongs an access by following one link after the other.
    """
    if caller.key_id == NOBODY:
        return None
    lifetime_s = settings().outputs.url_ttl_s
    return LinkSigner.lasting(secrets_of(store())[0], caller.key_id, lifetime_s, expires_s())
