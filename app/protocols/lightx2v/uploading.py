"""``presigned_url``: the link that an image is uploaded to instead of being sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.extensions import objects, settings
from jobs.errors import InvalidRequest, Problem
from jobs.outbound.links import LinkRefused
from jobs.outbound.post import check_address
from jobs.outbound.upload import upload
from jobs.record import Job

FIELD = "presigned_url"
#: Longest wait for the name of the link's host before a task is accepted, seconds.
RESOLVE_S = 10.0


class UploadFailed(Exception):
    """The image could not be uploaded. The text is for the client."""


def link_of(body: Mapping[str, Any]) -> str:
    """Return the link of a task; '' for none."""
    url = body.get(FIELD)
    return url.strip() if isinstance(url, str) else ""  # the schema refuses other types


def check_link(body: Mapping[str, Any]) -> None:
    """Raise InvalidRequest if nothing may be uploaded to the link of a task."""
    if not (url := link_of(body)):
        return
    try:
        check_address(url, timeout_s=RESOLVE_S, allow_hosts=settings().outputs.upload_hosts)
    except LinkRefused as exc:
        # Without the link, which is a secret: it lets everyone write to the bucket.
        raise InvalidRequest(Problem(FIELD, f"is not allowed: {exc}")) from None


def upload_image(job: Job, url: str) -> None:
    """Upload the image of a job that succeeded. Raises: UploadFailed, ObjectNotFound, Unavailable."""
    output, options = job.outputs[0], settings().outputs
    result = upload(
        url, b"".join(objects().read(output.key)), output.media_type, timeout_s=options.upload_timeout_s,
        allow_hosts=options.upload_hosts,
    )  # fmt: skip
    if not result.accepted:
        reason = result.error or f"it answers {result.status}"
        raise UploadFailed(f"Failed to upload sync result to presigned URL: {reason}")
