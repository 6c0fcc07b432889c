"""How terminals show pictures: which protocol they have, and the characters that draw a picture with it.

- kitty: https://sw.kovidgoyal.net/kitty/graphics-protocol/ (kitty, Ghostty, Konsole)
- iTerm2: https://iterm2.com/documentation-images.html (iTerm2, WezTerm, mintty, VS Code)
- sixel: DEC VT340 (foot, xterm, mlterm, Windows Terminal, tmux)
- blocks: half blocks in 24-bit or 256 colours, everywhere else
"""

from __future__ import annotations

import base64
import itertools
import os
import re
import select
import sys
import time
from collections.abc import Iterator
from typing import Any

from framemill.cli.display import terminal

#: Usual size of a character, pixels.
CELL_PX = (10, 20)
#: A terminal answers at once; one at the end of a slow connection needs longer.
_PATIENCE_S = 0.5
_KITTY_CHUNK = 4096
#: Programs that set TERM_PROGRAM or LC_TERMINAL and show pictures like iTerm2.
_LIKE_ITERM2 = ("iTerm.app", "iTerm2", "WezTerm", "mintty", "vscode")
#: "Can you show a picture of one pixel?", and "What are you?", which every terminal answers.
_ASK_KITTY, _ASK_ATTRIBUTES = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\", b"\x1b[c"
_ATTRIBUTES = re.compile(rb"\x1b\[\?([\d;]*)c")
_SIXEL_COLOURS = 128


def detected() -> str:
    """Return how this terminal shows pictures: ``kitty``, ``iterm2``, ``sixel``, ``blocks`` or ``off``."""
    fallback = "blocks" if terminal.has_colours(sys.stdout) else "off"
    if not sys.stdin.isatty() or os.environ.get("TERM", "") in ("linux", "screen"):
        return fallback
    in_tmux = bool(os.environ.get("TMUX"))
    if not in_tmux and {os.environ.get("TERM_PROGRAM"), os.environ.get("LC_TERMINAL")} & {*_LIKE_ITERM2}:
        return "iterm2"
    answer = ask(_ASK_ATTRIBUTES if in_tmux else _ASK_KITTY + _ASK_ATTRIBUTES)
    if b"_Gi=31;OK" in answer:
        return "kitty"
    attributes = _ATTRIBUTES.search(answer)
    return "sixel" if attributes and b"4" in attributes[1].split(b";") else fallback


def ask(question: bytes) -> bytes:
    """Send a question to the terminal, and return its answer; empty if there is none in time."""
    try:
        import termios
        import tty
    except ImportError:  # not a Unix
        return b""
    try:
        device = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return b""
    before = termios.tcgetattr(device)
    answer = b""
    try:
        tty.setcbreak(device, termios.TCSANOW)
        os.write(device, question)
        deadline = time.monotonic() + _PATIENCE_S
        while not _ATTRIBUTES.search(answer) and (left_s := deadline - time.monotonic()) > 0:
            if select.select([device], [], [], left_s)[0]:
                answer += os.read(device, 1024)
    finally:
        termios.tcsetattr(device, termios.TCSANOW, before)
        os.close(device)
    return answer


def kitty(png: bytes, columns: int, lines: int) -> str:
    """Return the characters that draw a PNG file."""
    data = base64.b64encode(png).decode()
    chunks = [data[start : start + _KITTY_CHUNK] for start in range(0, len(data), _KITTY_CHUNK)]
    keys = f"a=T,f=100,c={columns},r={lines},q=2,"
    last = len(chunks) - 1
    return "".join(
        f"\x1b_G{keys if not number else ''}m={int(number < last)};{chunk}\x1b\\" for number, chunk in enumerate(chunks)
    )


def iterm2(file: bytes, columns: int, lines: int) -> str:
    """Return the characters that draw a file."""
    keys = f"inline=1;size={len(file)};width={columns};height={lines}"
    return f"\x1b]1337;File={keys}:{base64.b64encode(file).decode()}\a"


def sixel(picture: Any) -> str:
    """Return the characters that draw an RGB picture of Pillow."""
    from PIL import Image

    indexed = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=_SIXEL_COLOURS)
    palette, width, height, pixels = indexed.getpalette(), indexed.width, indexed.height, indexed.tobytes()
    parts = [f'\x1bPq"1;1;{width};{height}']
    for colour in sorted(set(pixels)):
        red, green, blue = (round(value * 100 / 255) for value in palette[3 * colour : 3 * colour + 3])
        parts.append(f"#{colour};2;{red};{green};{blue}")
    for top in range(0, height, 6):
        bands: dict[int, bytearray] = {}
        for row in range(top, min(top + 6, height)):
            bit = 1 << (row - top)
            for x, colour in enumerate(pixels[row * width : (row + 1) * width]):
                if colour not in bands:
                    bands[colour] = bytearray(width)
                bands[colour][x] |= bit
        parts.append("$".join(f"#{colour}{''.join(_runs(band))}" for colour, band in bands.items()) + "-")
    return "".join([*parts, "\x1b\\"])


def _runs(band: bytearray) -> Iterator[str]:
    for value, run in itertools.groupby(band):
        length, character = len(list(run)), chr(63 + value)
        yield f"!{length}{character}" if length > 3 else character * length


def blocks(picture: Any) -> str:
    """Return the characters that draw an RGB picture: each shows two of its pixels, one above the other."""
    from rich.color import Color, ColorSystem
    from rich.style import Style

    true_colour = os.environ.get("COLORTERM", "").lower() in ("truecolor", "24bit")
    system = ColorSystem.TRUECOLOR if true_colour else ColorSystem.EIGHT_BIT
    pixels, width = picture.tobytes(), picture.width

    def colour(x: int, y: int) -> Color:
        at = 3 * (y * width + x)
        return Color.from_rgb(*pixels[at : at + 3])

    return "\n".join(
        "".join(
            Style(color=colour(x, y), bgcolor=colour(x, y + 1)).render("▀", color_system=system) for x in range(width)
        )
        for y in range(0, picture.height, 2)
    )
