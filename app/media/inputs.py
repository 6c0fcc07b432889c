"""Checks and stores input files, which callers send as a link, a data URL, base64 or an upload.

The content decides about the format, not a file name or a media type; images may be PNG, JPEG and WebP. Limits are
checked before the work that they limit: bytes before base64, pixels before decoding.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from app.media import flattening, recordings
from app.media.decoding import off_the_hub
from app.media.pictures import MEDIA_TYPES, Normalised, normalised, refused, too_large
from jobs.errors import InvalidRequest, ObjectNotFound
from jobs.objects.base import ObjectStore
from jobs.outbound.download import download
from jobs.settings import Settings
from jobs.store.jobs import JobStore

_SCHEME = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]{0,20}:")
#: RFC 2397. The media type may be any or none: programs and browsers write what they like.
_DATA_URL = re.compile(r"\s*data:([^,]{0,1000}),", re.IGNORECASE)
_BASE64 = ";base64"
#: Characters of base64 that are decoded at once: that keeps the interpreter to itself.
_STEP_CHARS = 1024 * 1024


class Readable(Protocol):
    """An open upload, such as the ``stream`` of werkzeug's ``FileStorage``."""

    def read(self, size: int, /) -> bytes: ...


#: Media types of videos and sounds by suffix.
_RECORDINGS = {
    "video": {"mp4": "video/mp4", "webm": "video/webm", "gif": "image/gif"},
    "audio": {"wav": "audio/wav", "mp3": "audio/mpeg", "ogg": "audio/ogg", "m4a": "audio/mp4", "webm": "audio/webm"},
}


@dataclass(frozen=True)
class StoredInput:
    """A checked and stored input file."""

    #: The object's key, ``inputs/<sha256>.<token>.<suffix>``. It is kept for ``UNUSED_FILES_GRACE_S``, and as long as a
    #: job needs it that is submitted within that time.
    key: str
    #: Width and height as a viewer shows it, pixels.
    size: tuple[int, int]
    #: Duration of a video or sound; 0 for a picture.
    seconds: float = 0.0


def store_image(
    value: str | bytes | Readable, *, settings: Settings, objects: ObjectStore, records: JobStore, field: str = "image",
    **options: Any,
) -> StoredInput:  # fmt: skip
    """Check an input image and store it once per content; see :func:`checked_image` and :func:`stored`."""
    return stored(checked_image(value, settings=settings, field=field, **options), objects, records)


def checked_image(
    value: str | bytes | Readable, *, settings: Settings, field: str = "image", repainted: str = "",
    inverted: bool = False, max_side_px: int = 0, may_be_animated: bool = False, as_sent: bool = False,
) -> Normalised:  # fmt: skip
    """Check an input image; return it as it is to be stored.

    The file is unchanged, unless a worker would see another picture than the caller: an image with an EXIF
    orientation, transparency, a palette, CMYK or 16 bits, or with data after the image, is converted to an upright
    8-bit RGB PNG on white (a mask: see ``app.media.flattening``).

    Args:
        value: http or https link, data URL, base64 (standard or URL-safe alphabet, padding optional, white space
            ignored), or an upload.
        settings: ``max_input_bytes``, ``max_input_px``, ``input_url_timeout_s``, ``input_url_allow``.
        field: name of the field for errors; ``mask`` is a mask.
        repainted: which pixels of a mask with transparency are repainted, ``opaque`` or ``transparent``, whatever their
            colour; '' for white ones.
        inverted: whether black and white of a mask are exchanged first.
        max_side_px: longest side in the output's format, if the output has the size of this image; 0: no limit.
        may_be_animated: whether a GIF or another animation is accepted, of which the first picture counts.
        as_sent: whether another server reads the file, which is therefore unchanged if it ends with its only image.

    Raises:
        InvalidRequest: names the field.
        DecodingBusy: too many pictures are being decoded.
    """
    flatten = flattening.on_white
    if field == "mask":
        flatten = flattening.OF_MASKS[repainted]
    try:
        if isinstance(value, str):
            shown = value[:80] if "@" not in value[:80] else None
            data = bytes_of(value, settings)
        else:
            shown = None
            data = value if isinstance(value, bytes) else value.read(settings.inputs.max_bytes + 1)
        return normalised(
            data, settings, shown, flatten, inverted=inverted, max_side_px=max_side_px,
            may_be_animated=may_be_animated, as_sent=as_sent,
        )  # fmt: skip
    except InvalidRequest as exc:
        raise InvalidRequest(*(replace(problem, field=field) for problem in exc.problems)) from exc


