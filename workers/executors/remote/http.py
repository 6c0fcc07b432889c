"""JSON and files over HTTP from a back end, with one kind of error for everything that may pass."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx2

from jobs.backends import Backend
from jobs.errors import BackendFailed
from workers.executors.remote import BackendAway

#: Most that is read of an answer that is no file, bytes.
MAX_ANSWER_BYTES = 8 * 1024 * 1024
#: How much of a refusal is kept, characters.
MAX_ERROR_CHARS = 500


class Server:
    """A back end's address. Calls raise :class:`BackendAway` for no answer, and for 5xx."""

    def __init__(self, backend: Backend) -> None:
        headers, auth = {}, None
        secret = os.environ.get(backend.credentials_env, "") if backend.credentials_env else ""
        if ":" in secret:
            user, _, password = secret.partition(":")
            auth = httpx2.BasicAuth(user, password)
        elif secret:
            headers["Authorization"] = f"Bearer {secret}"
        self._client = httpx2.Client(
            base_url=backend.endpoint,
            headers=headers,
            auth=auth,
            timeout=httpx2.Timeout(backend.timeout_s),
            trust_env=False,  # a proxy of the environment is not meant for the machines beside us
            follow_redirects=False,
        )

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

    def close(self) -> None:
        self._client.close()


def detail(body: Any) -> str:
    """What an error answer says, as short text."""
    found = body.get("detail", "") if isinstance(body, dict) else ""
    return (found if isinstance(found, str) else str(found))[:MAX_ERROR_CHARS] or "no reason given"


def _json(content: bytes) -> Any:
    try:
        return httpx2.Response(200, content=content).json()
    except ValueError:
        return {}


def _why(exc: Exception) -> str:
    """Without addresses: the text may be shown to callers."""
    return type(exc).__name__
