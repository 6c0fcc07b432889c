"""Open pictures that callers send, within limits that are checked before the work that they limit."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image, ImageOps, PngImagePlugin
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from app.media import colour_profiles, flattening
from app.media.decoding import decode, off_the_hub
from jobs.errors import InvalidRequest, Problem
from jobs.files import png_chunks
from jobs.settings import Settings

#: Makes an opaque RGB image of an RGBA image.
Flatten = Callable[[Image.Image], Image.Image]

MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}

#: Pillow's readers by file signature. They are called directly: ``Image.open`` imports the readers of 40 more formats,
#: has a global limit, and reads the JPEGs of many phones as files with two pictures.
_READERS: tuple[tuple[re.Pattern[bytes], str, Callable[[io.BytesIO], Image.Image]], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png", PngImageFile),
    (re.compile(rb"\xff\xd8\xff"), "jpg", JpegImageFile),
    (re.compile(rb"RIFF....WEBPVP8[ LX]", re.DOTALL), "webp", WebPImageFile),
    (re.compile(rb"GIF8[79]a"), "gif", GifImageFile),
)
#: Whether a file ends where its image does. Data after the image (a zip archive, a script) is not stored.
_ENDS: dict[str, Callable[[bytes], bool]] = {
    "png": lambda data: data.endswith(b"\0\0\0\0IEND\xaeB`\x82"),
    "jpg": lambda data: data.endswith(b"\xff\xd9"),
    "webp": lambda data: len(data) == int.from_bytes(data[4:8], "little") + 8,
    "gif": lambda data: False,  # workers read no GIF
}
#: Memory of decoding, converting and encoding again, bytes per pixel. Pillow keeps 4 bytes of a colour; a progressive
#: JPEG has its coefficients in memory too, and the reader of WebP three more copies.
BYTES_PER_PX = {"png": 16, "jpg": 20, "jpeg": 20, "webp": 32, "gif": 20}
#: The same of other formats.
OTHER_BYTES_PER_PX = 20
#: Most pixels of a WebP: its reader copies them while it keeps the interpreter to itself, for 80 ms if it has so many.
MAX_WEBP_PX = 32_000_000
#: Most scans of a progressive JPEG. Each one covers the whole picture, so that many scans in a small file take minutes.
MAX_JPEG_SCANS = 100
_JPEG_SCAN = b"\xff\xda"
_SEARCH_STEP_BYTES = 1024 * 1024
_EXIF_ORIENTATION = 0x0112

# Texts in a PNG may be compressed: without this limit of the process, 60 KB of them become 64 MB. Files are opened
# without the texts that exceed it.
PngImagePlugin.MAX_TEXT_MEMORY = png_chunks.MAX_TEXT_BYTES


@dataclass(frozen=True)
class Opened:
    """A picture whose header was read."""

    #: Its format, as the suffix of a file.
    suffix: str
    #: The file, without texts and profiles that are too large.
    data: bytes
    image: Image.Image
    #: Whether the file ends where the image does.
    is_exact: bool
    #: What an error quotes as the field's value.
    shown: str | None

    @property
    def need_bytes(self) -> int:
        """Memory that its decoding needs at most."""
        return self.image.width * self.image.height * BYTES_PER_PX[self.suffix]

    def damaged(self) -> InvalidRequest:
        """Return the error for a file that does not decode."""
        return refused(f"is damaged or incomplete ({MEDIA_TYPES[self.suffix]})", self.shown)


@dataclass(frozen=True)
class Normalised:
    """An input file as workers need it."""

    content: bytes
    #: Its format, as the suffix of a file.
    suffix: str
    #: Width and height as a viewer shows it, pixels.
    size: tuple[int, int]
    #: Duration of a video or sound; 0 for a picture.
    seconds: float = 0.0


def refused(rule: str, shown: str | None = None) -> InvalidRequest:
    """Return the error for a picture that is not accepted. It names the field ``image``."""
    return InvalidRequest(Problem("image", rule, shown))


def too_large(settings: Settings, shown: str | None) -> InvalidRequest:
    """Return the error for a file of too many bytes."""
    return refused(f"must not exceed {settings.inputs.max_bytes} bytes", shown)


def max_px_of(format_: str, settings: Settings) -> int:
    """Return the most pixels of a picture of this format, such as ``"png"``."""
    return min(settings.inputs.max_px, MAX_WEBP_PX) if format_ == "webp" else settings.inputs.max_px


def open_picture(
    data: bytes, settings: Settings, shown: str | None = None, *, may_be_animated: bool = False
) -> Opened:  # fmt: skip
    """Read the header of a picture; nothing is decoded.

    Args:
        data: the file.
        settings: its limits.
        shown: what an error quotes as the field's value.
        may_be_animated: whether a GIF or another animation is accepted, of which the first picture counts.

    Raises:
        InvalidRequest: names the field ``image``.
    """
    if not data:
        raise refused("must not be empty", shown)
    if len(data) > settings.inputs.max_bytes:
        raise too_large(settings, shown)
    format_ = next(((suffix, reader) for signature, suffix, reader in _READERS if signature.match(data)), None)
    if format_ is None or (format_[0] == "gif" and not may_be_animated):
        raise refused("must be a PNG, JPEG or WebP image", shown)
    opened = off_the_hub(lambda: _opened(data, *format_, settings, shown))
    is_animated = getattr(opened.image, "is_animated", False)
    if is_animated and not may_be_animated:
        raise refused("must not be animated", shown)
    return replace(opened, is_exact=opened.is_exact and not is_animated)


def _opened(
    data: bytes, suffix: str, reader: Callable[[io.BytesIO], Image.Image], settings: Settings, shown: str | None
) -> Opened:  # fmt: skip
    try:
        if has_too_many_scans(data):
            raise refused(f"must not have more than {MAX_JPEG_SCANS} scans", shown)
        data = png_chunks.without_large_texts(data)
        opened = Opened(suffix, data, reader(io.BytesIO(data)), _ENDS[suffix](data), shown)
        most_px = max_px_of(suffix, settings)
        if opened.image.width * opened.image.height > most_px:
            raise refused(f"must not have more than {most_px} pixels", shown)
        return opened
    except InvalidRequest:
        raise
    except png_chunks.TooManyChunks:
        raise refused(f"must not have more than {png_chunks.MAX_CHUNKS} chunks", shown) from None
    except Exception:  # Pillow raises a dozen types of exceptions for damaged files
        raise refused(f"is damaged or incomplete ({MEDIA_TYPES[suffix]})", shown) from None


def has_too_many_scans(data: bytes) -> bool:
    """Return whether a file is a JPEG of more scans than :data:`MAX_JPEG_SCANS`."""
    if not data.startswith(b"\xff\xd8\xff"):
        return False
    # In steps: a search keeps the interpreter to itself.
    steps = range(0, len(data), _SEARCH_STEP_BYTES)
    return sum(data.count(_JPEG_SCAN, start, start + _SEARCH_STEP_BYTES + 1) for start in steps) > MAX_JPEG_SCANS


def normalised(
    data: bytes, settings: Settings, shown: str | None, flatten: Flatten, *, inverted: bool = False,
    max_side_px: int = 0, may_be_animated: bool = False, as_sent: bool = False,
) -> Normalised:  # fmt: skip
    """Return the checked image as a file.

    Args:
        data: the file.
        settings: its limits.
        shown: what an error quotes as the field's value.
        flatten: makes an opaque image of one with transparency.
        inverted: whether black and white of a mask are exchanged.
        max_side_px: longest side, pixels; 0: no limit.
        may_be_animated: see :func:`open_picture`.
        as_sent: whether transparency, 16 bits and orientation are kept: a file that ends with its only image is
            decoded, but not changed.

    Raises:
        InvalidRequest: names the field ``image``.
        DecodingBusy: too many pictures are being decoded.
    """
    opened = open_picture(data, settings, shown, may_be_animated=may_be_animated)
    changed = decode(opened.need_bytes, partial(_rewritten, opened, flatten, inverted, max_side_px, as_sent), settings)
    return changed or Normalised(opened.data, opened.suffix, opened.image.size)


def _rewritten(
    opened: Opened, flatten: Flatten, inverted: bool, max_side_px: int, as_sent: bool
) -> Normalised | None:  # fmt: skip
    """Return the image as a PNG, or None if the file is right as it is."""
    try:
        if as_sent and opened.is_exact:
            opened.image.load()
            return None
        changed = as_workers_need(opened, flatten)
        if max_side_px and max(opened.image.size) > max_side_px:
            raise refused(f"must have at most {max_side_px} pixels a side: the output has its size", opened.shown)
        if inverted:
            changed = ImageOps.invert((changed or opened.image).convert("L"))
    except InvalidRequest:
        raise
    except Exception:
        raise opened.damaged() from None
    if changed is None:
        return None
    buffer = io.BytesIO()
    changed.save(buffer, "PNG", compress_level=1)  # stored for hours, read once: speed matters more than size
    return Normalised(buffer.getvalue(), "png", changed.size)


def as_workers_need(opened: Opened, flatten: Flatten = flattening.on_white) -> Image.Image | None:
    """Decode an image; return it upright, opaque and in 8-bit RGB, or None if the file has it so already.

    Pillow's exceptions: the file is damaged.
    """
    image = opened.image
    image.load()
    orientation = 1
    with suppress(Exception):  # cameras write broken EXIF into good pictures
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    plain = image.mode in ("RGB", "L") and "transparency" not in image.info
    plain = plain and not colour_profiles.has_other_colours(image)
    if plain and opened.is_exact and orientation not in range(2, 9):
        return None
    if orientation in range(2, 9):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # 16 bits of grey: convert() would clip the values at 255 instead of scaling them.
        image = image.point(lambda grey: grey * (1 / 257)).convert("L")
        image.info.pop("transparency", None)  # one of 65,536 greys, which none of the 256 greys represents
    image = colour_profiles.to_srgb(image)
    if image.has_transparency_data:
        return flatten(image.convert("RGBA") if image.mode != "RGBA" else image)
    flat = image.convert("RGB")
    flat.info.clear()  # profile, position and comments describe the source, not these pixels
    return flat
