"""Store the results that workers over HTTP send."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from typing import Any

from app.bodies.file_strings import FileString, is_sound, size_in, texts_in
from app.media.decoding import from_base64, off_the_hub
from app.media.inputs import put, put_file
from app.protocols.aime.endpoints.spec import Endpoint
from app.protocols.aime.inputs import images
from app.protocols.aime.workers.memory import Run
from jobs.errors import ExecutionError
from jobs.objects.base import ObjectStore
from jobs.record import Output

#: Measurements of a worker that clients receive unchanged.
MEASURED = ("arrival_time", "finished_time", "pending_duration", "preprocessing_duration")

_DATA_URI = re.compile(r"data:((?:image|audio|video)/[\w.+-]+)(?:;[^;,]*)*?;base64,", re.ASCII)
_EXTENSIONS = {"jpeg": "jpg", "vnd.wave": "wav", "x-wav": "wav", "mpeg": "mp3", "svg+xml": "svg"}
#: Most files of one output.
MAX_FILES = 256
_FILE_TYPES = ("image", "audio", "video", "image_list")


class OutputFiles:
    """The stored files of one attempt."""

    def __init__(self, run: Run, objects: ObjectStore) -> None:
        self.outputs: list[Output] = []
        self._objects = objects
        self._folder = f"outputs/{run.job_id}/{run.attempt}.{time.time_ns()}"

    def store(self, value: Any) -> int | None:
        """Store a data URI and return its index, or None if the value is not a valid data URI."""
        if isinstance(value, FileString):
            media_type = _DATA_URI.match(value.head)
            if not value.is_valid or media_type is None:
                return None
            self.outputs.append(self._put_file(value, media_type[1]))
            return len(self.outputs) - 1
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
        key = self._key(media_type)
        put(self._objects, key, content, media_type)
        width, height = off_the_hub(lambda: images.size_of(content)) if media_type.startswith("image/") else (0, 0)
        digest = off_the_hub(lambda: hashlib.sha256(content).hexdigest())
        return Output(
            key=key, media_type=media_type, bytes=len(content), sha256=digest, width=width, height=height
        )  # fmt: skip

    def _put_file(self, file: FileString, media_type: str) -> Output:
        key = self._key(media_type)
        put_file(self._objects, key, file.path, media_type, file.sha256)
        is_image = media_type.startswith("image/")
        width, height = off_the_hub(lambda: images.size_of(file.path)) if is_image else (0, 0)
        return Output(
            key=key, media_type=media_type, bytes=file.size_bytes, sha256=file.sha256, width=width, height=height
        )  # fmt: skip

    def _key(self, media_type: str) -> str:
        subtype = media_type.partition("/")[2]
        extension = re.sub("[^a-z0-9]", "", _EXTENSIONS.get(subtype, subtype).lower()) or "bin"
        return f"{self._folder}/{len(self.outputs)}.{extension}"


def _value(name: str, value: Any, max_bytes: int) -> Any:
    """Return a value that is kept in the record. Raises: ExecutionError: it is too long for that."""
    if not is_sound(value):
        raise ExecutionError(f"the worker sent {name} with base64 that cannot be decoded")
    size_bytes = size_in(value) + (len(value) if isinstance(value, str) else 0)
    if size_bytes > max_bytes:
        rule = f"a value may have {max_bytes} bytes, a file must be a valid data URI"
        raise ExecutionError(f"the worker sent {size_bytes} bytes as {name}; {rule}")
    return texts_in(value)


def store_outputs(
    endpoint: Endpoint, run: Run, fields: Mapping[str, Any], objects: ObjectStore, max_value_bytes: int
) -> tuple[list[Output], dict[str, Any]]:
    """Store the files of a result.

    Args:
        endpoint: declares the outputs; other fields are ignored.
        run: the attempt that computed it.
        fields: the result as the worker sent it.
        objects: the object store.
        max_value_bytes: longest value that is no file.

    Returns:
        The stored files, and the result with the indexes of files in place of their content.

    Raises:
        ExecutionError: an output has too many files, or is a long text in base64 that is no file.
        Unavailable: the object store does not respond.
    """
    files = OutputFiles(run, objects)
    result: dict[str, Any] = {}
    for name, spec in endpoint.outputs.items():
        value = fields.get(name)
        if value is None:
            continue
        is_list = isinstance(value, list)
        if is_list and spec.type in _FILE_TYPES and len(value) > MAX_FILES:
            raise ExecutionError(f"the worker sent {len(value)} files as {name}; there may be {MAX_FILES}")
        is_file = spec.type in _FILE_TYPES or isinstance(value, FileString)
        indexes = [files.store(item) for item in (value if is_list else [value])] if is_file else []
        if indexes and None not in indexes:
            result[name] = {"files": indexes if is_list else indexes[0]}
        else:
            result[name] = {"value": _value(name, value, max_value_bytes)}
    session = [name for name in endpoint.session_vars if fields.get(name) is not None]
    if variables := {name: _value(name, fields[name], max_value_bytes) for name in session}:
        result["_session"] = variables
    result["_worker"] = {
        "auth": fields.get("auth"),
        "interface_version": fields.get("version"),
        **{name: fields[name] for name in MEASURED if isinstance(fields.get(name), int | float)},
    }
    return files.outputs, result
