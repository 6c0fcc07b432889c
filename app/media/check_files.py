"""Grey input files, for the check of a model that needs some."""

from __future__ import annotations

import io
import struct
import zlib
from fractions import Fraction
from typing import Any

import av

from app.media import inputs
from app.media.decoding import off_the_hub
from jobs.models.spec import Kind, ModelSpec
from jobs.objects.base import ObjectStore
from jobs.store.jobs import JobStore

#: Side of the picture and of the video, pixels, and length of the video; its last frame is repeated as often as needed.
_SIDE_PX, _FRAMES, _FPS = 64, 9, 8


def stored_for(spec: ModelSpec, kind: Kind, objects: ObjectStore, records: JobStore) -> dict[str, str]:
    """Store the files that a check of a model needs, of this kind and of its controls.

    Returns:
        Object-store keys of an ``image`` and a ``video``, as far as it needs them.

    Raises:
        Unavailable: the object store or Redis does not answer.
    """
    keys = {}
    if kind.inputs & {"image", "images"} or spec.controls_of(kind):
        keys["image"] = inputs.store_once(_grey_png(), "png", "image/png", objects, records)
    if "video" in kind.inputs:
        keys["video"] = inputs.store_once(off_the_hub(_grey_mp4), "mp4", "video/mp4", objects, records)
    return keys


def _grey_mp4() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as target:
        stream: Any = target.add_stream("libx264", rate=Fraction(_FPS))
        stream.width = stream.height = _SIDE_PX
        stream.pix_fmt = "yuv420p"
        for index in range(_FRAMES):
            frame = av.VideoFrame(_SIDE_PX, _SIDE_PX, "yuv420p")
            for plane in frame.planes:
                plane.update(b"\x80" * plane.buffer_size)
            frame.pts = index
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return file.getvalue()


def _grey_png() -> bytes:

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x80\x80\x80" * _SIDE_PX) * _SIDE_PX
    header = struct.pack(">IIBBBBB", _SIDE_PX, _SIDE_PX, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
