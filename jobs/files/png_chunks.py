"""The chunks of a PNG file that are not its pixels: texts and colour profiles of any size are no reason to refuse it.

Pillow takes a file for damaged if a compressed text or a profile exceeds 1 MiB, or if all texts together exceed its
limit. Programs that write their whole work into a picture exceed both.
"""

from __future__ import annotations

import struct
import zlib

#: Largest text or profile that is kept, once it is decompressed, bytes: Pillow's own limit for one chunk.
MAX_CHUNK_BYTES = 1024 * 1024
#: Most bytes of all of them. What is decompressed only to find that it is too large counts as well.
MAX_TEXT_BYTES = 8 * 1024 * 1024
#: Most chunks of a file. Pictures of any size have a few thousand; readers take a step for each one.
MAX_CHUNKS = 100_000

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEAD = struct.Struct(">I4s")
#: Length and kind before the content of a chunk, and the checksum behind it, bytes.
_HEAD_BYTES, _CHECKSUM_BYTES = 8, 4


class TooManyChunks(ValueError):
    """A PNG file has more chunks than :data:`MAX_CHUNKS`."""


def without_large_texts(data: bytes) -> bytes:
    """Return a file without those of its texts and profiles that are too large to be read; other files unchanged.

    Pixels are not decoded, and nothing else is checked.

    Raises:
        TooManyChunks.
    """
    if not data.startswith(_SIGNATURE):
        return data
    kept, kept_from, left_bytes = [], 0, MAX_TEXT_BYTES
    position, chunks = len(_SIGNATURE), 0
    while position + _HEAD_BYTES <= len(data):
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise TooManyChunks
        length, kind = _HEAD.unpack_from(data, position)
        end = position + _HEAD_BYTES + length + _CHECKSUM_BYTES
        if kind in _SIZES:
            content = data[position + _HEAD_BYTES : end - _CHECKSUM_BYTES]
            size, is_compressed = _SIZES[kind](content, min(MAX_CHUNK_BYTES, left_bytes))
            fits = size <= left_bytes and not (is_compressed and size >= MAX_CHUNK_BYTES)
            if fits or is_compressed:
                left_bytes -= min(size, left_bytes)
            if not fits:
                kept.append(data[kept_from:position])
                kept_from = end
        position = end
        if kind == b"IEND":
            break
    return b"".join((*kept, data[kept_from:])) if kept else data


def _plain_text(content: bytes, limit: int) -> tuple[int, bool]:
    return len(content), False


def _compressed(content: bytes, limit: int) -> tuple[int, bool]:
    """Return the size of the text behind a name, a NUL and the number of the method."""
    return _decompressed_bytes(content[content.find(b"\0") + 2 :], limit), True


def _international_text(content: bytes, limit: int) -> tuple[int, bool]:
    name_end = content.find(b"\0")
    if content[name_end + 1 : name_end + 2] in (b"", b"\0"):
        return len(content), False
    language_end = content.find(b"\0", name_end + 3)
    text = content.find(b"\0", language_end + 1) + 1
    return _decompressed_bytes(content[text:], limit), True


def _decompressed_bytes(content: bytes, limit: int) -> int:
    """Return the size of a text, or a larger number than ``limit`` if it has more bytes; 0 for a damaged one."""
    try:
        return len(zlib.decompressobj().decompress(content, limit + 1))
    except zlib.error:
        return 0  # readers take it for an empty text


#: Kind of a chunk → the size of its text and whether it is compressed.
_SIZES = {b"tEXt": _plain_text, b"zTXt": _compressed, b"iTXt": _international_text, b"iCCP": _compressed}