def checked_recording(value: str | bytes, kind: str, *, settings: Settings, field: str) -> Normalised:
    """Check a video or sound and return it unchanged.

    Args:
        value: as for :func:`checked_image`.
        kind: ``video`` or ``audio``.
        settings: ``max_input_bytes``, ``max_input_px``, ``max_input_s``, ``input_url_timeout_s``, ``input_url_allow``.
        field: name of the field for errors.

    Raises:
        InvalidRequest: names the field.
        DecodingBusy: too many files are being decoded.
    """
    try:
        return recordings.checked(bytes_of(value, settings) if isinstance(value, str) else value, kind, settings)
    except InvalidRequest as exc:
        raise InvalidRequest(*(replace(problem, field=field) for problem in exc.problems)) from exc


def stored(file: Normalised, objects: ObjectStore, records: JobStore, kind: str = "image") -> StoredInput:
    """Store a checked file once per content, reserved for a job that is about to be submitted. Raises: Unavailable."""
    media_type = _RECORDINGS.get(kind, MEDIA_TYPES)[file.suffix]
    key = store_once(file.content, file.suffix, media_type, objects, records)
    return StoredInput(key, file.size, file.seconds)


def store_once(content: bytes, ending: str, media_type: str, objects: ObjectStore, records: JobStore) -> str:
    """Store an input file, unless the same content is stored already; return its key.

    Raises: Unavailable.
    """
    key = records.reserve_input(off_the_hub(lambda: hashlib.sha256(content).hexdigest()), ending)
    try:
        objects.stat(key)
    except ObjectNotFound:
        put(objects, key, content, media_type)
    return key


def put(objects: ObjectStore, key: str, content: bytes, media_type: str) -> None:
    """Store a file; a disk, which gevent cannot wait for, is written in a thread. Raises: Unavailable."""
    if objects.is_local:
        off_the_hub(lambda: objects.put_bytes(key, content, media_type))
    else:
        objects.put_bytes(key, content, media_type)


def put_file(objects: ObjectStore, key: str, path: Path, media_type: str, sha256: str) -> None:
    """Store a file of this server in the same way. Raises: Unavailable."""
    if objects.is_local:
        off_the_hub(lambda: objects.put_file(key, path, media_type, sha256=sha256))
    else:
        objects.put_file(key, path, media_type, sha256=sha256)


def bytes_of(text: str, settings: Settings) -> bytes:
    """Return the contents of a link, data URL or base64. Raises: InvalidRequest: names the field ``image``."""
    data_url = _DATA_URL.match(text)
    if data_url and f";{data_url[1]}".rstrip().lower().endswith(_BASE64):
        return _from_base64(text, data_url.end(), settings)
    if text[:80].lstrip().lower().startswith("data:"):
        raise refused("must be base64, if it is a data URL: data:image/png;base64,…", text[:80])
    if _SCHEME.match(text):
        return download(
            text.strip(),
            max_bytes=settings.inputs.max_bytes,
            timeout_s=settings.inputs.url_timeout_s,
            allow_hosts=settings.inputs.allowed_hosts,
        )
    return _from_base64(text, 0, settings)


def _from_base64(text: str, start: int, settings: Settings) -> bytes:
    """Decode base64 in either alphabet of RFC 4648 from position ``start`` on; padding is optional."""
    shown = text[:80]
    try:
        content = off_the_hub(lambda: _decoded(_pieces(text, start), settings.inputs.max_bytes))
    except ValueError:
        raise refused("must be job:<id>, an http or https link, a data URL or valid base64", shown) from None
    if len(content) > settings.inputs.max_bytes:
        raise too_large(settings, shown)
    return content


def _pieces(text: str, start: int) -> Iterator[str]:
    """Yield the digits and the padding, without white space. The content of a data URL may be escaped."""
    is_escaped = start > 0 and text.find("%", start) >= 0
    held = ""
    for at in range(start, len(text), _STEP_CHARS):
        piece = held + text[at : at + _STEP_CHARS]
        if is_escaped:
            percent = piece.rfind("%", len(piece) - 2) if at + _STEP_CHARS < len(text) else -1
            piece, held = (piece, "") if percent < 0 else (piece[:percent], piece[percent:])
            piece = unquote_to_bytes(piece).decode("ascii", "replace")
        yield "".join(piece.split()).translate({ord("-"): "+", ord("_"): "/"})


def _decoded(pieces: Iterable[str], max_bytes: int) -> bytes:
    """Return what the pieces encode, or its beginning if it is longer than ``max_bytes``. Raises: ValueError."""
    content, left, padding = io.BytesIO(), "", 0
    for piece in pieces:
        digits = piece.rstrip("=")
        if "=" in digits or (padding and digits):
            raise ValueError("padding within the data")
        padding += len(piece) - len(digits)
        digits = left + digits
        whole = len(digits) // 4 * 4
        left = digits[whole:]
        content.write(base64.b64decode(digits[:whole], validate=True))
        if content.tell() > max_bytes:
            return content.getvalue()
    if padding > 2:
        raise ValueError("too much padding")
    content.write(base64.b64decode(left + "=" * (-len(left) % 4), validate=True))
    return content.getvalue()
