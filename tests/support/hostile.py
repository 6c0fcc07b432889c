"""A folder of malicious input files, and of odd ones that are harmless. ``python -m tests.support.hostile FOLDER``"""

from __future__ import annotations

import io
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, PngImagePlugin

from tests.support.pictures import JPEG, PNG, WEBP, animated, chunk, encoded, picture, png, webp_canvas, zip_bomb

#: Rules as the responses word them.
FORMAT, DAMAGED, PIXELS, ANIMATED, EMPTY = (
    "must be a PNG, JPEG or WebP image", "is damaged or incomplete", "must not have more than", "must not be animated",
    "must not be empty",
)  # fmt: skip
GIF = encoded(picture("L"), "GIF")
TIFF = encoded(picture(), "TIFF")
#: Texts about a picture that is still readable.
SCRIPT = b"<script>alert(1)</script>"


def gif(width: int, height: int, frames: int = 1) -> bytes:
    """Return a handmade GIF: a canvas of any size, one pixel."""
    frame = b"\x2c" + bytes(4) + struct.pack("<HH", 1, 1) + b"\0\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b"\x3b"


def jpeg_of_size(width: int, height: int) -> bytes:
    return JPEG.replace(struct.pack(">HH", 30, 40), struct.pack(">HH", height, width), 1)


