"""Mark outputs as made by a model: IPTC's digital source type, in XMP.

Sources: IPTC Photo Metadata Standard 2023.1 (``Iptc4xmpExt:DigitalSourceType``); XMP Specification Part 3, for where
each format has its packet; the WebP Container Specification.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path

from jobs.requests.generation import GenerationRequest

#: IPTC's vocabulary: https://cv.iptc.org/newscodes/digitalsourcetype/
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
#: Made from words alone.
TRAINED = SOURCE_TYPES + "trainedAlgorithmicMedia"
#: Made with a picture or video that the caller sent.
COMPOSITE = SOURCE_TYPES + "compositeWithTrainedAlgorithmicMedia"

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""

_PNG_KEYWORD = b"XML:com.adobe.xmp\0"
_PNG_HEAD_BYTES = 8 + 25  # signature and IHDR, which must be the first chunk
_JPEG_NAME = b"http://ns.adobe.com/xap/1.0/\0"
_MP4_BOX = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes
_WEBP_XMP_FLAG, _WEBP_ALPHA_FLAG = 0x04, 0x10


def source_type(request: GenerationRequest) -> str:
    """Return the IPTC term for the outputs of a request. A sound that drives a video makes it no composite."""
    return COMPOSITE if any(not name.startswith("audio") for name in request.named_inputs) else TRAINED


def mark(path: Path, media_type: str, request: GenerationRequest, size_px: tuple[int, int]) -> None:
    """Write the XMP packet into a file, in place. Pixels and all other metadata stay as they are.

    A file that has XMP already, as a back end may have written it, is left as it is, and so are formats without a place
    for XMP that programs read (GIF, WebM).

    Args:
        path: a PNG, JPEG, WebP or MP4 file; others are left as they are.
        media_type: of the file.
        request: which made it.
        size_px: width and height.
    """
    packet = _PACKET.format(source_type=source_type(request)).encode()
    if media_type == "video/mp4":
        box = struct.pack(">I4s", 8 + len(_MP4_BOX) + len(packet), b"uuid") + _MP4_BOX + packet
        if not _has_mp4_packet(path):
            with path.open("ab") as file:
                file.write(box)
        return
    if media_type not in ("image/png", "image/jpeg", "image/webp"):
        return
    data = path.read_bytes()
    if media_type == "image/png":
        marked = _marked_png(data, packet)
    elif media_type == "image/jpeg":
        marked = _marked_jpeg(data, packet)
    else:
        marked = _marked_webp(data, packet, size_px)
    if marked is not data:
        path.write_bytes(marked)


def _marked_png(data: bytes, packet: bytes) -> bytes:
    if _PNG_KEYWORD in data:
        return data
    content = b"iTXt" + _PNG_KEYWORD + b"\0\0\0\0" + packet  # not compressed, no language
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return data[:_PNG_HEAD_BYTES] + chunk + data[_PNG_HEAD_BYTES:]


def _marked_jpeg(data: bytes, packet: bytes) -> bytes:
    if _JPEG_NAME in data:
        return data
    content = _JPEG_NAME + packet
    position = 2
    while data[position : position + 2] in (b"\xff\xe0", b"\xff\xe1"):  # JFIF and EXIF come first
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content
    return data[:position] + segment + data[position:]


def _marked_webp(data: bytes, packet: bytes, size_px: tuple[int, int]) -> bytes:
    chunks = list(_webp_chunks(data))
    if any(name == b"XMP " for name, _ in chunks):
        return data
    if chunks[0][0] == b"VP8X":
        head = bytearray(chunks.pop(0)[1])
        head[0] |= _WEBP_XMP_FLAG
    else:  # a simple file: its pixels and nothing else
        name, pixels = chunks[0]
        has_alpha = name == b"VP8L" and pixels[4] & _WEBP_ALPHA_FLAG
        flags = _WEBP_XMP_FLAG | (_WEBP_ALPHA_FLAG if has_alpha else 0)
        sides = [(side - 1).to_bytes(3, "little") for side in size_px]
        head = bytearray(bytes([flags, 0, 0, 0]) + b"".join(sides))
    body = b"".join(_webp_chunk(*one) for one in [(b"VP8X", bytes(head)), *chunks, (b"XMP ", packet)])
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        yield name, data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def _webp_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", name, len(content)) + content + b"\0" * (len(content) % 2)


def _has_mp4_packet(path: Path) -> bool:
    """Return whether a box of XMP stands at the top level of a file."""
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"uuid" and file.read(16) == _MP4_BOX:
                return True
            begin = file.tell() - 8 - (16 if kind == b"uuid" else 0)
            if length == 1:
                length = int.from_bytes(file.read(8), "big")
            if length < 8:  # 0: the box goes on to the end of the file
                return False
            file.seek(begin + length)
    return False
