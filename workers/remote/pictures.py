"""Files of back ends: results, and previews."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from jobs.errors import BackendFailed
from jobs.files.png_chunks import without_large_texts
from workers.remote.base import HandBack, RemoteFile
from workers.remote.responses import ENDINGS, media_type_of

#: Longest side of a preview, pixels, and its JPEG quality.
PREVIEW_PX, PREVIEW_QUALITY = 512, 80


def write_result(content: bytes, folder: Path, index: int, name: str) -> RemoteFile:
    """Write a resulting picture into ``folder``.

    Args:
        content: the image file that the back end sent.
        folder: where to write.
        index: its number among the outputs.
        name: name of the back end, for the error text.

    Raises:
        HandBack: it is not a picture.
    """
    media_type = media_type_of(content[:12])
    if not media_type.startswith("image/"):
        raise HandBack(f"{name} sent a result that is not a picture", counted=True)
    path = folder / f"{index}.{ENDINGS[media_type]}"
    path.write_bytes(content)
    return RemoteFile(path, media_type)


def keep_download(part: Path, declared: str) -> RemoteFile:
    """Give a downloaded file the name that its content asks for: some servers declare every picture as image/jpeg.

    Args:
        part: the file, named after its number among the outputs: ``0.part``.
        declared: the media type that the back end declared, for the error text.

    Raises:
        BackendFailed: it is no output.
    """
    with part.open("rb") as file:
        media_type = media_type_of(file.read(12))
    if not media_type:
        raise BackendFailed(f"the back end sent {declared or 'a file'}, which is neither MP4 nor PNG, JPEG or WebP")
    return RemoteFile(part.rename(part.with_suffix(f".{ENDINGS[media_type]}")), media_type)


def draw_preview(picture: str) -> tuple[bytes, str]:
    """Return a back end's picture so far (an image file in base64) as a small JPEG, with its media type."""
    content = base64.b64decode(picture.partition(",")[2] or picture)
    with Image.open(io.BytesIO(without_large_texts(content))) as image:
        small = image.convert("RGB")
    small.thumbnail((PREVIEW_PX, PREVIEW_PX))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=PREVIEW_QUALITY)
    return file.getvalue(), "image/jpeg"
