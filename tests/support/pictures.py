"""Pictures for tests: plain ones, and handmade ones that no library writes."""

from __future__ import annotations

import base64
import io
import random
import struct
import zipfile
import zlib

from PIL import Image


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Return a picture of noise, the same every time; noise keeps every file long."""
    channels = {"RGB": 3, "RGBA": 4, "L": 1, "CMYK": 4, "LA": 2}[mode]
    return Image.frombytes(mode, size, random.Random(7).randbytes(size[0] * size[1] * channels))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes = b"", extra: bytes = b"") -> bytes:
    """Return a handmade PNG in 8-bit grey."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


PNG, JPEG, WEBP = (encoded(picture(), kind) for kind in ("PNG", "JPEG", "WEBP"))


def animated(kind: str, **options: object) -> bytes:
    return encoded(picture(), kind, save_all=True, append_images=[picture("L").convert("RGB")], duration=100, **options)


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\0" * 10_000_000)
    return buffer.getvalue()


def webp_canvas(width: int, height: int) -> bytes:
    body = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4 + len(WEBP) - 12) + b"WEBP" + body + WEBP[12:]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
