"""Operations without a job: read the infotext of an image, and enlarge images without a model."""

from __future__ import annotations

import warnings
from typing import Any, NoReturn

from flask import Response, request
from marshmallow import INCLUDE, Schema, fields, validate
from PIL import Image

from app import own_outputs
from app.extensions import settings
from app.fields import Flag, Items, Number, PictureText, Text, TextSchema, Whole, body_of, load
from app.media.decoding import off_the_hub
from app.media.pictures import open_picture
from app.protocols.a1111 import enlarging
from app.protocols.a1111.access import A1111Error
from app.protocols.a1111.lists import UPSCALERS
from jobs.errors import InvalidRequest, Problem
from jobs.requests import infotext

#: Maximum number of images of one request.
MAX_IMAGES = 50
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
        opened = open_picture(own_outputs.picture_bytes(text), settings(), may_be_animated=True)
        text_of_file, items = off_the_hub(lambda: _texts_of(opened.image))
    except (InvalidRequest, OSError, SyntaxError, ValueError) as exc:
        raise A1111Error(500, "Invalid encoded image", str(exc)[:200]) from exc
    parsed = infotext.parse(text_of_file)
    return {"info": text_of_file, "items": items, "parameters": {**_ASSUMED, **parsed} if parsed else {}}


def _texts_of(image: Image.Image) -> tuple[str, dict[str, str]]:
    """Return the infotext of an opened file ('' for none) and its other texts."""
    with warnings.catch_warnings(action="ignore"):
        items = {str(name): value for name, value in image.info.items() if isinstance(value, str)}
        # The method of PNG files would decode the picture to look for EXIF behind it.
        comment = Image.Image.getexif(image).get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    if isinstance(comment, bytes) and comment:
        coding = "utf-16-be" if comment.startswith(b"UNICODE\0") else "utf-8"
        items.setdefault("parameters", comment[8:].decode(coding, "replace"))
    return items.pop("parameters", ""), items


def interrogate() -> NoReturn:
    """Check the body; no model describes images. Raises: A1111Error."""
    values, _ = load(_INTERROGATE, body_of(request))
    raise A1111Error(404, "Model not found" if values.get("image") else "Image not found")


def enlarge_single() -> Response:
    """Return the response with the enlarged image of the body."""
    fields = _parse_body()
    return enlarging.response(enlarging.enlarged([fields.get("image") or ""], fields, settings()), is_list=False)


def enlarge_batch() -> Response:
    """Return the response with all enlarged images of the body."""
    fields = _parse_body()
    entries = fields.get("imageList") or []
    if not 1 <= len(entries) <= MAX_IMAGES:
        raise InvalidRequest(Problem("imageList", f"must be between 1 and {MAX_IMAGES} images"))
    texts = [str(entry.get("data") or "") for entry in entries]
    return enlarging.response(enlarging.enlarged(texts, fields, settings()), is_list=True)


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
