"""Ask a server on this machine whether it answers and is ready."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request

#: Longest wait for an answer, seconds.
PATIENCE_S = 2.0


def local_url(host: str, port: int) -> str:
    """Return an address of a server bound to ``host`` that this machine can reach."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  (nothing is bound here)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def readiness(url: str) -> str | None:
    """Return None if the server at ``url`` is ready, else the reason that it gives."""
    return unanswered(f"{url}/readyz")


def unanswered(url: str) -> str | None:
    """Return None if a server on this machine answers ``GET url`` with success, else what it does instead."""
    # No proxy from the environment: the server runs on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    parts = urllib.parse.urlsplit(url)
    try:
        with opener.open(url, timeout=PATIENCE_S):
            return None
    except urllib.error.HTTPError as exc:
        with exc:
            return f"{parts.path} answers {exc.code} {_detail(exc.read(5000))}"
    except (OSError, http.client.HTTPException) as exc:
        return f"{parts.scheme}://{parts.netloc} does not answer ({exc})"


def _detail(body: bytes) -> str:
    try:
        response = json.loads(body)
        return "; ".join(response["missing"]) if "missing" in response else str(response["detail"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")
