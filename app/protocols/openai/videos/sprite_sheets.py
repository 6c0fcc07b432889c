"""A sprite sheet of a video: frames from its whole length in one picture."""

from __future__ import annotations

import io
import tempfile
from typing import IO

import av
from PIL import Image

from app.extensions import objects, settings
from app.media.decoding import decode
from jobs.errors import ObjectNotFound
from jobs.record import Output

#: Frames of a sheet, and how many stand side by side.
FRAMES, COLUMNS = 16, 4
#: Longer side of a frame in it, pixels.
SIDE_PX = 240
_BYTES_PER_PX = 4
#: Frames that a decoder holds at most.
_DECODED = 20


def sheet_of(output: Output) -> bytes:
    """Return a JPEG with frames of a stored video.

    Raises:
        ObjectNotFound: the video is gone, or has a format without frames that can be read.
        DecodingBusy: too many pictures are being decoded.
    """
    with tempfile.TemporaryFile() as file:
        for part in objects().read(output.key):
            file.write(part)
        file.seek(0)
        need_bytes = _DECODED * output.width * output.height * _BYTES_PER_PX
        return decode(need_bytes, lambda: _drawn(file, max(1, output.frames)), settings())


def _drawn(file: IO[bytes], frames: int) -> bytes:
    number = min(FRAMES, frames)
    wanted = {index * frames // number for index in range(number)}
    pictures: list[Image.Image] = []
    try:
        with av.open(file, mode="r") as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index in wanted:
                    scale = min(1.0, SIDE_PX / max(frame.width, frame.height))
                    size = {"width": max(1, round(frame.width * scale)), "height": max(1, round(frame.height * scale))}
                    pictures.append(frame.reformat(**size, format="rgb24").to_image())
                    if len(pictures) == number:
                        break
    except av.FFmpegError as exc:
        raise ObjectNotFound("there is no sprite sheet of this format") from exc
    if not pictures:
        raise ObjectNotFound("there is no sprite sheet of this format")
    width, height = pictures[0].size
    columns = min(COLUMNS, len(pictures))
    sheet = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height))
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (place % columns * width, place // columns * height))
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=85)
    return content.getvalue()
