"""Metadata of outputs: the request as JSON, and as the text that tools for AUTOMATIC1111 read.

======================  =====================================  ============================
format                  JSON                                   text
======================  =====================================  ============================
PNG                     chunk ``framemill`` (iTXt)             chunk ``parameters``
WebP, JPEG              EXIF MakerNote: ``framemill``, NUL,    EXIF UserComment
                        then zlib
MP4, WebM               tag ``comment``                        tag ``description``
GIF                     comment
======================  =====================================  ============================

``framemill.inspection`` reads all of them.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jobs.requests import infotext
from jobs.requests.generation import GenerationRequest

logger = logging.getLogger(__name__)

#: Tags of EXIF: the sub-directory, and its fields.
EXIF_IFD, USER_COMMENT, MAKER_NOTE = 0x8769, 0x9286, 0x927C
MAKER = b"framemill\0"
#: The length of a JPEG segment has 16 bits, and includes its own two bytes and ``Exif\\0\\0``.
MAX_EXIF_BYTES = 65_535 - 2 - 6


@dataclass(frozen=True)
class Metadata:
    """The metadata of one output."""

    json: str
    text: str

    @classmethod
    def of(cls, request: GenerationRequest, extra: Mapping[str, Any]) -> Metadata:
        """Return the request as callers may see it, with ``extra``."""
        values = {**request.shown(), **extra}
        of_image = {**values, **request.seeds(extra.get("index", 0))}  # the text has no field for the index
        return cls(json.dumps(values, ensure_ascii=False), infotext.write(of_image))

    def png(self) -> dict[str, Any]:
        """Return arguments of Pillow's ``save``."""
        info = PngInfo()
        info.add_text("parameters", self.text)
        info.add_itxt("framemill", self.json, zip=True)
        return {"pnginfo": info}

    def exif(self) -> dict[str, Any]:
        """Return arguments of Pillow's ``save``. Metadata too long for EXIF is left out, the text first."""
        note = {MAKER_NOTE: MAKER + zlib.compress(self.json.encode(), 9)}
        text = {USER_COMMENT: b"UNICODE\0" + self.text.encode("utf-16-be")}
        for fields in ({**text, **note}, note):
            exif = Image.Exif()
            exif.get_ifd(EXIF_IFD).update(fields)
            if len(exif.tobytes()) <= MAX_EXIF_BYTES:
                return {"exif": exif}
        logger.warning("too much metadata for EXIF, left out", extra={"bytes": len(self.json)})
        return {}

    def tags(self) -> dict[str, str]:
        """Return the tags of a video container."""
        return {"comment": self.json, "description": self.text}

    def gif(self) -> dict[str, Any]:
        """Return arguments of Pillow's ``save``."""
        return {"comment": self.json.encode()}
