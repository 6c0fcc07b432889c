"""The HTTP contract, without doing any I/O: what to send, what an answer means, when to try again.

Both clients are thin loops around this module, so they cannot drift apart.
"""

from __future__ import annotations

import base64
import ipaddress
import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, TypeVar
from urllib.parse import quote

import httpx2

from framemill.errors import ApiError, ServerUnavailable

T = TypeVar("T")

#: Waits before the second and later tries of a call, seconds; each is varied by ±50 % so that many clients
#: do not come back at the same moment.
RETRY_WAITS_S = (0.1, 0.3, 0.8, 2.0)

#: A download is written in pieces of this size.
CHUNK_BYTES = 1 << 16

#: Failures that happen before the request leaves this machine: repeating it cannot do anything twice.
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Fields(TypedDict, total=False):
    """What ``submit`` takes. Everything may be left out; the server fills in the model's defaults."""

    model: str | None
    #: ``text2img``, ``img2img``, ``text2video`` or ``img2video``.
    kind: str | None
    prompt: str | None
    negative_prompt: str | None
    seed: int | None
    steps: int | None
    guidance_scale: float | None
    #: Pixels.
    width: int | None
    height: int | None
    frames: int | None
    #: Frames per second.
    fps: float | None
    #: A file's path or contents; or a str: an http(s) link, a data URL or base64.
    image: str | bytes | PathLike[str] | None
    #: How far the input image is changed, 0 to 1.
    strength: float | None
    #: The caller's own id for the job.
    task_id: str | None
    #: Run on this slot only.
    slot: str | None


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None

    def arguments(self) -> dict[str, Any]:
        """Arguments of the HTTP library's ``stream``."""
        return {
            "method": self.method,
            "url": self.path,
            "params": self.params,
            "json": self.json,
            # Only reads follow a redirect (to a presigned download link).
            "follow_redirects": self.method == "GET",
        }

    def may_repeat(self, exc: httpx2.RequestError) -> bool:
        """Whether sending it again after ``exc`` is safe and of use. A time limit that ran out is the caller's."""
        if isinstance(exc, httpx2.TimeoutException):
            return False
        return self.method == "GET" or isinstance(exc, NOT_SENT)


def submit(fields: Mapping[str, Any]) -> Call:
    body = {name: value for name, value in fields.items() if value is not None}
    image = body.get("image")
    if isinstance(image, PathLike):
        image = Path(image).read_bytes()
    if isinstance(image, bytes | bytearray):
        body["image"] = base64.b64encode(image).decode("ascii")
    return Call(method="POST", path="/v1/tasks/", json=body)


def task(method: str, task_id: str, leaf: str = "", **params: Any) -> Call:
    """Raises: ValueError: an id that would address something else: all jobs, or all running ones."""
    if task_id in ("", ".", "..", "running"):
        raise ValueError(f"{task_id!r} is no job id")
    return Call(method=method, path=f"/v1/tasks/{quote(task_id, safe='')}{leaf}", params=params)


def part_file(target: Path) -> Path:
    """Where a download grows until it is complete."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


def list_tasks(state: str | None, limit: int | None, after: str | None) -> Call:
    params = {"state": state, "limit": limit, "after": after}
    return Call(method="GET", path="/v1/tasks/", params={k: v for k, v in params.items() if v is not None})


CANCEL_RUNNING = Call(method="DELETE", path="/v1/tasks/running")
MODELS = Call(method="GET", path="/v1/models")
SERVICE = Call(method="GET", path="/v1/service/status")


def retry_waits() -> list[float]:
    """Seconds to wait before each further try."""
    return [wait * random.uniform(0.5, 1.5) for wait in RETRY_WAITS_S]  # noqa: S311, no secret


def options(base_url: str, api_key: str | None, timeout_s: float) -> dict[str, Any]:
    """Arguments of the HTTP library's client. Raises: ValueError: ``base_url`` is no http or https address."""
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL as exc:
        raise ValueError(f"{base_url!r}: {exc}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{base_url!r} is no http:// or https:// address")
    headers = {"Accept": "application/json, */*;q=0.5"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    return {
        "base_url": url,
        "headers": headers,
        "timeout": timeout_s,
        # A proxy of the environment cannot reach a server on this machine's loopback.
        "trust_env": not _is_loopback(url.host),
    }


def no_answer(call: Call, base_url: str, exc: httpx2.RequestError) -> ServerUnavailable:
    """The error for a call that got no answer."""
    sent = not isinstance(exc, NOT_SENT)
    doubt = " (the request may have arrived)" if sent and call.method != "GET" else ""
    reason = str(exc) or type(exc).__name__
    return ServerUnavailable(
        "no_answer", f"no answer from {base_url}: {reason}{doubt}", maybe_received=sent and call.method != "GET"
    )


def error_of(response: httpx2.Response) -> ApiError:
    """The error an answer of 400 and above means. The body must have been read."""
    code, fields = f"http_{response.status_code}", ()
    message = response.text.strip()[:200] or response.reason_phrase
    try:
        answer = response.json()
        message = answer.get("detail") or message
        error = answer.get("error") or {}
        code, message, fields = error.get("code", code), error.get("message", message), error.get("fields") or ()
    except (ValueError, AttributeError):
        pass  # a proxy's page: the status says enough
    try:
        retry_after_s = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        retry_after_s = None
    kind = ServerUnavailable if response.status_code in (502, 503, 504) else ApiError
    return kind(code, str(message), response.status_code, fields, retry_after_s)


def answer_of(response: httpx2.Response, build: Callable[[Any], T]) -> T:
    """The record in a good answer.

    Raises:
        ApiError: it is not what this server answers; the address belongs to another service.
    """
    try:
        return build(response.json())
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"{response.url} did not answer like a Framemill server"
        raise ApiError("bad_answer", message, response.status_code) from None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
