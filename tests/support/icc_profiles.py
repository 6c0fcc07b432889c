"""Small ICC profiles (version 2, matrix and curve): Display P3, Adobe RGB and grey with a gamma.

Layout: ICC.1:2001-04. Primaries are adapted to D50, as published with the two spaces.
"""

from __future__ import annotations

import struct
from typing import Final

_D50: Final = (0.9642, 1.0, 0.8249)


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256)) + bytes(2)


def _description(name: str) -> bytes:
    text = name.encode() + b"\0"
    return b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67)


def _profile(colour_space: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, data, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for signature, content in tags.items():
        content += bytes(-len(content) % 4)
        table += signature + struct.pack(">II", offset + len(data), len(content))
        data += content
    size = 128 + len(table) + len(data)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", colour_space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", *(round(value * 65536) for value in _D50))
    return header.ljust(128, b"\0") + table + data


def _rgb(name: str, gamma: float, *primaries: tuple[float, float, float]) -> bytes:
    tags = {b"desc": _description(name), b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": _xyz(_D50)}
    for letter, primary in zip("rgb", primaries, strict=True):
        tags[f"{letter}XYZ".encode()], tags[f"{letter}TRC".encode()] = _xyz(primary), _gamma(gamma)
    return _profile(b"RGB ", tags)


DISPLAY_P3: Final = _rgb(
    "Display P3", 2.2, (0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841)
)
ADOBE_RGB: Final = _rgb(
    "Adobe RGB (1998)", 2.2, (0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)
)
GREY_GAMMA_1: Final = _profile(
    b"GRAY",
    {b"desc": _description("Linear grey"), b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": _xyz(_D50),
     b"kTRC": _gamma(1.0)},
)  # fmt: skip
