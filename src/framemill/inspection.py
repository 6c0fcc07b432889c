"""Read how an image or video was made from the metadata in its file.

``workers/delivery/encode/metadata.py`` writes the metadata and documents where it is stored. Files of other programs
yield the text that A1111 writes. Pillow and PyAV, which read all but PNG files, are optional and imported when needed.
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

from framemill.errors import MissingPackage, NoMetadata

_EXIF_IFD, _USER_COMMENT, _MAKER_NOTE = 0x8769, 0x9286, 0x927C
_MAKER = b"framemill\0"
_PNG = b"\x89PNG\r\n\x1a\n"
#: Larger than any request, in bytes. Limits what a hostile file can unpack to.
_MAX_JSON_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class FileMetadata:
    """How a file was made."""

    #: The complete request with ``job_id`` and ``index``; empty for a file of another program.
    request: Mapping[str, Any] = field(default_factory=dict)
    #: Prompt, negative prompt and one line of ``Key: value`` pairs, as A1111 writes them; "" if there is none.
    parameters: str = ""

    @property
    def image_seeds(self) -> dict[str, int]:
        """Seeds that reproduce this image of its job alone: ``seed``, and ``variation_seed`` if noise was mixed in."""
        index, variation = int(self.request.get("index", 0)), self.request.get("variation")
        if variation:
            return {"seed": self.request["seed"], "variation_seed": variation["seed"] + index}
        return {"seed": self.request["seed"] + index} if "seed" in self.request else {}


def read_metadata(path: str | PathLike[str]) -> FileMetadata:
    """Read the metadata of a PNG, WebP, JPEG, GIF, MP4 or WebM file.

    Raises:
        NoMetadata: the file holds no record of how it was made, or has another format.
        MissingPackage: the package that reads this format is not installed.
        OSError: the file cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(12)
    is_video = start[4:8] == b"ftyp" or start[:4] == b"\x1aE\xdf\xa3"
    read = _of_png if start.startswith(_PNG) else _of_video if is_video else _of_image
    text, parameters = read(path)
    try:
        request = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        request = {}
    if not isinstance(request, dict) or "prompt" not in request:
        request = {}  # a comment of another program
    if not request and not parameters:
        raise NoMetadata(f"{path} does not say how it was made")
    return FileMetadata(request, parameters)


def _of_png(path: Path) -> tuple[str, str]:
    """Read the texts of a PNG without Pillow, which takes a file with large texts of other programs for damaged."""
    texts: dict[bytes, str] = {}
    with path.open("rb") as file:
        file.seek(len(_PNG))
        while head := file.read(8):
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if len(head) < 8 or not kind.isalpha():
                raise NoMetadata(f"{path} is a broken PNG file")
            if kind == b"IEND":
                break
            if kind in (b"tEXt", b"zTXt", b"iTXt") and length <= _MAX_JSON_BYTES:
                name, _, content = file.read(length).partition(b"\0")
                if name in (b"framemill", b"parameters"):
                    texts[name] = _text_of_chunk(kind, content)
                length = 0
            file.seek(length + 4, 1)  # with the checksum
    return texts.get(b"framemill", ""), texts.get(b"parameters", "")


def _text_of_chunk(kind: bytes, content: bytes) -> str:
    """Return the text behind the name in a chunk; '' if it is damaged."""
    is_compressed = kind == b"zTXt" or (kind == b"iTXt" and content[:1] == b"\1")
    text = {b"tEXt": content, b"zTXt": content[1:], b"iTXt": content[2:].split(b"\0", 2)[-1]}[kind]
    try:
        data = zlib.decompressobj().decompress(text, _MAX_JSON_BYTES) if is_compressed else text
        return data.decode("utf-8" if kind == b"iTXt" else "latin-1")
    except (zlib.error, UnicodeDecodeError):
        return ""


def _of_image(path: Path) -> tuple[str, str]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as exc:
        raise MissingPackage("reading images needs Pillow: pip install pillow") from exc

    try:
        # Only the header is read: the size of the picture does not matter.
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(path, formats=("WEBP", "JPEG", "GIF")) as image,
        ):
            if image.format == "GIF":
                return _text(image.info.get("comment")), ""
            fields = image.getexif().get_ifd(_EXIF_IFD)
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as exc:
        raise NoMetadata(f"{path} is not a PNG, WebP, JPEG, GIF, MP4 or WebM file") from exc
    return _unpacked(fields.get(_MAKER_NOTE)), _comment(fields.get(_USER_COMMENT))


def _of_video(path: Path) -> tuple[str, str]:
    try:
        import av
    except ImportError as exc:
        raise MissingPackage("reading videos needs PyAV: pip install av") from exc

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
    """Decode the EXIF field UserComment. Its first eight bytes name the encoding."""
    if not isinstance(value, bytes):
        return _text(value)
    encoding = {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "ascii"}.get(value[:8], "utf-8")
    return value[8:].decode(encoding, "replace").strip("\0")
