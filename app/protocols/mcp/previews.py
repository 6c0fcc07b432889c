"""Pictures for agents: the outputs of a job, small enough for the window of a language model."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

from PIL import Image

from app.extensions import settings
from app.media.decoding import decode, to_base64
from app.media.pictures import Opened, open_picture
from app.own_outputs import read_whole
from jobs.errors import FramemillError
from jobs.record import Job, Output

#: Most bytes of all pictures of one result; in base64 they are 1 MiB.
MAX_BYTES = 768 * 1024
#: Sides to which a larger picture is scaled, pixels: the first one that is small enough is sent.
_SIDES_PX = (1024, 768, 512, 256, 128)
_QUALITY = 80
#: Formats that agents can see.
_SEEN = ("image/png", "image/jpeg", "image/webp")


def image_blocks(job: Job) -> list[dict[str, Any]]:
    """Return the outputs of a job as image content; of a video, its first frame.

    An output that cannot be read is left out: the result has its link.
    """
    most_bytes = MAX_BYTES // max(1, len(job.outputs))
    blocks = []
    for output in job.outputs:
        with suppress(FramemillError):
            if picture := _picture(output, most_bytes):
                data, media_type = picture
                blocks.append({"type": "image", "data": to_base64(data), "mimeType": media_type})
    return blocks


def _picture(output: Output, most_bytes: int) -> tuple[bytes, str] | None:
    """Return the content and media type of a picture of an output; None if it has none."""
    source = _source(output)
    if source is None:
        return None
    data = read_whole(source.key)
    if len(data) <= most_bytes and source.media_type in _SEEN:
        return data, source.media_type
    opened = open_picture(data, settings(), may_be_animated=True)
    small = decode(opened.need_bytes, lambda: _shrunk(opened, most_bytes), settings())
    return (small, "image/webp") if small else None


def _source(output: Output) -> Output | None:
    """Return the stored picture that stands for an output: itself, or one of a video; None if there is none."""
    is_picture = output.media_type.startswith("image/") and output.frames == 1
    if is_picture and output.bytes <= settings().inputs.max_bytes:
        return output
    return output.poster or output.thumbnail


def _shrunk(opened: Opened, most_bytes: int) -> bytes | None:
    """Return a picture as a WebP of at most this many bytes; None if it cannot be that small."""
    image = opened.image.convert("RGB")
    for side_px in _SIDES_PX:
        image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        image.save(file, "WEBP", quality=_QUALITY)
        if file.tell() <= most_bytes:
            return file.getvalue()
    return None