def many_scans(number: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated many times."""
    data = encoded(picture(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * number + data[-2:]


def exif(*entries: tuple[int, int, int, bytes], next_ifd: int = 0) -> bytes:
    """Return an APP1 segment of entries (tag, type, count, four bytes)."""
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHI", *e[:3]) + e[3] for e in entries)
    tiff = b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", next_ifd)
    return b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff


def with_exif(*entries: tuple[int, int, int, bytes], next_ifd: int = 0) -> bytes:
    return JPEG[:2] + exif(*entries, next_ifd=next_ifd) + JPEG[2:]


def zip_of(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("run.sh", content)
    return buffer.getvalue()


def grey16() -> bytes:
    image = Image.new("I;16", (4, 1))
    image.putdata([0, 0x1234, 0x8080, 0xFFFF])
    return encoded(image, "PNG")


def apng_of_size(width: int, height: int) -> bytes:
    control = chunk(b"acTL", struct.pack(">II", 1_000_000, 0))
    return png(width, height, bytes(100), control)


def refused() -> Iterator[tuple[str, bytes, str]]:
    """Yield name, content, and the rule that it breaks."""
    yield "empty.png", b"", EMPTY
    # Bombs: little data, many pixels or bytes.
    for width, height in ((65_535, 65_535), (30_000, 30_000), (2**31 - 1, 2**31 - 1), (100_000_000, 1)):
        yield f"bomb-{width}x{height}.png", png(width, height, bytes(4096)), PIXELS
    yield "bomb-65500.jpg", jpeg_of_size(65_500, 65_500), PIXELS
    yield "bomb-16383.webp", webp_canvas(16_383, 16_383), ""  # refused by the library itself, or by its size
    yield "bomb-65535.gif", gif(65_535, 65_535), FORMAT
    yield "bomb-frames.gif", gif(1, 1, 100_000), FORMAT
    yield "bomb-frames.apng", apng_of_size(65_535, 65_535), PIXELS
    yield "bomb-scans.jpg", many_scans(2000), "must not have more than 100 scans"
    yield "bomb.zip", zip_bomb(), FORMAT
    # Truncated and damaged.
    for name, data in (("png", PNG), ("jpg", JPEG), ("webp", WEBP)):
        for share in (0.02, 0.3, 0.9):
            yield f"cut-{share}.{name}", data[: max(12, int(len(data) * share))], ""
    for name, data in (("gif", GIF), ("tiff", TIFF), ("bmp", encoded(picture(), "BMP"))):
        yield f"cut.{name}", data[: len(data) // 2], FORMAT
    yield "signature.png", PNG[:8], DAMAGED
    yield "signature.jpg", JPEG[:3], DAMAGED
    yield "no-pixels.png", png(0, 0), DAMAGED
    yield "wrong-crc.png", PNG[:20] + b"\xff" + PNG[21:], DAMAGED
    yield "wrong-length.webp", WEBP[:16] + b"\xff\xff\xff\x7f" + WEBP[20:], DAMAGED
    yield "png-and-html.png", PNG[:33] + b"<html>" + SCRIPT * 50, DAMAGED
    yield "jpeg-and-webp.jpg", JPEG[:3] + WEBP, DAMAGED
    # Not a picture.
    yield "text.png", b"hello", FORMAT
    yield "document.pdf", b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF", FORMAT
    yield "page.html", b"<!doctype html>" + SCRIPT, FORMAT
    yield "vector.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', FORMAT
    yield "entities.svg", b'<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><svg>&b;</svg>', FORMAT
    yield "film.mp4", b"\0\0\0\x20ftypisom" + bytes(500), FORMAT
    yield "photo.heic", b"\0\0\0\x18ftypheic" + bytes(500), FORMAT
    yield "photo.avif", b"\0\0\0\x1cftypavif" + bytes(500), FORMAT
    yield "icon.ico", encoded(picture(size=(32, 32)), "ICO"), FORMAT
    yield "icon-of-png.ico", b"\0\0\1\0\1\0\0\0\0\0\1\0\x20\0" + struct.pack("<II", len(PNG), 22) + PNG, FORMAT
    yield "layers.psd", b"8BPS\0\1" + bytes(6) + b"\0\3" + struct.pack(">II", 300_000, 300_000) + bytes(100), FORMAT
    yield "scan.tiff", TIFF, FORMAT
    yield "offsets.tiff", b"II*\0\xff\xff\xff\xff" + bytes(100), FORMAT
    yield "bigtiff.tiff", b"II+\0\x08\0\0\0" + bytes(100), FORMAT
    yield "script.ps", b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run\n", FORMAT
    yield "commands.mvg", b"push graphic-context\nfill 'url(https://example.com/x)'\npop graphic-context", FORMAT
    yield "picture.bmp", encoded(picture(), "BMP"), FORMAT
    yield "picture.gif", GIF, FORMAT
    yield "animated.gif", animated("GIF"), FORMAT
    yield "nothing.bin", bytes(5000), FORMAT
    # Two formats at once.
    yield "script.gif", b"GIF89a/*" + bytes(50) + b"*/=1;alert(1)//", FORMAT
    yield "page-before.jpg", SCRIPT + JPEG, FORMAT
    yield "zip-before.png", zip_of(SCRIPT) + PNG, FORMAT
    # Animated.
    yield "animated.webp", animated("WEBP"), ANIMATED
    yield "animated.apng", animated("PNG"), ANIMATED


def accepted() -> Iterator[tuple[str, bytes, bool]]:
    """Yield name, content, and whether it is changed before it is stored (else it is stored as sent)."""
    yield "plain.png", PNG, False
    yield "plain.jpg", JPEG, False
    yield "plain.webp", WEBP, False
    yield "png-called.jpg", PNG, False
    yield "jpeg-called.html", JPEG, False
    # Polyglots that are also a picture: the rest is removed.
    yield "zip-behind.jpg", JPEG + zip_of(SCRIPT), True
    yield "zip-behind.png", PNG + zip_of(SCRIPT), True
    yield "script-behind.webp", WEBP + SCRIPT, True
    # Texts that become 60 MB: they are removed.
    bomb = zlib.compress(bytes(60_000_000))
    yield "bomb-text.png", png(1, 1, bytes(2), chunk(b"zTXt", b"a\0\0" + bomb)), True
    yield "bomb-itxt.png", png(1, 1, bytes(2), chunk(b"iTXt", b"a\0\1\0\0\0" + bomb)), True
    # Unusual pixels.
    yield "ink.jpg", encoded(picture("CMYK"), "JPEG"), True
    yield "grey16.png", grey16(), True
    yield "palette.png", encoded(picture().quantize(16), "PNG", transparency=bytes([0, 128] + [255] * 14)), True
    yield "alpha.png", encoded(picture("RGBA"), "PNG"), True
    yield "alpha.webp", encoded(picture("RGBA"), "WEBP", lossless=True), True
    yield "one-bit.png", encoded(picture("L").convert("1"), "PNG"), True
    # False EXIF.
    orientation = 0x0112
    yield "turned.jpg", with_exif((orientation, 3, 1, struct.pack("<HH", 6, 0))), True
    yield "turned-by-99.jpg", with_exif((orientation, 3, 1, struct.pack("<HH", 99, 0))), False
    yield "turned-by-text.jpg", with_exif((orientation, 2, 4, b"six\0")), False
    yield "turned-often.jpg", with_exif(*[(orientation, 3, 1, struct.pack("<HH", 6, 0))] * 4000), True
    yield "turned-by-many.jpg", with_exif((orientation, 3, 2**31 - 1, struct.pack("<I", 8))), False
    yield "endless-exif.jpg", with_exif((orientation, 3, 1, struct.pack("<HH", 1, 0)), next_ifd=8), False
    # More data than pixels, or more announced than present: readers stop when they have all pixels.
    yield "wrong-length.png", PNG[:33] + struct.pack(">I", 2**31 - 1) + PNG[37:], False
    yield "too-much-data.png", png(8, 8, bytes(50_000_000)), False
    comment = PngImagePlugin.PngInfo()
    comment.add_text("Comment", SCRIPT.decode())
    yield "script-in-comment.png", encoded(picture(), "PNG", pnginfo=comment), False


#: File names of uploads. None of them is ever used.
NAMES = (
    "../../../etc/passwd", "..\\..\\windows\\win.ini", "/etc/passwd", "C:\\a.png", "a\0.png", "\0", "....//a.png", ".",
    "..", "a/../../b.png", "%2e%2e%2fa.png", "inputs/x.png", "~root/.ssh/authorized_keys", "a" * 5000 + ".png",
    "ü\u202egnp.exe", "\r\nX-Header: 1", "'; rm -rf /;'.png", "$(id).png", "|id", "con", "a.png;.html", "LINK",
)  # fmt: skip


def build(folder: Path) -> None:
    """Write all files, and symbolic links that point outside the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data, _ in (*refused(), *accepted()):
        (folder / name).write_bytes(data)
    for name, target in (("link-out.png", "/etc/passwd"), ("link-loop.png", "link-loop.png")):
        (folder / name).symlink_to(target)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
