"""Store the results that workers over HTTP send."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from typing import Any

from app.media.decoding import from_base64, off_the_hub
from app.media.inputs import put
from app.protocols.aime.endpoints.spec import Endpoint
from app.protocols.aime.inputs import images
from jobs.errors import ExecutionError
from jobs.objects.base import ObjectStore
from jobs.record import Job, Output

#: Measurements of a worker that clients receive unchanged.
MEASURED = ("arrival_time", "finished_time", "pending_duration", "preprocessing_duration")

_DATA_URI = re.compile(r"data:((?:image|audio|video)/[\w.+-]+)(?:;[^;,]*)*?;base64,", re.ASCII)
_EXTENSIONS = {"jpeg": "jpg", "vnd.wave": "wav", "x-wav": "wav", "mpeg": "mp3", "svg+xml": "svg"}
#: Most files of one output.
MAX_FILES = 256
_FILE_TYPES = ("image", "audio", "video", "image_list")


class OutputFiles:
    """The stored files of one attempt."""

    def __init__(self, job: Job, attempt: int, objects: ObjectStore) -> None:
        self.outputs: list[Output] = []
        self._objects = objects
        self._folder = f"outputs/{job.job_id}/{attempt}.{time.time_ns()}"

    def store(self, value: Any) -> int | None:
        """Store a data URI and return its index, or None if the value is not a valid data URI."""
        head = _DATA_URI.match(value) if isinstance(value, str) else None
        if head is None:
            return None
        try:
            content = from_base64(value[head.end() :])
        except ValueError:
            return None
        self.outputs.append(self._put(content, head[1]))
        return len(self.outputs) - 1

    def _put(self, content: bytes, media_type: str) -> Output:
        subtype = media_type.partition("/")[2]
        extension = re.sub("[^a-z0-9]", "", _EXTENSIONS.get(subtype, subtype).lower()) or "bin"
        key = f"{self._folder}/{len(self.outputs)}.{extension}"
        put(self._objects, key, content, media_type)
        width, height = off_the_hub(lambda: images.size_of(content)) if media_type.startswith("image/") else (0, 0)
        digest = off_the_hub(lambda: hashlib.sha256(content).hexdigest())
        return Output(
            key=key, media_type=media_type, bytes=len(content), sha256=digest, width=width, height=height
        )  # fmt: skip


def store_outputs(
    endpoint: Endpoint, job: Job, attempt: int, fields: Mapping[str, Any], objects: ObjectStore
) -> tuple[list[Output], dict[str, Any]]:
    """Store the files of a result.

    Args:
        endpoint: declares the outputs; other fields are ignored.
        job: the job.
        attempt: the attempt that computed it.
        fields: the result as the worker sent it.
        objects: the object store.

    Returns:
        The stored files, and the result with the indexes of files in place of their content.

    Raises:
        ExecutionError: an output has too many files.
        Unavailable: the object store does not respond.
    """
    files = OutputFiles(job, attempt, objects)
    result: dict[str, Any] = {}
    for name, spec in endpoint.outputs.items():
        value = fields.get(name)
        if value is None:
            continue
        is_list = isinstance(value, list)
        if is_list and spec.type in _FILE_TYPES and len(value) > MAX_FILES:
            raise ExecutionError(f"the worker sent {len(value)} files as {name}; there may be {MAX_FILES}")
        indexes = [files.store(item) for item in (value if is_list else [value])] if spec.type in _FILE_TYPES else []
        if indexes and None not in indexes:
            result[name] = {"files": indexes if is_list else indexes[0]}
        else:
            result[name] = {"value": value}
    if variables := {name: fields[name] for name in endpoint.session_vars if fields.get(name) is not None}:
        result["_session"] = variables
    result["_worker"] = {
        "auth": fields.get("auth"),
        "interface_version": fields.get("version"),
        **{name: fields[name] for name in MEASURED if isinstance(fields.get(name), int | float)},
    }
    return files.outputs, result
