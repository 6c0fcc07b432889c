"""Checks and stores input images, which callers send as a link, a data URL, base64 or an upload.

The content decides about the format, not a file name or a media type; PNG, JPEG and WebP are accepted. Limits are
checked before the work that they limit: bytes before base64, pixels before decoding.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Protocol, TypeVar

from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from app import colour_profiles
from jobs.errors import InvalidRequest, ObjectNotFound, Problem
from jobs.objects.base import ObjectStore
from jobs.outbound.download import download
from jobs.settings import Settings
from jobs.store.jobs import JobStore

MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}

#: Pillow's readers by file signature. They are called directly: ``Image.open`` imports the readers of 40 more formats,
#: has a global limit, and reads the JPEGs of many phones as files with two pictures.
_READERS: tuple[tuple[re.Pattern[bytes], str, Callable[[io.BytesIO], Image.Image]], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png", PngImageFile),
    (re.compile(rb"\xff\xd8\xff"), "jpg", JpegImageFile),
    (re.compile(rb"RIFF....WEBPVP8[ LX]", re.DOTALL), "webp", WebPImageFile),
)
#: Whether a file ends where its image does. Data after the image (a zip archive, a script) is not stored.
_ENDS: dict[str, Callable[[bytes], bool]] = {
    "png": lambda data: data.endswith(b"\0\0\0\0IEND\xaeB`\x82"),
    "jpg": lambda data: data.endswith(b"\xff\xd9"),
    "webp": lambda data: len(data) == int.from_bytes(data[4:8], "little") + 8,
}
#: Most scans of a progressive JPEG. Each one covers the whole picture, so that many scans in a small file take minutes.
MAX_JPEG_SCANS = 100
_JPEG_SCAN = b"\xff\xda"
_SCHEME = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]{0,20}:")
#: RFC 2397. Browsers write octet-stream for files of an unknown type.
_DATA_URL = re.compile(
    r"\s*data:(?:image/(?:png|jpe?g|webp)|application/octet-stream)?(?:;[^;,]*)*?;base64,", re.IGNORECASE
)
_EXIF_ORIENTATION = 0x0112
_T = TypeVar("_T")


class Readable(Protocol):
    """An open upload, such as the ``stream`` of werkzeug's ``FileStorage``."""

    def read(self, size: int, /) -> bytes: ...


def store_image(
    value: str | bytes | Readable, *, settings: Settings, objects: ObjectStore, records: JobStore, field: str = "image",
    inverted: bool = False, max_side_px: int = 0,
) -> str:  # fmt: skip
    """Check an input image and store it once per content.

    The file is stored unchanged, unless a worker would see another picture than the caller: an image with an EXIF
    orientation, transparency, a palette, CMYK or 16 bits, or with data after the image, is converted to an upright
    8-bit RGB PNG on white (a mask, whose white is repainted: on black).

    Args:
        value: http or https link, data URL, base64 (standard or URL-safe alphabet, padding optional, white space
            ignored), or an upload.
        settings: ``max_input_bytes``, ``max_input_px``, ``input_url_timeout_s``, ``input_url_allow``.
        objects: stores the image.
        records: knows which images are stored, and reserves this one for a job that is about to be submitted.
        field: name of the field for errors; ``mask`` is a mask.
        inverted: whether black and white of a mask are exchanged first.
        max_side_px: longest side in the output's format, if the output has the size of this image; 0: no limit.

    Returns:
        The object's key, ``inputs/<sha256>.<token>.<png|jpg|webp>``. It is kept for ``UNUSED_FILES_GRACE_S``, and as
        long as a job needs it that is submitted within that time.

    Raises:
        InvalidRequest: names the field; nothing was stored.
        Unavailable: the object store or Redis does not answer.
    """
    backdrop = "black" if field == "mask" else "white"
    try:
        if isinstance(value, str):
            shown = value[:80] if "@" not in value[:80] else None
            data = bytes_of(value, settings)
        else:
            shown = None
            data = value if isinstance(value, bytes) else value.read(settings.inputs.max_bytes + 1)
        content, ending = off_the_hub(
            lambda: normalised(data, settings, shown, backdrop, inverted=inverted, max_side_px=max_side_px)
        )
    except InvalidRequest as exc:
        raise InvalidRequest(*(replace(problem, field=field) for problem in exc.problems)) from exc
    key = records.reserve_input(hashlib.sha256(content).hexdigest(), ending)
    try:
        objects.stat(key)
    except ObjectNotFound:
        objects.put_bytes(key, content, MEDIA_TYPES[ending])
    return key


def bytes_of(text: str, settings: Settings) -> bytes:
    """Return the contents of a link, data URL or base64. Raises: InvalidRequest: names the field ``image``."""
    if data_url := _DATA_URL.match(text):
        return off_the_hub(lambda: _from_base64(text[data_url.end() :], text[:80], settings))
    if text[:80].lstrip().lower().startswith("data:"):
        raise _refused("a data URL must be an image/png, image/jpeg or image/webp in base64", text[:80])
    if _SCHEME.match(text):
        return download(
            text.strip(),
            max_bytes=settings.inputs.max_bytes,
            timeout_s=settings.inputs.url_timeout_s,
            allow_hosts=settings.inputs.allowed_hosts,
        )
    return off_the_hub(lambda: _from_base64(text, text[:80], settings))


