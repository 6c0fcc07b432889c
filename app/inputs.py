"""From what a caller sent as a picture to a stored object: a link, a data URL, base64 or the bytes of an upload.

Neither a name nor a media type is believed: the content decides. PNG, JPEG and WebP are taken. Limits are checked
before the work they limit: bytes before base64, pixels before decoding.
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

from jobs.errors import InvalidRequest, ObjectNotFound, Problem
from jobs.objects.base import ObjectStore
from jobs.outbound.download import fetch
from jobs.settings import Settings
from jobs.store.jobs import JobStore

MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}

#: Pillow's readers by file signature. They are called directly, not through ``Image.open``: that one imports readers of
#: 40 more formats, warns by a global limit, and makes a two-picture file of many a phone's JPEG.
_READERS: tuple[tuple[re.Pattern[bytes], str, Callable[[io.BytesIO], Image.Image]], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png", PngImageFile),
    (re.compile(rb"\xff\xd8\xff"), "jpg", JpegImageFile),
    (re.compile(rb"RIFF....WEBPVP8[ LX]", re.DOTALL), "webp", WebPImageFile),
)
#: Whether a file ends where its image does. What hangs behind it (a zip archive, a script) is not kept.
_ENDS: dict[str, Callable[[bytes], bool]] = {
    "png": lambda data: data.endswith(b"\0\0\0\0IEND\xaeB`\x82"),
    "jpg": lambda data: data.endswith(b"\xff\xd9"),
    "webp": lambda data: len(data) == int.from_bytes(data[4:8], "little") + 8,
}
#: Each scan of a progressive JPEG passes over the whole picture: many tiny ones in a small file take minutes.
MAX_JPEG_SCANS = 100
_JPEG_SCAN = b"\xff\xda"
_SCHEME = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]{0,20}:")
#: RFC 2397. Browsers write octet-stream for a file whose type they do not know.
_DATA_URL = re.compile(
    r"\s*data:(?:image/(?:png|jpe?g|webp)|application/octet-stream)?(?:;[^;,]*)*?;base64,", re.IGNORECASE
)
_EXIF_ORIENTATION = 0x0112
_T = TypeVar("_T")


class Readable(Protocol):
    """An open upload (of werkzeug's ``FileStorage``, its ``stream``)."""

    def read(self, size: int, /) -> bytes: ...


def store_image(
    value: str | bytes | Readable, *, settings: Settings, objects: ObjectStore, records: JobStore, field: str = "image",
    inverted: bool = False, max_side_px: int = 0,
) -> str:  # fmt: skip
    """Check an input image and keep it once by its content.

    The stored file is the sent one, unless a worker would see another picture than the caller: with an EXIF
    orientation, transparency, a palette, CMYK or 16 bits, or with something hanging behind the image, it is written
    again as upright 8-bit RGB PNG on white (a mask, in which white is painted anew, on black).

    Args:
        value: http or https link, data URL, base64 (standard or URL-safe alphabet, padding optional, white space
            ignored), or an upload.
        settings: ``max_input_bytes``, ``max_input_px``, ``input_url_timeout_s``, ``input_url_allow``.
        objects: where the image goes.
        records: knows which images are there, and is told that this one is about to be needed.
        field: what the caller calls it; ``mask`` is a mask.
        inverted: of a mask: black and white are exchanged first.
        max_side_px: longest side that the output's format holds, if the output is as large as this image; 0: none.

    Returns:
        The object's key, ``inputs/<sha256>.<token>.<png|jpg|webp>``. It stays for ``UNUSED_FILES_GRACE_S``, and as
        long as a job needs it that is submitted within this time.

    Raises:
        InvalidRequest: for this field; nothing was stored.
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
    """What a link, data URL or base64 stands for. Raises: InvalidRequest: for the field ``image``."""
    if data_url := _DATA_URL.match(text):
        return off_the_hub(lambda: _from_base64(text[data_url.end() :], text[:80], settings))
    if text[:80].lstrip().lower().startswith("data:"):
        raise _refused("a data URL must be an image/png, image/jpeg or image/webp in base64", text[:80])
    if _SCHEME.match(text):
        return fetch(
            text.strip(),
            max_bytes=settings.inputs.max_bytes,
            timeout_s=settings.inputs.url_timeout_s,
            allow_hosts=settings.inputs.allowed_hosts,
        )
    return off_the_hub(lambda: _from_base64(text, text[:80], settings))


def _from_base64(text: str, shown: str, settings: Settings) -> bytes:
    """Both alphabets of RFC 4648; without padding, too."""
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
    """The checked image as a file, and the ending of its name; ``backdrop`` is seen where it is transparent.

    Raises:
        InvalidRequest: for the field ``image``.
    """
    if not data:
        raise _refused("must not be empty", shown)
    if len(data) > settings.inputs.max_bytes:
        raise _too_large(settings, shown)
    found = next(((extension, reader) for signature, extension, reader in _READERS if signature.match(data)), None)
    if found is None:
        raise _refused("must be a PNG, JPEG or WebP image", shown)
    extension, reader = found
    try:
        if extension == "jpg" and data.count(_JPEG_SCAN) > MAX_JPEG_SCANS:
            raise _refused(f"must not have more than {MAX_JPEG_SCANS} scans", shown)
        is_exact = _ENDS[extension](data)
        opened = reader(io.BytesIO(data))
        changed = _checked(opened, settings, shown, backdrop, is_exact=is_exact)
        if max_side_px and max(opened.size) > max_side_px:
            raise _refused(f"must have at most {max_side_px} pixels a side: the output has its size", shown)
        if inverted:
            changed = ImageOps.invert((changed or opened).convert("L"))
    except InvalidRequest:
        raise
    except Exception:  # damaged files make Pillow raise a dozen types; the file is to blame for each
        raise _refused(f"is damaged or incomplete ({MEDIA_TYPES[extension]})", shown) from None
    if changed is not None:
        buffer = io.BytesIO()
        changed.save(buffer, "PNG", compress_level=1)  # kept for hours, read once: time matters, not size
        data, extension = buffer.getvalue(), "png"
    return data, extension


def _checked(
    image: Image.Image, settings: Settings, shown: str | None, backdrop: str, *, is_exact: bool
) -> Image.Image | None:
    """The image as a worker shall see it; None if the sent file already is that. Raises what Pillow raises.

    ``is_exact``: the file ends where the image does.
    """
    if image.width * image.height > settings.inputs.max_px:
        raise _refused(f"must not have more than {settings.inputs.max_px} pixels", shown)
    if getattr(image, "is_animated", False):
        raise _refused("must not be animated", shown)
    image.load()
    orientation = 1
    with suppress(Exception):  # cameras write broken EXIF beside a sound picture
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    plain = image.mode in ("RGB", "L") and "transparency" not in image.info
    if plain and is_exact and orientation not in range(2, 9):
        return None
    if orientation in range(2, 9):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # 16 bits of grey: convert() would cut off at 255 what is to be divided.
        image = image.point(lambda grey: grey * (1 / 257)).convert("L")
        image.info.pop("transparency", None)  # one grey of 65,536; no grey of 256 means the same
    if image.has_transparency_data:
        image = image.convert("RGBA")
        flat = Image.new("RGB", image.size, backdrop)
        flat.paste(image, mask=image.getchannel("A"))
        return flat
    flat = image.convert("RGB")
    flat.info.clear()  # profile, position and comments of the source do not belong to these pixels any more
    return flat


def off_the_hub(work: Callable[[], _T]) -> _T:
    """Run ``work`` in a real thread where gevent runs the server, else directly.

    Decoding takes up to a second, in which a greenlet would stop every other request; Pillow lets go of the GIL.
    """
    if "gevent" in sys.modules:
        from gevent import get_hub
        from gevent.monkey import is_module_patched

        if is_module_patched("socket"):
            # A Future carries the exception: gevent would print the traceback of one that leaves its thread.
            result: Future[_T] = Future()
            get_hub().threadpool.apply(_settle, (result, work))
            return result.result(0)
    return work()


def _settle(result: Future[_T], work: Callable[[], _T]) -> None:
    try:
        result.set_result(work())
    except Exception as exc:  # raised again where the result is taken
        result.set_exception(exc)


def _too_large(settings: Settings, shown: str | None) -> InvalidRequest:
    return _refused(f"must not exceed {settings.inputs.max_bytes} bytes", shown)


def _refused(rule: str, shown: str | None) -> InvalidRequest:
    return InvalidRequest(Problem("image", rule, shown))
