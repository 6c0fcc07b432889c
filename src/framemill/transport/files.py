"""Names of the files that outputs are saved to, and the format that a name asks for."""

from __future__ import annotations

import mimetypes
import secrets
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from framemill.records import Job

#: File extensions of media types that Python or the system may not know.
_EXTENSIONS = {"image/webp": ".webp", "image/jpeg": ".jpg", "video/webm": ".webm"}
#: Extension → ``output_format``.
_FORMATS = {f".{name}": name for name in ("png", "webp", "jpeg", "mp4", "webm", "gif")} | {".jpg": "jpeg"}


def extension_of(media_type: str) -> str:
    """Return the file extension of a media type, ``.bin`` if it is unknown."""
    return _EXTENSIONS.get(media_type) or mimetypes.guess_extension(media_type) or ".bin"


def targets(job: Job, path: str | PathLike[str]) -> list[tuple[int, Path]]:
    """Return the index of each output of a job, and the file that it is saved to.

    Args:
        job: it has succeeded.
        path: file of the first output, ``circle.png``; the others are ``circle-1.png`` and so on. In a folder the files
            are named after the job.
    """
    first = Path(path)
    if first.is_dir():
        first /= job.id + (extension_of(job.outputs[0].media_type) if job.outputs else ".bin")
    indexes = [output.index for output in job.outputs] or [0]  # without outputs, the server's error says why
    return [(index, first if index == indexes[0] else first.with_name(f"{first.stem}-{index}{first.suffix}"))
            for index in indexes]  # fmt: skip


def with_format(fields: Mapping[str, Any], path: str | PathLike[str] | None) -> dict[str, Any]:
    """Return the fields of a job with the ``output_format`` that the name of a file asks for, unless they have one."""
    asked = _FORMATS.get(Path(path).suffix.lower()) if path is not None else None
    return {"output_format": asked, **fields} if asked else dict(fields)


def check_name(path: str | None, output_format: str | None) -> None:
    """Check that the name of a file and ``output_format`` agree.

    Raises:
        ValueError: they do not, or the name is that of a picture or video that no output can be.
    """
    suffix = Path(path or "").suffix.lower()
    asked = _FORMATS.get(suffix)
    if asked and output_format and asked != output_format:
        raise ValueError(f"{path} is a name for {asked}, but the format is {output_format}")
    if asked is None and (mimetypes.guess_type(f"x{suffix}")[0] or "").startswith(("image/", "video/")):
        raise ValueError(f"{path}: no output can be a {suffix} file; known: {', '.join(_FORMATS)}")


def check_output(path: str | PathLike[str], job: Job) -> None:
    """Raises: ValueError: the name of a file asks for another format than the outputs of a job have."""
    asked = _FORMATS.get(Path(path).suffix.lower())
    found = {output.media_type for output in job.outputs} & {_media_type(name) for name in _FORMATS.values()}
    if asked and found and _media_type(asked) not in found:
        media_type = sorted(found)[0]
        name = Path(path).with_suffix(extension_of(media_type)).name
        raise ValueError(f"{path} is a name for {asked}, but the output is {media_type}: name it {name}")


def _media_type(output_format: str) -> str:
    return f"{'video' if output_format in ('mp4', 'webm') else 'image'}/{output_format}"


def idempotent(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a job with an idempotency key, so that the client may send them again."""
    return {"idempotency_key": secrets.token_hex(16), **fields}
