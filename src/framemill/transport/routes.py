"""Requests of the HTTP API as values: one function or constant for each route."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

#: Failures that occur before the request leaves this machine. Repeating such a request is always safe.
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)

#: Longer texts are not paths, but encoded pictures.
MAX_PATH_CHARS = 4096
#: Fields with one file.
FILES = ("image", "mask", "last_image", "video", "audio")
#: The end of a file's name. Base64 has no dot.
_FILE_NAME = re.compile(r"\.(png|jpe?g|webp|gif|bmp|tiff?|avif|mp4|mov|webm|mkv|wav|mp3|ogg|m4a|flac)$", re.IGNORECASE)

#: An event stream without data for this long is considered dead, in seconds. The server sends a comment every 15 s.
SILENCE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Time that the server may delay its response, in seconds. Added to the client's timeout.
    wait_s: float = 0
    #: Maximum silence within the response, in seconds; None: the client's timeout.
    silence_s: float | None = None
    #: True if the call changes something, but executing it twice has the same effect as executing it once.
    repeatable: bool = False

    def arguments(self, timeout_s: float) -> dict[str, Any]:
        """Return the arguments of the HTTP library's ``stream``."""
        read_s = timeout_s + self.wait_s if self.silence_s is None else self.silence_s
        return {
            "method": self.method,
            "url": self.path,
            "params": self.params,
            "json": self.json,
            "headers": {**_trace_context(), **self.headers},
            "timeout": httpx2.Timeout(timeout_s, read=read_s),
            # Only reads follow a redirect (to a presigned download link).
            "follow_redirects": self.method == "GET",
        }

    def may_repeat(self, exc: httpx2.RequestError) -> bool:
        """Return whether the call may be repeated after ``exc``. Timeouts are not: the caller set the limit."""
        if isinstance(exc, httpx2.TimeoutException):
            return False
        return self.method == "GET" or self.repeatable or isinstance(exc, NOT_SENT)


def _trace_context() -> dict[str, str]:
    """Return the headers that continue the trace of the calling program, if it uses OpenTelemetry and has one."""
    headers: dict[str, str] = {}
    if "opentelemetry.trace" in sys.modules:
        from opentelemetry.propagate import inject

        inject(headers)
    return headers


def submit(fields: Mapping[str, Any]) -> Call:
    """Submit a job. Raises: ValueError: unusable idempotency key. OSError: a file cannot be read."""
    body = {name: value for name, value in fields.items() if value is not None}
    body |= {name: _encoded(body[name]) for name in FILES if name in body}
    body |= {name: [_encoded(one) for one in body[name]] for name in ("images",) if name in body}
    if "mix" in body:
        body["mix"] = [{name: _encoded(value) for name, value in part.items()} for part in body["mix"]]
    if "controls" in body:
        body["controls"] = [
            {name: _encoded(value) if name == "image" else value for name, value in control.items()}
            for control in body["controls"]
        ]
    if "loras" in body:
        body["loras"] = [dict(lora) for lora in body["loras"]]
    body |= {name: dict(value) for name, value in body.items() if isinstance(value, Mapping)}
    if "job_class" in body:
        body["class"] = body.pop("job_class")
    if isinstance(body.get("not_before"), datetime):
        body["not_before"] = _as_text(body["not_before"])
    key, wait_s = body.pop("idempotency_key", None), body.pop("wait_s", 0)
    if key is not None and not (key.strip() and key.isascii() and key.isprintable()):
        raise ValueError("idempotency_key must be printable ASCII text")
    return Call(
        method="POST",
        path="/v1/jobs",
        json=body,
        params={"wait": wait_s} if wait_s else {},
        headers={"Idempotency-Key": key} if key else {},
        wait_s=wait_s,
        repeatable=key is not None,
    )


def _encoded(value: Any) -> Any:
    """Encode a file, or its contents, as base64; return anything else unchanged.

    Text is a path if there is such a file, or if it ends like the name of such a file and is nothing else.

    Raises:
        OSError: the file cannot be read.
    """
    if isinstance(value, PathLike) or (isinstance(value, str) and _is_path(value)):
        value = Path(value).read_bytes()
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes | bytearray) else value


def _is_path(text: str) -> bool:
    if len(text) > MAX_PATH_CHARS or "\n" in text or re.match(r"[a-z]+:", text):  # base64, a link, a reference
        return False
    try:
        return _FILE_NAME.search(text) is not None or Path(text).is_file()
    except (OSError, ValueError):  # no file system has such a name
        return False


def job(method: str, job_id: str, leaf: str = "", **params: Any) -> Call:
    """Address one job. Raises: ValueError: the id would address another route."""
    if job_id in ("", ".", ".."):
        raise ValueError(f"{job_id!r} is not a job id")
    return Call(method=method, path=f"/v1/jobs/{quote(job_id, safe='')}{leaf}", params=params)


def get(job_id: str, wait_s: float = 0) -> Call:
    """Request a job. The server delays its response by up to ``wait_s`` seconds until the state changes."""
    return replace(job("GET", job_id), params={"wait": round(wait_s, 3)} if wait_s else {}, wait_s=wait_s)


def cancel(job_id: str) -> Call:
    return replace(job("POST", job_id, "/cancel"), json={})


def cancel_all(*, waiting: bool) -> Call:
    return Call(method="POST", path="/v1/jobs/cancel", json={"waiting": waiting})


