"""The requests of the HTTP contract, as values: one function or constant for each route."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import quote

import httpx2

#: Failures that happen before the request leaves this machine: repeating it cannot do anything twice.
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)

#: Jobs of a page when the caller does not say.
DEFAULT_PAGE_JOBS = 50

#: A stream of events that brings nothing for this long is dead, seconds: the server sends a comment every 15.
SILENCE_S = 30.0


class Fields(TypedDict, total=False):
    """What ``submit`` takes. Everything may be left out; the server fills in the model's defaults."""

    model: str | None
    #: ``text2img``, ``img2img``, ``inpaint``, ``mix2img``, ``text2video`` or ``img2video``.
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
    #: As ``image``; white is painted anew.
    mask: str | bytes | PathLike[str] | None
    #: How both get to width × height: ``stretch``, ``crop`` or ``pad``.
    resize: str | None
    #: ``{"area", "padding_px", "blur_px", "fill"}``: how the mask is used.
    inpaint: Mapping[str, Any] | None
    #: How far the input image is changed, 0 to 1.
    strength: float | None
    #: Image i has the seed + i.
    num_images: int | None
    #: Name of a scheduler that the model offers, such as ``DPM++ 2M Karras``.
    scheduler: str | None
    #: ``{"name", "weight"}`` of each LoRA; an empty list uses none, not even the model's own.
    loras: Sequence[Mapping[str, Any]] | None
    #: ``{"text" or "image", "weight"}`` of each text or image that mix2img mixes; an image as ``image``.
    mix: Sequence[Mapping[str, Any]] | None
    #: ``{"seed", "strength"}``: noise of another seed that is mixed in. Image i has ``seed`` and this seed + i.
    variation: Mapping[str, Any] | None
    #: ``{"width", "height" or "scale", "steps", "strength"}``: a second pass of text2img, at a larger size.
    hires: Mapping[str, Any] | None
    #: ``{"steps", "guidance_scale", "negative_prompt"}`` of the prior, for models that have one.
    prior: Mapping[str, Any] | None
    #: Images: ``png``, ``webp``, ``jpeg``. Videos: ``mp4``, ``webm``, ``gif``, ``webp``.
    output_format: str | None
    #: 1 to 100.
    output_quality: int | None
    #: False: the output does not hold the request that made it.
    embed_metadata: bool | None
    #: The caller's own id for the job.
    task_id: str | None
    #: Run on this slot only.
    slot: str | None
    #: -100 to 100; higher goes first, among the caller's own jobs.
    priority: int | None
    #: Scheduling class, ``premium`` or ``general``; the key's own when left out.
    job_class: str | None
    #: The job expires unless it starts within so many seconds; 0: no deadline.
    start_within_s: float | None
    #: Longest run, seconds; then it fails. 0: no limit.
    max_run_s: float | None
    #: Make previews all through the run; without it they are made while somebody looks at them.
    preview: bool | None
    #: How long its files are kept: ``keep``, ``days`` or ``hours``; the key's default when left out.
    retention: str | None
    #: Where the job's events go, instead of the key's webhook; "": nowhere. Which events; default: the job's end.
    webhook_url: str | None
    webhook_events: Sequence[str] | None
    #: False: no moderation, with a key that may turn it off.
    moderate: bool | None
    #: A repeat with the same key within a day is answered with the first job, so that it may safely be sent again:
    #: any printable ASCII text, different for every job.
    idempotency_key: str | None
    #: Answer when the job is over, or after so many seconds (60 at most).
    wait_s: float | None


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: So much longer the server may take to answer than its clients usually wait, seconds.
    wait_s: float = 0
    #: Longest silence within the answer, seconds; None: as long as the client usually waits.
    silence_s: float | None = None
    #: Sending it twice does the same as once, although it changes something.
    repeatable: bool = False

    def arguments(self, timeout_s: float) -> dict[str, Any]:
        """Arguments of the HTTP library's ``stream``."""
        read_s = timeout_s + self.wait_s if self.silence_s is None else self.silence_s
        return {
            "method": self.method,
            "url": self.path,
            "params": self.params,
            "json": self.json,
            "headers": self.headers,
            "timeout": httpx2.Timeout(timeout_s, read=read_s),
            # Only reads follow a redirect (to a presigned download link).
            "follow_redirects": self.method == "GET",
        }

    def may_repeat(self, exc: httpx2.RequestError) -> bool:
        """Whether sending it again after ``exc`` is safe and of use. A time limit that ran out is the caller's."""
        if isinstance(exc, httpx2.TimeoutException):
            return False
        return self.method == "GET" or self.repeatable or isinstance(exc, NOT_SENT)


