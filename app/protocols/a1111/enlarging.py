"""Enlarge images without a model: one after the other, and their files on disk until the response is sent."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO

from flask import Response
from PIL import Image

from app import own_outputs
from app.media.decoding import base64_steps, decode, one_long_request
from app.media.pictures import Opened, as_workers_need, open_picture
from app.protocols.a1111.access import A1111Error
from jobs.errors import InvalidRequest, Problem
from jobs.settings import Settings

#: Most bytes of all files of a response, before base64.
MAX_RESULT_BYTES = 512 * 1024 * 1024
_FILTERS = {"Lanczos": Image.Resampling.LANCZOS, "Nearest": Image.Resampling.NEAREST}
#: Memory of an enlarged image, bytes per pixel: two results of upscalers, and scaling the second one.
_RESULT_BYTES_PER_PX = 12
#: Rows that are blended at once: blending keeps the interpreter to itself.
_BLENDED_ROWS = 128
#: Rows that are scaled at once.
_SCALED_ROWS = 128
#: Pixels on each side of a pixel that Lanczos looks at, of the larger one of the two images.
_LANCZOS_SUPPORT_PX = 3
_FILE_STEP_BYTES = 3 * 64 * 1024
_Size = tuple[int, int]


def enlarged(texts: Sequence[str], fields: dict[str, Any], settings: Settings) -> list[BinaryIO]:
    """Return the enlarged images as PNG files, which are removed when they are closed.

    Args:
        texts: the images in base64.
        fields: the checked fields of the body.
        settings: limits of images and of decoding.

    Raises:
        A1111Error: an image cannot be read.
        InvalidRequest: an image would become too large.
        DecodingBusy: too many images are being decoded.
    """
    with one_long_request(settings), ExitStack() as unfinished:
        files: list[BinaryIO] = []
        left_bytes = MAX_RESULT_BYTES
        for text in texts:
            file = _enlarged(text, fields, settings)
            unfinished.callback(file.close)
            left_bytes -= file.seek(0, 2)
            if left_bytes < 0:
                raise InvalidRequest(Problem("upscaling_resize", f"must not give more than {MAX_RESULT_BYTES} bytes"))
            files.append(file)
        unfinished.pop_all()
        return files


def response(files: list[BinaryIO], *, is_list: bool) -> Response:
    """Return the response with these files in base64; it is written while it is sent."""
    sizes = [file.seek(0, 2) for file in files]
    head, end = ('{"images": [', "]") if is_list else ('{"image": ', "")
    end += f', "html_info": {json.dumps("<p></p>")}}}\n'

    def body() -> Iterator[bytes]:
        yield head.encode()
        for number, file in enumerate(files):
            file.seek(0)
            yield b', "' if number else b'"'
            while content := file.read(_FILE_STEP_BYTES):
                yield "".join(base64_steps(content)).encode()
            yield b'"'
        yield end.encode()

    made = Response(body(), mimetype="application/json")
    made.content_length = len(head) + len(end) + sum((size + 2) // 3 * 4 + 2 for size in sizes) + 2 * (len(files) - 1)
    for file in files:
        made.call_on_close(file.close)
    return made


def _enlarged(text: str, fields: dict[str, Any], settings: Settings) -> BinaryIO:
    try:
        opened = open_picture(own_outputs.picture_bytes(text), settings)
    except InvalidRequest as exc:
        raise A1111Error(500, "Invalid encoded image", exc.message) from exc
    width, height = opened.image.size
    # An image may turn out to lie on its side when it is decoded.
    result_px = max(_largest_px(size, fields, settings.inputs.max_px) for size in ((width, height), (height, width)))
    need_bytes = opened.need_bytes + result_px * _RESULT_BYTES_PER_PX
    return decode(need_bytes, lambda: _written(opened, fields, settings.inputs.max_px), settings)


def _written(opened: Opened, fields: dict[str, Any], max_px: int) -> BinaryIO:
    try:
        picture = as_workers_need(opened) or opened.image
        if picture.mode != "RGB":  # convert() would copy it
            picture = picture.convert("RGB")
    except Exception as exc:
        raise A1111Error(500, "Invalid encoded image", opened.damaged().message) from exc
    first, second = fields.get("upscaler_1", "None"), fields.get("upscaler_2", "None")
    share = fields.get("extras_upscaler_2_visibility", 0.0)
    result = _resized(picture, first, fields, max_px)
    if second != "None" and share:
        _blend(result, _resized(picture, second, fields, max_px).resize(result.size), share)
    with ExitStack() as unfinished:
        file = unfinished.enter_context(tempfile.TemporaryFile())
        result.save(file, "PNG", compress_level=1)
        unfinished.pop_all()
    return file


def _blend(picture: Image.Image, other: Image.Image, share: float) -> None:
    """Blend another picture of the same size into a picture."""
    for top in range(0, picture.height, _BLENDED_ROWS):
        rows = (0, top, picture.width, min(picture.height, top + _BLENDED_ROWS))
        picture.paste(Image.blend(picture.crop(rows), other.crop(rows), share), rows)


def _resized(picture: Image.Image, upscaler: str, fields: dict[str, Any], max_px: int) -> Image.Image:
    if upscaler == "None":
        return picture.copy()
    larger, target = _sizes(picture.size, fields, max_px)
    result = _scaled_picture(picture, larger, _FILTERS[upscaler])
    if target == larger:
        return result
    left, top = (larger[0] - target[0]) // 2, (larger[1] - target[1]) // 2
    return result.crop((left, top, left + target[0], top + target[1]))


def _scaled_picture(picture: Image.Image, size: _Size, resampling: Image.Resampling) -> Image.Image:
    """Return a picture of another size.

    It is scaled in bands of rows, each one first in width, then in height: scaling all of it at once needs an image of
    the new width and the old height as well. A band is scaled from all rows that its pixels depend on, so that there
    are no seams.
    """
    if resampling == Image.Resampling.NEAREST:  # which needs no other image
        return picture.resize(size, resampling)
    (width, height), old_height = size, picture.height
    result = Image.new(picture.mode, size)
    # Rows around a band, in the picture and in the result.
    around = math.ceil(_LANCZOS_SUPPORT_PX * max(1.0, old_height / height)) + 1
    around_result = math.ceil(around * height / old_height)
    for top in range(0, height, _SCALED_ROWS):
        bottom = min(height, top + _SCALED_ROWS)
        first, last = max(0, top - around_result), min(height, bottom + around_result)
        start, end = first * old_height / height, last * old_height / height
        old_first, old_last = max(0, math.floor(start)), min(old_height, math.ceil(end))
        wide = picture.resize((width, old_last - old_first), resampling, (0, old_first, picture.width, old_last))
        band = wide.resize((width, last - first), resampling, (0, start - old_first, width, end - old_first))
        result.paste(band.crop((0, top - first, width, bottom - first)), (0, top))
    return result


def _largest_px(size: _Size, fields: dict[str, Any], max_px: int) -> int:
    """Return the pixels of the result of the larger upscaler. Raises: InvalidRequest: they are too many."""
    if {fields.get("upscaler_1", "None"), fields.get("upscaler_2", "None")} == {"None"}:
        return size[0] * size[1]
    width, height = _sizes(size, fields, max_px)[0]
    return max(width * height, size[0] * size[1])


def _sizes(size: _Size, fields: dict[str, Any], max_px: int) -> tuple[_Size, _Size]:
    """Return the size to scale to, and the size to cut out of the middle of it. Raises: InvalidRequest."""
    if fields.get("resize_mode", 0) == 0:
        scale = fields.get("upscaling_resize", 2.0)
        if not 0 < scale <= 8:
            raise InvalidRequest(Problem("upscaling_resize", "must be more than 0, at most 8", scale))
        larger = _scaled(size, scale, max_px)
        return larger, larger
    width, height = fields.get("upscaling_resize_w", 512), fields.get("upscaling_resize_h", 512)
    if not (0 < width <= max_px and 0 < height <= max_px):
        raise InvalidRequest(
            Problem("upscaling_resize_w", "must be, like the height, at least 1 pixel, and not too large")
        )
    is_cropped = fields.get("upscaling_crop", True)
    larger = _scaled(size, (max if is_cropped else min)(width / size[0], height / size[1]), max_px)
    return larger, (width, height) if is_cropped else larger


def _scaled(size: _Size, scale: float, max_px: int) -> _Size:
    width, height = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    if width * height > max_px:
        raise InvalidRequest(Problem("upscaling_resize", f"must not give the image more than {max_px} pixels"))
    return width, height
