"""Texts and profiles of a PNG file that are too large to be read are skipped; everything else stays."""

from __future__ import annotations

import io
import zlib

import pytest
from PIL import Image

from app.media.pictures import open_picture
from jobs.errors import InvalidRequest
from jobs.files.png_chunks import MAX_CHUNK_BYTES, MAX_CHUNKS, MAX_TEXT_BYTES, without_large_texts
from jobs.settings import Settings
from tests.support.pictures import JPEG, PNG, chunk, encoded, picture, png

LARGE = b"a" * (MAX_CHUNK_BYTES + 1)
PIXELS = bytes(9 * 8)


def compressed(text: bytes) -> bytes:
    return b"workflow\0\0" + zlib.compress(text)


def international(text: bytes, flag: bytes = b"\1") -> bytes:
    return b"workflow\0" + flag + b"\0en\0Ablauf\0" + (zlib.compress(text) if flag == b"\1" else text)


@pytest.mark.parametrize(
    ("kind", "content"),
    [(b"zTXt", compressed(LARGE)), (b"iTXt", international(LARGE)), (b"iCCP", compressed(LARGE)),
     (b"tEXt", b"workflow\0" + b"a" * MAX_TEXT_BYTES), (b"iTXt", international(b"a" * MAX_TEXT_BYTES, b"\0"))],
)  # fmt: skip
def test_what_is_too_large_is_skipped(kind: bytes, content: bytes) -> None:
    others = chunk(b"tEXt", b"prompt\0a cat")
    data = png(8, 8, PIXELS, extra=chunk(kind, content) + others)
    kept = without_large_texts(data)
    assert kept == png(8, 8, PIXELS, extra=others)
    image = Image.open(io.BytesIO(kept))
    image.load()
    assert image.info == {"prompt": "a cat"}


@pytest.mark.parametrize(
    "extra",
    [b"", chunk(b"zTXt", compressed(LARGE[2:])), chunk(b"iTXt", international(LARGE[2:])),
     chunk(b"iTXt", international(LARGE * 4, b"\0")), chunk(b"tEXt", b"workflow\0" + LARGE * 4),
     chunk(b"zTXt", b"name\0\0no deflate"), chunk(b"zTXt", b""), chunk(b"iTXt", b""), chunk(b"iTXt", b"a\0\1\0")],
)  # fmt: skip
def test_what_fits_stays(extra: bytes) -> None:
    data = png(8, 8, PIXELS, extra=extra)
    assert without_large_texts(data) is data
    Image.open(io.BytesIO(data)).load()


@pytest.mark.parametrize("data", [b"", PNG[:8], PNG[:20], PNG[:-3], JPEG, encoded(picture(), "WEBP"), PNG + b"more"])
def test_other_files_stay(data: bytes) -> None:
    assert without_large_texts(data) is data


def test_texts_behind_the_pixels_are_skipped_too() -> None:
    end = chunk(b"IEND", b"")
    data = PNG.removesuffix(end) + chunk(b"zTXt", compressed(LARGE)) + end
    assert without_large_texts(data) == PNG


def test_all_texts_together_have_a_limit() -> None:
    """Those that were decompressed in vain count, so that a file cannot make the server work without end."""
    small, bomb = chunk(b"zTXt", compressed(b"a" * 1000)), chunk(b"zTXt", compressed(LARGE))
    assert without_large_texts(png(8, 8, PIXELS, extra=bomb * 7 + small)) == png(8, 8, PIXELS, extra=small)
    assert without_large_texts(png(8, 8, PIXELS, extra=bomb * 8 + small)) == png(8, 8, PIXELS)


def test_a_file_of_nothing_but_chunks_is_refused() -> None:
    data = png(8, 8, PIXELS, extra=chunk(b"teXt", b"") * MAX_CHUNKS)
    with pytest.raises(InvalidRequest, match=f"more than {MAX_CHUNKS} chunks"):
        open_picture(data, Settings.of())
