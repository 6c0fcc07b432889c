"""Check and convert images of requests and results with Pillow: format, color space and size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from app.media.decoding import decode, off_the_hub
from app.media.pictures import BYTES_PER_PX, OTHER_BYTES_PER_PX, has_too_many_scans, max_px_of
from app.protocols.aime.endpoints.spec import Input, Rule
from app.protocols.aime.inputs.values import BadValue, align_down, describe
from jobs.files.png_chunks import without_large_texts
from jobs.settings import Settings

#: Tags of TIFF, and the largest tile that is accepted.
_TILE_WIDTH, _TILE_LENGTH, _MAX_TILE_PX = 322, 323, 4096 * 4096

FORMATS = ("png", "jpeg", "webp", "bmp", "tiff", "gif")

#: Pillow's mode → the color spaces that an image of this mode counts as. A JPEG stores YUV and decodes to RGB, so it
#: counts as both.
_SPACES = {
    "RGB": ("rgb", "bgr", "gbr"), "RGBA": ("rgba", "gbr_alpha", "alpha"), "L": ("gray",), "1": ("monochrome", "gray"),
    "P": ("palette",), "LA": ("alpha",), "YCbCr": ("yuv",), "I;16": ("gray",), "I": ("gray",),
}  # fmt: skip
_MODES = {
    "rgb": "RGB", "bgr": "RGB", "gbr": "RGB", "yuv": "RGB", "other": "RGB", "rgba": "RGBA", "gbr_alpha": "RGBA",
    "yuva": "RGBA", "alpha": "RGBA", "gray": "L", "monochrome": "1", "palette": "P",
}  # fmt: skip


def convert_image(spec: Input, data: bytes, formats: tuple[str, ...], settings: Settings) -> tuple[bytes, str]:
    """Return an image as its input declares it; the bytes are unchanged if it already conforms.

    Args:
        spec: the input.
        data: the file.
        formats: formats that the server accepts; empty: all of :data:`FORMATS`.
        settings: limits of pixels and of decoding.

    Returns:
        The file, and its format.

    Raises:
        BadValue: it is damaged or too large, or it is not allowed and the input does not convert.
        DecodingBusy: too many images are being decoded.
    """
    data, image = off_the_hub(lambda: _opened(data))
    max_px, kind = settings.inputs.max_px, str(image.format).lower()
    if formats and kind not in formats:
        raise BadValue(f"must be {', '.join(formats)}, not {kind}")
    most_px = max_px_of(kind, settings)
    if image.width * image.height > most_px:
        raise BadValue(f"must not have more than {most_px} pixels")
    attributes = spec.attributes
    target = fit_word(attributes.get("format"), kind, "format ")
    spaces = _SPACES.get(image.mode, ("other",)) + (("yuv",) if kind == "jpeg" else ())
    space = _fit_space(attributes.get("color_space"), spaces)
    size = fit_size(spec, image.size)
    if size[0] * size[1] > max_px:
        raise BadValue(f"must not have more than {max_px} pixels after its conversion")

    def converted() -> bytes:
        try:
            image.load()
            colours = spec.black_and_white and image.mode not in ("1", "L", "LA", "I", "I;16")
            if (target, size) == (kind, image.size) and space in spaces and not colours:
                return data
            if size == image.size:
                changed = ImageOps.exif_transpose(image)
            else:
                changed = resize(image, size, crop=spec.resize_method == "crop")
            mode = changed.mode if space in spaces else _MODES.get(space, "RGB")
            return encode(_without_colours(changed) if colours else changed, target, mode)
        except Exception:
            raise BadValue(f"is damaged or incomplete ({kind})") from None

    return decode(_need_bytes(image, size), converted, settings), target


def _opened(data: bytes) -> tuple[bytes, Image.Image]:
    """Read the header of an image; return the file without large texts, and the image. Raises: BadValue."""
    try:
        data = without_large_texts(data)
        image: Image.Image = Image.open(io.BytesIO(data), formats=[name.upper() for name in FORMATS])
        if _tile_px(image) > _MAX_TILE_PX or has_too_many_scans(data):
            raise ValueError
        return data, image
    except Exception:
        raise BadValue(f"must be an image: {', '.join(FORMATS)}") from None


def _tile_px(image: Image.Image) -> int:
    """Return the pixels of a tile of a TIFF file, which its reader keeps in memory however small the image is."""
    tags: Any = getattr(image, "tag_v2", {})
    return int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0))


def _need_bytes(image: Image.Image, size: tuple[int, int]) -> int:
    """Return the memory that decoding an image and converting it to this size needs at most."""
    per_px = BYTES_PER_PX.get(str(image.format).lower(), OTHER_BYTES_PER_PX)
    return image.width * image.height * per_px + size[0] * size[1] * OTHER_BYTES_PER_PX * (size != image.size)


def encode(image: Image.Image, kind: str, mode: str = "") -> bytes:
    """Encode an image.

    Args:
        image: the image.
        kind: the format.
        mode: Pillow's mode to convert to; '' for the image's own. A mode that the format cannot store becomes RGB.
    """
    mode = mode or image.mode
    if kind == "jpeg" and mode not in ("L", "RGB"):
        mode = "RGB"
    if kind in ("webp", "bmp") and mode not in ("RGB", "RGBA"):
        mode = "RGB"
    if mode == "RGB" and image.has_transparency_data:
        image = image.convert("RGBA")
        flat = Image.new("RGB", image.size, "white")
        flat.paste(image, mask=image.getchannel("A"))
        image = flat
    elif mode != image.mode:
        image = image.convert(mode)
    buffer = io.BytesIO()
    options: dict[str, Any] = {"png": {"compress_level": 1}, "jpeg": {"quality": 95}}.get(kind, {})
    image.save(buffer, kind.upper(), **options)
    return buffer.getvalue()


def as_format(data: bytes, kind: str, settings: Settings) -> bytes:
    """Return a stored image in the format of an output. Raises: DecodingBusy."""
    image = Image.open(io.BytesIO(without_large_texts(data)), formats=[name.upper() for name in FORMATS])
    if (image.format or "").lower() == kind:
        return data
    return decode(_need_bytes(image, image.size), lambda: encode(image, kind, "RGB"), settings)


def fit_word(rule: Rule | None, word: str, what: str) -> str:
    """Return a word, such as a format, that the rule allows. Raises: BadValue."""
    if rule is None or not rule.supported or word in rule.supported:
        return word
    if not rule.convert:
        raise BadValue(f"{what}must be {describe(rule)}, not {word}")
    return str(rule.default or rule.supported[0])


def _fit_space(rule: Rule | None, spaces: tuple[str, ...]) -> str:
    if rule is None or not rule.supported:
        return spaces[0]
    allowed = [space for space in spaces if space in rule.supported]
    return allowed[0] if allowed else fit_word(rule, spaces[0], "color_space ")


def fit_size(spec: Input, size: tuple[int, int]) -> tuple[int, int]:
    """Return a width and height in pixels that the input allows. Raises: BadValue."""
    rule = spec.attributes.get("size", Rule(convert=spec.convert))
    width, height = size
    if rule.supported and size not in rule.supported:
        width, height = rule.default or min(
            rule.supported, key=lambda allowed: abs(allowed[0] - width) + abs(allowed[1] - height)
        )
    if spec.keep_aspect_ratio:
        width, height = _scaled_into(rule, width, height)
    width, height = _clamped(rule, width, height)
    if not _has_ratio(spec, width, height):
        if not rule.convert:
            raise BadValue(f"must have an aspect ratio {_ratios(spec)}, not {size[0]} x {size[1]}")
        width, height = _clamped(rule, *_with_ratio(spec, width, height))
    if rule.align:
        low = rule.low or (None, None)
        width, height = align_down(width, rule.align[0], low[0]), align_down(height, rule.align[1], low[1])
        width, height = max(width, rule.align[0]), max(height, rule.align[1])
    if (width, height) != size and not rule.convert:
        raise BadValue(f"size must be {describe(rule)}, not {size[0]} x {size[1]}")
    return width, height


def _clamped(rule: Rule, width: int, height: int) -> tuple[int, int]:
    for limit, clamp in ((rule.low, max), (rule.high, min)):
        if limit:
            width, height = clamp(width, limit[0]), clamp(height, limit[1])
    return width, height


def _has_ratio(spec: Input, width: int, height: int) -> bool:
    return (spec.min_ratio or 0) <= width / height <= (spec.max_ratio or float("inf"))


def _with_ratio(spec: Input, width: int, height: int) -> tuple[int, int]:
    """Shorten the longer side until the aspect ratio is within its limits."""
    if spec.max_ratio and width > height * spec.max_ratio:
        width = max(1, int(height * spec.max_ratio))
    if spec.min_ratio and width < height * spec.min_ratio:
        height = max(1, int(width / spec.min_ratio))
    return width, height


def _ratios(spec: Input) -> str:
    limits = (("of at least", spec.min_ratio), ("of at most", spec.max_ratio))
    return " and ".join(f"{words} {limit:g}" for words, limit in limits if limit)


def _scaled_into(rule: Rule, width: int, height: int) -> tuple[int, int]:
    """Scale both sides by one factor so that both are within their limits."""
    factor = 1.0
    if rule.high:
        factor = min(1.0, rule.high[0] / width, rule.high[1] / height)
    if rule.low and factor == 1.0:
        factor = max(1.0, rule.low[0] / width, rule.low[1] / height)
    return round(width * factor), round(height * factor)


def resize(image: Image.Image, size: tuple[int, int], *, crop: bool) -> Image.Image:
    """Scale an image; with ``crop``, cut out the center first to avoid distortion."""
    if image.mode in ("1", "P"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if crop:
        return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    return image.resize(size, Image.Resampling.LANCZOS)


def _without_colours(image: Image.Image) -> Image.Image:
    """Return an image in shades of gray; transparency is kept."""
    return image.convert("LA" if image.has_transparency_data else "L")


def size_of(data: bytes | Path) -> tuple[int, int]:
    """Return the width and height of an image in pixels, or zeros if the file is not an image."""
    try:
        file = data if isinstance(data, Path) else io.BytesIO(without_large_texts(data))
        with Image.open(file, formats=[name.upper() for name in FORMATS]) as image:
            return image.size
    except Exception:
        return 0, 0
