"""JSON and files over HTTP from a back end, with one kind of error for everything that may pass."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from jobs.errors import BackendFailed
from jobs.models.backends import Backend
from workers.remote import BackendAway, posting
from workers.remote.answers import json_of, reason
from workers.remote.posting import Posting

#: Most that is read of an answer that is no file, bytes.
MAX_ANSWER_BYTES = 8 * 1024 * 1024


class Server:
    """A back end's address. Calls raise :class:`BackendAway` for no answer, and for 5xx.

    Args:
        backend: its table of the file.
        endpoint: the address that paths begin at, if it is not the table's.
        headers: sent with every call, instead of the usual ones for the key of the environment.
    """

    def __init__(self, backend: Backend, endpoint: str = "", headers: Mapping[str, str] | None = None) -> None:
        auth, own = _credentials(backend) if headers is None else (None, headers)
        self._options: dict[str, Any] = {
            "base_url": endpoint or backend.endpoint,
            "headers": own,
            "auth": auth,
            "timeout": httpx2.Timeout(backend.timeout_s),
            "trust_env": False,  # a proxy of the environment is not meant for the machines beside us
            "follow_redirects": False,
        }
        self._name, self._timeout_s = backend.name, backend.timeout_s
        self._client = httpx2.Client(**self._options)

    def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON body ({} where it is none or no object)."""
        try:
            with self._client.stream(method, path, **options) as response:
                content = b""
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > MAX_ANSWER_BYTES:
                        raise BackendFailed(f"the answer to {method} {path} is too long")
        except (httpx2.HTTPError, OSError) as exc:
            raise BackendAway(f"does not answer: {_why(exc)}") from exc
        if response.status_code >= 500 and response.status_code != 503:
            raise BackendAway(f"answers {response.status_code} to {method} {path}: {detail(_json(content))}")
        return response.status_code, _json(content)

    def download(self, path: str, target: Path) -> str:
        """Fetch a file; returns its media type as the back end names it.

        Raises:
            BackendFailed: it is not there.
        """
        try:
            with self._client.stream("GET", path) as response, target.open("wb") as file:
                if response.status_code >= 500:
                    raise BackendAway(f"answers {response.status_code} to GET {path}")
                if response.status_code != 200:
                    raise BackendFailed(f"the back end answers {response.status_code} instead of a result")
                for chunk in response.iter_bytes():
                    file.write(chunk)
        except (httpx2.HTTPError, OSError) as exc:
            raise BackendAway(f"does not answer: {_why(exc)}") from exc
        return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()

    def post(self, path: str, body: Mapping[str, Any]) -> Posting:
        """Begin a POST that is answered by a result."""
        timeout = httpx2.Timeout(self._timeout_s, read=None)
        transport = httpx2.HTTPTransport(socket_options=posting.KEEP_ALIVE)
        client = httpx2.Client(**{**self._options, "timeout": timeout, "transport": transport})
        return Posting(client, path, body, self._name)

    def close(self) -> None:
        self._client.close()


def secret_of(backend: Backend) -> str:
    """The key of a back end, from the environment; '' for none."""
    return os.environ.get(backend.credentials_env, "") if backend.credentials_env else ""


def detail(body: Any) -> str:
    """What an error answer says, as short text."""
    return reason(body) or "no reason given"


def _credentials(backend: Backend) -> tuple[httpx2.BasicAuth | None, dict[str, str]]:
    secret = secret_of(backend)
    if ":" in secret:
        user, _, password = secret.partition(":")
        return httpx2.BasicAuth(user, password), {}
    return None, {"Authorization": f"Bearer {secret}"} if secret else {}


def _json(content: bytes) -> Any:
    found = json_of(content)
    return {} if found is None else found


def _why(exc: Exception) -> str:
    """Without addresses: the text may be shown to callers."""
    return type(exc).__name__