def _from_base64(text: str, shown: str, settings: Settings) -> bytes:
    """Decode base64 in either alphabet of RFC 4648; padding is optional."""
    text = "".join(text.split()).translate({ord("-"): "+", ord("_"): "/"})
    digits = text.rstrip("=")
    if len(digits) * 3 // 4 > settings.inputs.max_bytes:
        raise _too_large(settings, shown)
    try:
        if len(text) - len(digits) > 2:
            raise ValueError
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except ValueError:
        raise _refused("must be an http or https link, a data URL or valid base64", shown) from None


def normalised(
    data: bytes, settings: Settings, shown: str | None, backdrop: str, *, inverted: bool = False, max_side_px: int = 0
) -> tuple[bytes, str]:
    """Return the checked image as a file, and the suffix of its name.

    Args:
        data: the file.
        settings: its limits.
        shown: what an error quotes as the field's value.
        backdrop: colour behind transparent pixels.
        inverted: whether black and white of a mask are exchanged.
        max_side_px: longest side, pixels; 0: no limit.

    Raises:
        InvalidRequest: names the field ``image``.
    """
    if not data:
        raise _refused("must not be empty", shown)
    if len(data) > settings.inputs.max_bytes:
        raise _too_large(settings, shown)
    format_ = next(((suffix, reader) for signature, suffix, reader in _READERS if signature.match(data)), None)
    if format_ is None:
        raise _refused("must be a PNG, JPEG or WebP image", shown)
    suffix, reader = format_
    try:
        if suffix == "jpg" and data.count(_JPEG_SCAN) > MAX_JPEG_SCANS:
            raise _refused(f"must not have more than {MAX_JPEG_SCANS} scans", shown)
        is_exact = _ENDS[suffix](data)
        opened = reader(io.BytesIO(data))
        changed = _checked(opened, settings, shown, backdrop, is_exact=is_exact)
        if max_side_px and max(opened.size) > max_side_px:
            raise _refused(f"must have at most {max_side_px} pixels a side: the output has its size", shown)
        if inverted:
            changed = ImageOps.invert((changed or opened).convert("L"))
    except InvalidRequest:
        raise
    except Exception:  # Pillow raises a dozen types of exceptions for damaged files
        raise _refused(f"is damaged or incomplete ({MEDIA_TYPES[suffix]})", shown) from None
    if changed is not None:
        buffer = io.BytesIO()
        changed.save(buffer, "PNG", compress_level=1)  # stored for hours, read once: speed matters more than size
        data, suffix = buffer.getvalue(), "png"
    return data, suffix


def _checked(
    image: Image.Image, settings: Settings, shown: str | None, backdrop: str, *, is_exact: bool
) -> Image.Image | None:
    """Return the image as workers need it, or None if the file has it already.

    Args:
        image: the opened file.
        settings: its limits.
        shown: what an error quotes as the field's value.
        backdrop: colour behind transparent pixels.
        is_exact: whether the file ends where the image does.

    Raises:
        InvalidRequest: a limit is exceeded. Pillow's exceptions: the file is damaged.
    """
    if image.width * image.height > settings.inputs.max_px:
        raise _refused(f"must not have more than {settings.inputs.max_px} pixels", shown)
    if getattr(image, "is_animated", False):
        raise _refused("must not be animated", shown)
    image.load()
    orientation = 1
    with suppress(Exception):  # cameras write broken EXIF into good pictures
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    plain = image.mode in ("RGB", "L") and "transparency" not in image.info
    plain = plain and not colour_profiles.has_other_colours(image)
    if plain and is_exact and orientation not in range(2, 9):
        return None
    if orientation in range(2, 9):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # 16 bits of grey: convert() would clip the values at 255 instead of scaling them.
        image = image.point(lambda grey: grey * (1 / 257)).convert("L")
        image.info.pop("transparency", None)  # one of 65,536 greys, which none of the 256 greys represents
    image = colour_profiles.to_srgb(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        flat = Image.new("RGB", image.size, backdrop)
        flat.paste(image, mask=image.getchannel("A"))
        return flat
    flat = image.convert("RGB")
    flat.info.clear()  # profile, position and comments describe the source, not these pixels
    return flat


def off_the_hub(work: Callable[[], _T]) -> _T:
    """Run ``work`` in a real thread if gevent runs the server, else directly.

    Decoding takes up to a second, during which a greenlet would block every other request; Pillow releases the GIL.
    """
    if "gevent" in sys.modules:
        from gevent import get_hub
        from gevent.monkey import is_module_patched

        if is_module_patched("socket"):
            # A Future transports the exception: gevent prints the traceback of an exception that leaves its thread.
            result: Future[_T] = Future()
            get_hub().threadpool.apply(_settle, (result, work))
            return result.result(0)
    return work()


def _settle(result: Future[_T], work: Callable[[], _T]) -> None:
    try:
        result.set_result(work())
    except Exception as exc:  # raised again by the caller of result()
        result.set_exception(exc)


def _too_large(settings: Settings, shown: str | None) -> InvalidRequest:
    return _refused(f"must not exceed {settings.inputs.max_bytes} bytes", shown)


def _refused(rule: str, shown: str | None) -> InvalidRequest:
    return InvalidRequest(Problem("image", rule, shown))
