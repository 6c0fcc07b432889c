"""HTTP calls to a back end: JSON, downloads, and long POSTs. Transient errors become :class:`BackendAway`."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx2

from jobs.errors import BackendFailed, InvalidRequest
from jobs.models.backends import Backend
from jobs.outbound.download import download
from workers.remote.base import BackendAway
from workers.remote.posting import KEEP_ALIVE, PendingPost
from workers.remote.responses import error_text, json_of

#: Largest response that is read (files excepted), bytes.
MAX_RESPONSE_BYTES = 8 * 1024 * 1024
#: Redirects of a download that are followed.
MAX_REDIRECTS = 3
#: Limits of a file that the back end stores elsewhere: its length in bytes, and the time of its download in seconds.
MAX_FILE_BYTES, LINK_TIMEOUT_S = 512 * 1024 * 1024, 120.0


class Server:
    """The server of a back end. Calls raise :class:`BackendAway` if it does not answer or answers with 5xx.

    Args:
        backend: its entry in the back ends file.
        endpoint: base address of all paths, if it differs from the entry's.
        headers: sent with every call instead of the usual authorization header.
    """

    def __init__(self, backend: Backend, endpoint: str = "", headers: Mapping[str, str] | None = None) -> None:
        auth, headers = _credentials(backend) if headers is None else (None, headers)
        self._options: dict[str, Any] = {
            "base_url": endpoint or backend.endpoint,
            "headers": headers,
            "auth": auth,
            "timeout": httpx2.Timeout(backend.timeout_s),
            "trust_env": False,  # a proxy in the environment is not meant for machines of the local network
            "follow_redirects": False,
            "verify": _tls(),
        }
        self._name, self._timeout_s = backend.name, backend.timeout_s
        self._client = httpx2.Client(**self._options)

    def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Return the status and the JSON body ({} if the body is not JSON)."""
        try:
            with self._client.stream(method, path, **options) as response:
                content = b""
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > MAX_RESPONSE_BYTES:
                        raise BackendFailed(f"the response to {method} {path} is too long")
        except (httpx2.HTTPError, OSError) as exc:
            raise _away(exc) from exc
        body = json_of(content)
        body = {} if body is None else body
        if response.status_code >= 500 and response.status_code != 503:
            raise BackendAway(f"answers {response.status_code} to {method} {path}: {detail(body)}")
        return response.status_code, body

    def download(self, path: str, target: Path, *, redirects: int = MAX_REDIRECTS) -> str:
        """Download a file; return its media type as the back end declares it ('' behind a link to another server).

        Args:
            path: its path, or a link that the back end sent.
            target: where to write it.
            redirects: how many redirects are followed.

        Raises:
            BackendFailed: the status is not 200, or the file lies behind a link that may not be followed.
        """
        if not self._is_own(path):
            return self._download_elsewhere(path, target)
        try:
            with self._client.stream("GET", path) as response, target.open("wb") as file:
                if response.status_code >= 500:
                    raise BackendAway(f"answers {response.status_code} to GET {path}")
                if response.next_request is not None and redirects:
                    return self.download(str(response.next_request.url), target, redirects=redirects - 1)
                if response.status_code != 200:
                    raise BackendFailed(f"the back end answers {response.status_code} instead of a result")
                for chunk in response.iter_bytes():
                    file.write(chunk)
        except (httpx2.HTTPError, OSError) as exc:
            raise _away(exc) from exc
        return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()

    def _is_own(self, link: str) -> bool:
        """Return whether a link leads to the back end itself, which gets the key."""
        base, url = self._client.base_url, httpx2.URL(link)
        return not url.host or (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port)

    def _download_elsewhere(self, url: str, target: Path) -> str:
        """Download from another server, without the key: one with a public address, or on the host of the back end."""
        host = frozenset({self._client.base_url.host.lower()})
        try:
            content = download(url, max_bytes=MAX_FILE_BYTES, timeout_s=LINK_TIMEOUT_S, allow_hosts=host)
        except InvalidRequest as exc:
            raise BackendFailed(f"the back end sent a link to its result that {exc.problems[0].rule}") from exc
        target.write_bytes(content)
        return ""

    def post(self, path: str, **content: Any) -> PendingPost:
        """Send a POST whose response is the result. ``content``: the body, as ``json`` or ``files``, and headers."""
        timeout = httpx2.Timeout(self._timeout_s, read=None)
        transport = httpx2.HTTPTransport(socket_options=KEEP_ALIVE, verify=_tls())
        client = httpx2.Client(**{**self._options, "timeout": timeout, "transport": transport})
        return PendingPost(client, path, content, self._name)

    def close(self) -> None:
        self._client.close()


@cache
def _tls() -> ssl.SSLContext:
    """Return the TLS settings of all connections. To read the certificates takes longer than many a call."""
    return httpx2.create_ssl_context(trust_env=False)


def secret_of(backend: Backend) -> str:
    """Return the key of a back end from the environment; '' for none."""
    return os.environ.get(backend.credentials_env, "") if backend.credentials_env else ""


def detail(body: Any) -> str:
    """Return the text of an error response."""
    return error_text(body) or "no reason given"


def _credentials(backend: Backend) -> tuple[httpx2.BasicAuth | None, dict[str, str]]:
    secret = secret_of(backend)
    if ":" in secret:
        user, _, password = secret.partition(":")
        return httpx2.BasicAuth(user, password), {}
    return None, {"Authorization": f"Bearer {secret}"} if secret else {}


def _away(exc: Exception) -> BackendAway:
    """Name only the type of the error: the text may be shown to callers, so it must contain no addresses."""
    return BackendAway(f"does not answer: {type(exc).__name__}")
