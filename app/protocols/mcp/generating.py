"""The tools that generate: from checked arguments to an accepted job."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Any

from app import attachments
from app import submit as core
from app.problems import Problems
from app.protocols.mcp import cancelling
from app.protocols.mcp.schemas import MAX_WAIT_S
from app.protocols.mcp.waits import Wait
from app.protocols.mcp.wire.eras import Call
from jobs.errors import IdempotencyMismatch
from jobs.models.spec import Kind
from jobs.requests.inputs import FILES
from jobs.strict_json import dumps

PROTOCOL = "mcp"
#: The id of a job, and the index of an output; no base64 of a picture is as short.
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(?:/[0-9]{1,4})?")


def generate_image(call: Call, values: dict[str, Any], problems: Problems) -> Wait:
    """Make an image."""
    return _submitted(call, Kind.TEXT2IMG, values, problems)


def edit_image(call: Call, values: dict[str, Any], problems: Problems) -> Wait:
    """Change an image."""
    return _submitted(call, kind_of("edit_image", values), values, problems)


def generate_video(call: Call, values: dict[str, Any], problems: Problems) -> Wait:
    """Make a video."""
    return _submitted(call, kind_of("generate_video", values), values, problems)


def kind_of(tool: str, values: dict[str, Any]) -> Kind:
    """Return the kind of the job that a tool makes of its arguments."""
    if tool == "edit_image":
        return Kind.INPAINT if values.get("mask") else Kind.EDIT if values.get("images") else Kind.IMG2IMG
    if tool == "generate_video" and values.get("video"):
        return Kind.VIDEO2VIDEO
    if tool == "generate_video":
        return Kind.IMG2VIDEO if values.get("image") else Kind.TEXT2VIDEO
    return Kind.TEXT2IMG


def _reference(text: str) -> str:
    """Return ``job:<id>`` for the id of a job, anything else as it is."""
    return f"job:{text.strip()}" if _JOB.fullmatch(text.strip()) else text


def _submitted(call: Call, kind: Kind, values: dict[str, Any], problems: Problems) -> Wait:
    """Accept a job.

    Raises:
        InvalidRequest: names each wrong argument.
        Forbidden, QueueFull, Unavailable: not accepted.
    """
    wait_s = values.pop("wait_s", MAX_WAIT_S)
    values = {**values, "kind": str(kind)}
    for name in FILES:
        if name in values:
            values[name] = _reference(values[name])
    for control in values.get("controls") or ():
        control["image"] = _reference(control["image"])
    if values.get("images"):
        values["images"] = [values.pop("image", ""), *(_reference(text) for text in values["images"])]
    mark = cancelling.mark_of(call)
    pictures = attachments.take(values, {})
    digest = hashlib.sha256(f"{dumps(values, sort_keys=True)} {pictures.fingerprint()}".encode()).hexdigest()
    attachments.assume(values, problems.fields)
    with problems.collected():
        prepared = core.prepare(
            values, pictures, [], refused=problems.names, protocol=PROTOCOL, idempotency_key=mark,
            fingerprint=digest if mark else "",
        )  # fmt: skip
    problems.check()
    try:
        submitted = core.accept(prepared)
    except IdempotencyMismatch:  # the client uses the id of an earlier request again
        submission = replace(prepared.submission, idempotency_key="", fingerprint="")
        submitted = core.accept(replace(prepared, submission=submission))
    return Wait(submitted.job, submitted.forecast, wait_s, makes_job=True)
