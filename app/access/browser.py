"""Protects the server from pages that run in a browser of its users, and results from being taken for pages.

A server without API keys trusts every program of its machine, and a browser is one of them: its pages come from
anywhere. So such a server is served under known host names only (a page cannot rebind them), and refuses what pages of
other origins send. A server with keys needs neither, but for credentials that browsers send by themselves.
[docs/decisions/0035](../docs/decisions/0035-browser-origins.md) has the reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Blueprint, Flask, Response, current_app, request

from app.access import auth, links
from app.access.origins import ANY, Origins
from jobs.errors import HostRefused, OriginRefused, Unavailable
from jobs.settings import Settings

#: Policy of every response that has no policy of its own. JSON needs nothing; an error page of a library gets nothing.
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
#: Headers of responses that pages of allowed origins may read besides the usual ones.
EXPOSED = (
    "Accept-Ranges, Allow, Content-Disposition, Content-Range, ETag, Location, Mcp-Session-Id, OpenAI-Poll-After-Ms, "
    "Preview-Step, Retry-After, WWW-Authenticate, X-Error-Message, X-HF-Warning, X-Process-Time, X-Request-Id, "
    "X-Should-Retry, X-Task-Id"
)
#: How long a browser may remember the answer to a preflight request, seconds.
PREFLIGHT_MAX_AGE_S = 600
#: Paths of probes, which may come by any address of the machine.
_PROBES = frozenset({"/health", "/healthz", "/readyz"})
#: Blueprints whose addresses are secrets, which the pages of all origins may show if the server has keys.
_shared: set[str] = set()

_View = TypeVar("_View", bound=Callable[..., Any])


def page(view: _View) -> _View:
    """Mark a view as a page, which links of other sites may open; it shows no jobs and changes nothing."""
    view.is_page = True  # type: ignore[attr-defined]
    return view


def share(blueprint: Blueprint) -> None:
    """Let pages of all origins show the files of a blueprint, whose addresses are secrets, if the server has keys."""
    _shared.add(blueprint.name)


def register(app: Flask, settings: Settings) -> None:
    """Check every request of the app, and complete the headers of every response."""
    origins = Origins.of(settings)

    @app.before_request
    def _check() -> Response | None:
        _check_host(origins)
        _check_origin(origins)
        return _preflight(origins) if "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.environ else None

    @app.after_request
    def _complete(response: Response) -> Response:
        reader = _reader(origins)
        present = {name for name, _ in response.headers}
        for name, value in HEADERS.items():
            if name not in present:
                response.headers.add(name, value)
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin" if reader else "same-origin"
        if origins.allowed - {ANY}:
            response.vary.add("Origin")
        if reader and "HTTP_ORIGIN" in request.environ:
            response.headers["Access-Control-Allow-Origin"] = reader
            response.headers["Access-Control-Expose-Headers"] = EXPOSED
        return response


def _check_host(origins: Origins) -> None:
    """Raise HostRefused if a server without keys is called by a name that may be another's."""
    host = request.headers.get("Host")
    if request.path.rstrip("/") not in _PROBES and not origins.accepts_host(host) and auth.is_open():
        raise HostRefused(
            f"without API keys this server is not served as {host[:80] if host else ''!r}: add the name to "
            "ALLOWED_HOSTS, or create a key"
        )


def _is_of_page() -> bool:
    """Return whether a page may have sent the request: programs send none of these headers."""
    environ = request.environ
    return "HTTP_ORIGIN" in environ or "HTTP_REFERER" in environ or "HTTP_SEC_FETCH_SITE" in environ


def _check_origin(origins: Origins) -> None:
    """Raise OriginRefused if a page of another origin would act in the name of this machine or of a logged-in user."""
    if not _is_of_page() or not origins.is_foreign(request.headers) or _is_visit():
        return
    # Nothing else of a browser's own authenticates: the cookie of AIME endpoints only names session variables.
    is_logged_in = request.headers.get("Authorization", "").lower().startswith("basic ")
    if is_logged_in or auth.is_open():
        page_origin = request.headers.get("Origin", "") or "other origins"
        raise OriginRefused(f"pages of {page_origin[:80]} may not use this server; CORS_ORIGINS names those that may")


def _is_visit() -> bool:
    """Return whether the user follows a link of another site to a page of this server."""
    headers = request.headers
    if request.method != "GET" or headers.get("Sec-Fetch-Mode") != "navigate" or "Origin" in headers:
        return False
    view = current_app.view_functions.get(request.endpoint or "")
    return headers.get("Sec-Fetch-Dest", "document") == "document" and getattr(view, "is_page", False)


def _reader(origins: Origins) -> str:
    """Return who may read the response besides this server's own pages: an origin, :data:`ANY`, or '' for nobody.

    Whoever has a signed link may read what it leads to, as with links of a bucket: no browser adds such a link itself.
    """
    if ANY in origins.allowed or links.expires_s() is not None:
        return ANY
    if _is_of_page() and (allowed := origins.allowed_origin(request.headers)):
        return allowed
    try:
        return ANY if request.blueprint in _shared and not auth.is_open() else ""
    except Unavailable:
        return ""


def _preflight(origins: Origins) -> Response | None:
    """Return the response to the question whether a page may send a request; None: it may not."""
    if request.method != "OPTIONS" or not _reader(origins):
        return None
    response = Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
    requested = request.headers.get("Access-Control-Request-Headers")
    response.headers["Access-Control-Allow-Headers"] = requested or "Authorization, Content-Type"
    response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_MAX_AGE_S)
    if "Access-Control-Request-Private-Network" in request.headers:
        response.headers["Access-Control-Allow-Private-Network"] = "true"
    response.headers.remove("Content-Type")
    return response
