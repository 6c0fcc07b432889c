"""What an image or video file says about its making; of other programs' files, the text that A1111 writes.

``workers/delivery/encode/metadata.py`` writes it and says where. Pillow and PyAV, which read it, are imported
when needed.
"""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from framemill.errors import NoMetadata

_EXIF_IFD, _USER_COMMENT, _MAKER_NOTE = 0x8769, 0x9286, 0x927C
_MAKER = b"framemill\0"
#: More than any request can be; a hostile file unpacks to no more, bytes.
_MAX_JSON_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Making:
    """How a file was made."""

    #: The complete request with ``job_id`` and ``index``; empty for a file of another program.
    request: Mapping[str, Any] = field(default_factory=dict)
    #: Prompt, negative prompt and one line of ``Key: value``, as A1111 writes them; "" where there is none.
    parameters: str = ""

    @property
    def own_seeds(self) -> dict[str, int]:
        """What makes this one of a job's images alone: ``seed``, and ``variation_seed`` where noise is mixed."""
        index, variation = int(self.request.get("index", 0)), self.request.get("variation")
        if variation:
            return {"seed": self.request["seed"], "variation_seed": variation["seed"] + index}
        return {"seed": self.request["seed"] + index} if "seed" in self.request else {}


def read(path: str | PathLike[str]) -> Making:
    """Read a PNG, WebP, JPEG, GIF, MP4 or WebM file.

    Raises:
        NoMetadata: it says nothing about its making, or is no such file.
        OSError: it cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(12)
    is_video = start[4:8] == b"ftyp" or start[:4] == b"\x1aE\xdf\xa3"
    text, parameters = _of_video(path) if is_video else _of_image(path)
    try:
        request = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        request = {}
    if not isinstance(request, dict) or "prompt" not in request:
        request = {}  # somebody else's comment
    if not request and not parameters:
        raise NoMetadata(f"{path} does not say how it was made")
    return Making(request, parameters)


def _of_image(path: Path) -> tuple[str, str]:
    from PIL import Image, UnidentifiedImageError

    try:
        # Only the head is read: the size of the picture does not matter.
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(path, formats=("PNG", "WEBP", "JPEG", "GIF")) as image,
        ):
            info = image.info
            if image.format == "PNG":
                return _text(info.get("framemill")), _text(info.get("parameters"))
            if image.format == "GIF":
                return _text(info.get("comment")), ""
            fields = image.getexif().get_ifd(_EXIF_IFD)
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as exc:
        raise NoMetadata(f"{path} is no PNG, WebP, JPEG, GIF, MP4 or WebM file") from exc
    return _unpacked(fields.get(_MAKER_NOTE)), _comment(fields.get(_USER_COMMENT))


def _of_video(path: Path) -> tuple[str, str]:
    import av

    try:
        with av.open(str(path)) as container:
            tags = {name.lower(): value for name, value in container.metadata.items()}
    except (av.FFmpegError, UnicodeDecodeError) as exc:
        raise NoMetadata(f"{path} is a broken video") from exc
    text, parameters = tags.get("comment", ""), tags.get("description", "")
    return text, parameters if "Steps: " in parameters else ""


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _unpacked(note: Any) -> str:
    if not isinstance(note, bytes) or not note.startswith(_MAKER):
        return ""
    try:
        return zlib.decompressobj().decompress(note[len(_MAKER) :], _MAX_JSON_BYTES).decode()
    except (zlib.error, UnicodeDecodeError):
        return ""


def _comment(value: Any) -> str:
    """The EXIF field UserComment: eight bytes name the coding."""
    if not isinstance(value, bytes):
        return _text(value)
    coding = {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "ascii"}.get(value[:8], "utf-8")
    return value[8:].decode(coding, "replace").strip("\0")