def submit(fields: Mapping[str, Any]) -> Call:
    """Raises: ValueError: an idempotency key that a header cannot hold. OSError: the image cannot be read."""
    body = {name: value for name, value in fields.items() if value is not None}
    body |= {name: _encoded(body[name]) for name in ("image", "mask") if name in body}
    if "mix" in body:
        body["mix"] = [{name: _encoded(value) for name, value in part.items()} for part in body["mix"]]
    if "loras" in body:
        body["loras"] = [dict(lora) for lora in body["loras"]]
    body |= {name: dict(body[name]) for name in ("variation", "hires", "prior", "inpaint") if name in body}
    if "job_class" in body:
        body["class"] = body.pop("job_class")
    key, wait_s = body.pop("idempotency_key", None), body.pop("wait_s", 0)
    if key is not None and not (key.strip() and key.isascii() and key.isprintable()):
        raise ValueError("idempotency_key must be printable ASCII text")
    return Call(
        method="POST",
        path="/v1/tasks/",
        json=body,
        params={"wait": wait_s} if wait_s else {},
        headers={"Idempotency-Key": key} if key else {},
        wait_s=wait_s,
        repeatable=key is not None,
    )


def _encoded(value: Any) -> Any:
    """A file, or its contents, as base64; anything else as it is. Raises: OSError."""
    if isinstance(value, PathLike):
        value = Path(value).read_bytes()
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes | bytearray) else value


def task(method: str, task_id: str, leaf: str = "", **params: Any) -> Call:
    """Raises: ValueError: an id that would address something else: all jobs, or all running ones."""
    if task_id in ("", ".", "..", "running"):
        raise ValueError(f"{task_id!r} is no job id")
    return Call(method=method, path=f"/v1/tasks/{quote(task_id, safe='')}{leaf}", params=params)


def delete(task_id: str) -> Call:
    return replace(task("DELETE", task_id, purge="true"), repeatable=True)


def status(task_id: str, wait_s: float = 0) -> Call:
    """``wait_s``: the answer may take so long, if the state does not change before."""
    call = task("GET", task_id, "", **({"wait": round(wait_s, 3)} if wait_s else {}))
    return Call(method=call.method, path=call.path, params=call.params, wait_s=wait_s)


def events(task_id: str | None, after: str = "", *, previews: bool = False) -> Call:
    """Events of a job, or (None) of all jobs, from the one after the event ``after``."""
    path = "/v1/events" if task_id is None else task("GET", task_id, "/events").path
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
    return Call(
        method="GET", path=path, params={"preview": 1} if previews else {}, headers=headers, silence_s=SILENCE_S
    )


def list_tasks(state: str | None, limit: int | None, after: str | None) -> Call:
    # Without any parameter the list is LightX2V's.
    params = {"state": state, "limit": limit or DEFAULT_PAGE_JOBS, "after": after}
    return Call(method="GET", path="/v1/tasks/", params={k: v for k, v in params.items() if v is not None})


def pause(slot: str | None, *, resume: bool) -> Call:
    path = f"/v1/admin/{'resume' if resume else 'pause'}"
    return Call(method="POST", path=path, json={"slot": slot} if slot is not None else {}, repeatable=True)


def model(name: str, order: str, slot: str | None) -> Call:
    """``order``: ``load``, ``unload``, ``pin``, ``unpin`` or ``check``. Raises: ValueError: no model's name."""
    if name in ("", ".", ".."):
        raise ValueError(f"{name!r} is no model's name")
    path = f"/v1/models/{quote(name, safe='')}/{order}"
    return Call(method="POST", path=path, json={"slot": slot} if slot is not None else {})


def create_key(service: str, fields: Mapping[str, Any]) -> Call:
    body = {"service": service, **{name: value for name, value in fields.items() if value is not None}}
    if "job_class" in body:
        body["class"] = body.pop("job_class")
    return Call(method="POST", path="/v1/admin/keys", json=body)


def revoke_key(service: str) -> Call:
    """Raises: ValueError: a name that no key can have."""
    return Call(method="DELETE", path=_key_path(service))


def set_webhook(service: str, url: str | None, events: Sequence[str] | None, *, new_secret: bool) -> Call:
    """Raises: ValueError: a name that no key can have."""
    fields = {"url": url, "events": None if events is None else [*events], "new_secret": new_secret or None}
    body = {name: value for name, value in fields.items() if value is not None}
    return Call(method="PUT", path=_key_path(service) + "/webhook", json=body)


def remove_webhook(service: str) -> Call:
    """Raises: ValueError: a name that no key can have."""
    return Call(method="DELETE", path=_key_path(service) + "/webhook", repeatable=True)


def resend_webhooks(task_id: str, event: str | None) -> Call:
    call = task("POST", task_id, "/webhooks/resend")
    return Call(method=call.method, path=call.path, json={} if event is None else {"event": event})


def _key_path(service: str) -> str:
    if service in ("", ".", ".."):
        raise ValueError(f"{service!r} is no service's name")
    return f"/v1/admin/keys/{quote(service, safe='')}"


CANCEL_RUNNING = Call(method="DELETE", path="/v1/tasks/running")
MODELS = Call(method="GET", path="/v1/models")
SERVICE = Call(method="GET", path="/v1/service/status")
DEAD = Call(method="GET", path="/v1/admin/dead")
KEYS = Call(method="GET", path="/v1/admin/keys")
