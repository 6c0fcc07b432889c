"""The messages of the socket: parse those of clients, and build those of the server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.protocols.devoid.wire import Incoming
from jobs.errors import InvalidRequest, MalformedBody, Problem
from jobs.store.outgoing.subscriber_queue import MessageDetails

EXECUTORS = ("kandinsky", "automatic1111")
GEN_TYPES = ("text2img", "img2img", "mix2img")
#: Maximum size of a message to clients, which close the socket above 1 MiB.
MAX_MESSAGE_BYTES = 1_000_000
#: Texts of a payload that are longer than this are images; they are returned empty.
MAX_ECHOED_CHARS = 10_000
#: Maximum size of ``service_info`` and ``settings``, in characters of JSON.
MAX_INFO_CHARS = 100_000
#: Smallest ``avg_time``, seconds.
MIN_AVG_TIME_S = 4


@dataclass(frozen=True)
class Request:
    """A ``request`` message. Its objects keep unknown fields, which are returned unchanged."""

    executor: str
    gen_type: str
    settings: dict[str, Any]
    service_info: dict[str, Any]
    payload: dict[str, Any]

    @property
    def correlation(self) -> dict[str, Any]:
        """Correlation data of every message about the request."""
        return {"executor": self.executor, "gen_type": self.gen_type, "service_info": self.service_info}

    @property
    def final_correlation(self) -> dict[str, Any]:
        """Further correlation data of the last message about the request."""
        return {"settings": self.settings, "payload": _without_images(self.payload)}


@dataclass(frozen=True)
class Frame:
    """A frame with a JSON object, which need not be a valid message."""

    message_type: Any
    body: dict[str, Any] = field(default_factory=dict)

    def correlation(self) -> dict[str, Any]:
        """Correlation data of an error about the frame."""
        known = {"executor": EXECUTORS, "gen_type": GEN_TYPES}
        valid = {
            name: next((value for value in values if value == self.body.get(name)), None)
            for name, values in known.items()
        }
        return {**valid, "service_info": self._info("service_info")}

    def final_correlation(self) -> dict[str, Any]:
        """Further correlation data of an error about the frame."""
        payload = self.body.get("payload")
        echoed = _without_images(payload) if isinstance(payload, dict) else {}
        return {"settings": self._info("settings"), "payload": echoed}

    def _info(self, name: str) -> dict[str, Any]:
        value = self.body.get(name)
        return value if isinstance(value, dict) and _size(value) <= MAX_INFO_CHARS else {}


def parse_frame(message: Incoming) -> Frame:
    """Return the frame of a message. Raises: InvalidRequest: it is not JSON, or not an object."""
    if message.error is not None:
        raise message.error
    if not isinstance(message.value, dict):
        raise MalformedBody(Problem("message", "must be a JSON object"))
    return Frame(message.value.get("message_type"), message.value)


def parse_request(frame: Frame) -> Request:
    """Check a request. Raises: InvalidRequest: names every problem."""
    body, problems = frame.body, []
    for name, allowed in (("executor", EXECUTORS), ("gen_type", GEN_TYPES)):
        if body.get(name) not in allowed:
            problems.append(Problem(name, f"must be one of {', '.join(allowed)}", body.get(name)))
    objects = {}
    for name in ("settings", "service_info", "payload"):
        value = body.get(name)
        objects[name] = value if isinstance(value, dict) else {}
        if value is not None and not isinstance(value, dict):
            problems.append(Problem(name, "must be an object", str(value)))
        if name != "payload" and _size(objects[name]) > MAX_INFO_CHARS:
            problems.append(Problem(name, f"must not exceed {MAX_INFO_CHARS} characters"))
    if (body.get("executor"), body.get("gen_type")) in (("kandinsky", "img2img"), ("automatic1111", "mix2img")):
        problems.append(Problem("gen_type", f"is not supported by {body['executor']}", body["gen_type"]))
    if problems:
        raise InvalidRequest(*problems)
    return Request(body["executor"], body["gen_type"], **objects)


def progress(service: str, job_id: str, status: str, correlation: Mapping[str, Any], avg_time: float) -> dict[str, Any]:
    """Return the message ``queued`` or ``generating``."""
    return {
        "object_id": job_id, "service": service, "message_type": "response", "executor": correlation.get("executor"),
        "gen_type": correlation.get("gen_type"), "gen_status": status, "avg_time": avg_time,
        "service_info": correlation.get("service_info", {}),
    }  # fmt: skip


def ending(
    service: str, job_id: str, status: str, correlation: Mapping[str, Any], final_correlation: Mapping[str, Any],
    result: Mapping[str, Any], avg_time: float,
) -> dict[str, Any]:  # fmt: skip
    """Return the message ``ok`` or ``error``."""
    message = progress(service, job_id, status, correlation, avg_time)
    info = message.pop("service_info")
    return {
        **message, "result": result, "settings": final_correlation.get("settings", {}), "service_info": info,
        "payload": final_correlation.get("payload", {}),
    }  # fmt: skip


def image(link_prefix: str, job_id: str) -> dict[str, Any]:
    """Return the result of a job that succeeded."""
    name = f"{job_id}.jpg"
    return {"content_type": "image_url", "content": link_prefix + name, "file_name": name}


def text(content: str) -> dict[str, Any]:
    """Return the result of a job that did not succeed."""
    return {"content_type": "text", "content": content}


def failure_of(details: MessageDetails) -> str:
    """Return why a job ended without an image."""
    if details.error:
        return details.error["message"]
    return "the job was cancelled" if details.state == "cancelled" else "the job was deleted"


def avg_time(quoted_s: float | None) -> float:
    """Return the expected duration of a job, seconds, as clients receive it."""
    return max(MIN_AVG_TIME_S, round(quoted_s or 0, 2))


def _without_images(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload without its images, or an empty one if it is still too long."""
    short: dict[str, Any] = _shortened(payload)
    return short if _size(short) <= MAX_MESSAGE_BYTES - 3 * MAX_INFO_CHARS else {}


def _size(value: Any) -> int:
    """Return the number of characters as JSON."""
    return len(json.dumps(value))


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MAX_ECHOED_CHARS else ""
    if isinstance(value, list):
        return [_shortened(part) for part in value]
    if isinstance(value, dict):
        return {name: _shortened(part) for name, part in value.items()}
    return value
