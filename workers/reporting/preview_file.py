"""The file of a preview: a small JPEG."""

from __future__ import annotations

import io

from PIL import Image

#: Longest side of a preview, pixels.
MAX_SIDE_PX = 512
MEDIA_TYPE = "image/jpeg"
_JPEG_QUALITY = 85


def encode(image: Image.Image, width: int, height: int) -> tuple[bytes, str]:
    """Return the file of a preview and its media type.

    Args:
        image: the preview, of any size.
        width: width of the output, pixels. The preview gets the output's shape and at most its size.
        height: height of the output, pixels.
    """
    scale = min(1.0, MAX_SIDE_PX / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BILINEAR).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue(), MEDIA_TYPE