def pause(job_id: str, *, resume: bool) -> Call:
    return replace(job("POST", job_id, "/resume" if resume else "/pause"), repeatable=True)


def delete(job_id: str) -> Call:
    return replace(job("DELETE", job_id), repeatable=True)


def events(job_id: str | None, after: str = "", *, previews: bool = False) -> Call:
    """Stream the events of a job, or (None) of all jobs, that follow the event ``after``."""
    path = "/v1/events" if job_id is None else job("GET", job_id, "/events").path
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
    return Call(
        method="GET", path=path, params={"preview": 1} if previews else {}, headers=headers, silence_s=SILENCE_S
    )


def list_jobs(
    state: str | Iterable[str] | None, limit: int | None, after: str | None, filters: Mapping[str, Any]
) -> Call:
    states = state if state is None or isinstance(state, str) else ",".join(state)
    params = {"state": states or None, **filters, "limit": limit, "after": after}
    return Call(
        method="GET",
        path="/v1/jobs",
        params={name: _as_text(value) for name, value in params.items() if value is not None},
    )


def usage(by: Iterable[str] | None, period: Mapping[str, str | date | None]) -> Call:
    given = {**period, "by": None if by is None else ",".join(by)}
    params = {name: str(value) for name, value in given.items() if value is not None}
    return Call(method="GET", path="/v1/usage", params=params)


def _as_text(value: str | int | datetime) -> str:
    """Return a parameter of a query. A time without an offset is local."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.astimezone()).isoformat()
    return str(value)


def pause_slots(slot: str | None, *, resume: bool) -> Call:
    path = f"/v1/admin/{'resume' if resume else 'pause'}"
    return Call(method="POST", path=path, json={"slot": slot} if slot is not None else {}, repeatable=True)


def drain(slot: str, wait_s: float) -> Call:
    """Raises: ValueError: invalid name."""
    return _of_slot(slot, "drain", wait_s)


def yield_slot(slot: str, wait_s: float) -> Call:
    """Raises: ValueError: invalid name."""
    return _of_slot(slot, "yield", wait_s)


def _of_slot(slot: str, action: str, wait_s: float) -> Call:
    if slot in ("", ".", ".."):
        raise ValueError(f"{slot!r} is not the name of a slot")
    path = f"/v1/admin/slots/{quote(slot, safe='')}/{action}"
    params = {"wait": round(wait_s, 3)} if wait_s else {}
    return Call(method="POST", path=path, params=params, json={}, wait_s=wait_s, repeatable=True)


def profile_model(name: str, slot: str | None, sizes: Sequence[str], batches: Sequence[int]) -> Call:
    given = {"slot": slot, "sizes": list(sizes), "batches": list(batches)}
    body = {field: value for field, value in given.items() if value}
    return Call(method="POST", path=f"/v1/models/{quote(name, safe='')}/profile", json=body)


def model_command(name: str, command: str, slot: str | None, kind: str | None = None) -> Call:
    """Run ``load``, ``unload``, ``pin``, ``unpin`` or ``check`` on a model. Raises: ValueError: invalid name."""
    if name in ("", ".", ".."):
        raise ValueError(f"{name!r} is not a model name")
    path = f"/v1/models/{quote(name, safe='')}/{command}"
    body = {name: value for name, value in (("slot", slot), ("kind", kind)) if value is not None}
    return Call(method="POST", path=path, json=body)


def create_key(service: str, fields: Mapping[str, Any]) -> Call:
    body = {"service": service, **{name: value for name, value in fields.items() if value is not None}}
    if "job_class" in body:
        body["class"] = body.pop("job_class")
    return Call(method="POST", path="/v1/admin/keys", json=body)


def revoke_key(service: str) -> Call:
    """Raises: ValueError: invalid service name."""
    return Call(method="DELETE", path=_key_path(service))


def set_webhook(service: str, url: str | None, events: Sequence[str] | None, *, new_secret: bool) -> Call:
    """Raises: ValueError: invalid service name."""
    fields = {"url": url, "events": None if events is None else [*events], "new_secret": new_secret or None}
    body = {name: value for name, value in fields.items() if value is not None}
    return Call(method="PUT", path=_key_path(service) + "/webhook", json=body)


def remove_webhook(service: str) -> Call:
    """Raises: ValueError: invalid service name."""
    return Call(method="DELETE", path=_key_path(service) + "/webhook", repeatable=True)


def newest_webhooks(limit: int, *, failed: bool) -> Call:
    return Call(method="GET", path="/v1/admin/webhooks", params={"limit": limit, "failed": failed})


def resend_webhooks(job_id: str, event: str | None) -> Call:
    return replace(job("POST", job_id, "/webhooks/resend"), json={} if event is None else {"event": event})


def _key_path(service: str) -> str:
    if service in ("", ".", ".."):
        raise ValueError(f"{service!r} is not a service name")
    return f"/v1/admin/keys/{quote(service, safe='')}"


MODELS = Call(method="GET", path="/v1/models")
FLEET = Call(method="GET", path="/v1/fleet")
FLEET_HISTORY = Call(method="GET", path="/v1/fleet/history")
QUEUE = Call(method="GET", path="/v1/queue")
DEAD = Call(method="GET", path="/v1/admin/dead")
STORAGE = Call(method="GET", path="/v1/admin/storage")
KEYS = Call(method="GET", path="/v1/admin/keys")
