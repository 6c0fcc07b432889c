"""Operations without a job: read the infotext of an image, and enlarge images without a model."""

from __future__ import annotations

import base64
import io
import warnings
from typing import Any, NoReturn

from flask import request
from marshmallow import INCLUDE, Schema, fields, validate
from PIL import Image

from app import inputs
from app.extensions import settings
from app.fields import Flag, Items, Number, PictureText, Text, TextSchema, Whole, body_of, load
from app.inputs import off_the_hub
from app.protocols.a1111.access import A1111Error
from app.protocols.a1111.lists import UPSCALERS
from jobs.errors import InvalidRequest, Problem
from jobs.requests import infotext

#: Maximum number of images of one request.
MAX_IMAGES = 50
_FILTERS = {"Lanczos": Image.Resampling.LANCZOS, "Nearest": Image.Resampling.NEAREST}
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
#: Values that tools assume if an infotext omits them.
_ASSUMED = {"Clip skip": "1", "Schedule type": "Automatic"}


class A1111ExtrasSchema(TextSchema):
    """Images to enlarge."""

    class Meta:
        unknown = INCLUDE

    resize_mode = Whole(allow_none=True)
    upscaling_resize = Number(allow_none=True)
    upscaling_resize_w = Whole(allow_none=True)
    upscaling_resize_h = Whole(allow_none=True)
    upscaling_crop = Flag(allow_none=True)
    upscaler_1 = Text(allow_none=True)
    upscaler_2 = Text(allow_none=True)
    extras_upscaler_2_visibility = Number(allow_none=True)
    image = PictureText(allow_none=True)
    imageList = Items(fields.Dict(), MAX_IMAGES, allow_none=True)


class A1111PngInfoSchema(Schema):
    """An image to inspect."""

    class Meta:
        unknown = INCLUDE

    image = PictureText(required=True, validate=validate.Length(min=1, error="must be an image in base64"))


class A1111InterrogateSchema(Schema):
    """An image to describe."""

    class Meta:
        unknown = INCLUDE

    image = PictureText(allow_none=True)


_EXTRAS, _PNG_INFO, _INTERROGATE = A1111ExtrasSchema(), A1111PngInfoSchema(), A1111InterrogateSchema()


def png_info() -> dict[str, Any]:
    """Return the infotext of the image in the body."""
    text = load(_PNG_INFO, body_of(request))[0]["image"]
    try:
        data = inputs.bytes_of(text, settings())
        text_of_file, items = off_the_hub(lambda: _texts_of(data))
    except (InvalidRequest, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise A1111Error(500, "Invalid encoded image", str(exc)[:200]) from exc
    parsed = infotext.parse(text_of_file)
    return {"info": text_of_file, "items": items, "parameters": {**_ASSUMED, **parsed} if parsed else {}}


def _texts_of(data: bytes) -> tuple[str, dict[str, str]]:
    """Return the infotext of a file ('' for none) and its other texts."""
    with (
        warnings.catch_warnings(action="ignore"),
        Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image,
    ):
        items = {str(name): value for name, value in image.info.items() if isinstance(value, str)}
        comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    if isinstance(comment, bytes) and comment:
        coding = "utf-16-be" if comment.startswith(b"UNICODE\0") else "utf-8"
        items.setdefault("parameters", comment[8:].decode(coding, "replace"))
    return items.pop("parameters", ""), items


def interrogate() -> NoReturn:
    """Check the body; no model describes images. Raises: A1111Error."""
    values, _ = load(_INTERROGATE, body_of(request))
    raise A1111Error(404, "Model not found" if values.get("image") else "Image not found")


def enlarge_single() -> dict[str, Any]:
    """Enlarge the image in the body."""
    fields = _parse_body()
    return {"image": _enlarge(fields.get("image") or "", fields), "html_info": "<p></p>"}


def enlarge_batch() -> dict[str, Any]:
    """Enlarge all images in the body."""
    fields = _parse_body()
    entries = fields.get("imageList") or []
    if not 1 <= len(entries) <= MAX_IMAGES:
        raise InvalidRequest(Problem("imageList", f"must be between 1 and {MAX_IMAGES} images"))
    return {"images": [_enlarge(str(entry.get("data") or ""), fields) for entry in entries], "html_info": "<p></p>"}


def _parse_body() -> dict[str, Any]:
    values, _ = load(_EXTRAS, body_of(request))
    fields = {name: value for name, value in values.items() if value is not None}
    for name in ("upscaler_1", "upscaler_2"):
        if fields.get(name, "None") not in UPSCALERS:
            raise InvalidRequest(Problem(name, f"must be one of {', '.join(UPSCALERS)}", fields[name]))
    if fields.get("resize_mode", 0) not in (0, 1):
        raise InvalidRequest(Problem("resize_mode", "must be 0 or 1", fields["resize_mode"]))
    if not 0 <= fields.get("extras_upscaler_2_visibility", 0) <= 1:
        raise InvalidRequest(Problem("extras_upscaler_2_visibility", "must be between 0 and 1"))
    return fields


def _enlarge(text: str, fields: dict[str, Any]) -> str:
    """Return the enlarged image as a PNG in base64."""
    try:
        data = inputs.bytes_of(text, settings())
        limits = settings()  # the lambda may run in a thread without an app
        content, _ = off_the_hub(lambda: inputs.normalised(data, limits, None, "white"))
    except InvalidRequest as exc:
        raise A1111Error(500, "Invalid encoded image", exc.message) from exc
    return off_the_hub(lambda: _scaled(content, fields, limits.inputs.max_px))


def _scaled(content: bytes, fields: dict[str, Any], max_px: int) -> str:
    with Image.open(io.BytesIO(content)) as image:
        picture = image.convert("RGB")
    first, second = fields.get("upscaler_1", "None"), fields.get("upscaler_2", "None")
    share = fields.get("extras_upscaler_2_visibility", 0.0)
    enlarged = _resized(picture, first, fields, max_px)
    if second != "None" and share:
        enlarged = Image.blend(enlarged, _resized(picture, second, fields, max_px).resize(enlarged.size), share)
    file = io.BytesIO()
    enlarged.save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def _resized(picture: Image.Image, upscaler: str, fields: dict[str, Any], max_px: int) -> Image.Image:
    if upscaler == "None":
        return picture
    if fields.get("resize_mode", 0) == 0:
        scale = fields.get("upscaling_resize", 2.0)
        if not 0 < scale <= 8:
            raise InvalidRequest(Problem("upscaling_resize", "must be more than 0, at most 8", scale))
        return _to(picture, round(picture.width * scale), round(picture.height * scale), upscaler, max_px)
    width, height = fields.get("upscaling_resize_w", 512), fields.get("upscaling_resize_h", 512)
    if not (0 < width <= max_px and 0 < height <= max_px):
        raise InvalidRequest(
            Problem("upscaling_resize_w", "must be, like the height, at least 1 pixel, and not too large")
        )
    fit = max if fields.get("upscaling_crop", True) else min
    scale = fit(width / picture.width, height / picture.height)
    larger = _to(picture, round(picture.width * scale), round(picture.height * scale), upscaler, max_px)
    if fit is min:
        return larger
    left, top = (larger.width - width) // 2, (larger.height - height) // 2
    return larger.crop((left, top, left + width, top + height))


def _to(picture: Image.Image, width: int, height: int, upscaler: str, max_px: int) -> Image.Image:
    size = max(1, width), max(1, height)
    if size[0] * size[1] > max_px:
        raise InvalidRequest(Problem("upscaling_resize", f"must not give the image more than {max_px} pixels"))
    return picture.resize(size, _FILTERS[upscaler])
