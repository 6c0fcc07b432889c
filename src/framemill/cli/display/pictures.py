"""Show the first output of a job in the terminal, if it can show pictures.

``FRAMEMILL_PICTURES`` chooses how: ``auto`` (the default), ``kitty``, ``iterm2``, ``sixel``, ``blocks`` or ``off``.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from framemill.cli.display import graphics, terminal
from framemill.cli.display.output import note

if TYPE_CHECKING:
    from framemill.client import Client
    from framemill.records import Job

METHODS = ("auto", "kitty", "iterm2", "sixel", "blocks", "off")
#: Larger outputs are shown as their thumbnails, bytes.
_MOST_BYTES = 8 * 2**20
#: Most columns and lines of a picture, and lines that are left for other text.
_MOST_COLUMNS, _MOST_LINES, _FREE_LINES = 64, 24, 4


def show(client: Client, job: Job, *, wanted: bool | None) -> None:
    """Draw the first output of a job that has succeeded; a video is shown as its thumbnail.

    Args:
        client: fetches the picture.
        job: the job.
        wanted: False: draw nothing. None: draw nothing, silently, where it is not possible.
    """
    if wanted is False or not terminal.is_terminal(sys.stdout) or not job.outputs:
        return
    method = os.environ.get("FRAMEMILL_PICTURES", "") or "auto"
    if method not in METHODS:
        raise ValueError(f"FRAMEMILL_PICTURES must be one of {', '.join(METHODS)}, not {method}")
    if method == "auto":
        method = graphics.detected()
    if method == "off":
        return
    try:
        from PIL import Image
    except ImportError:
        if wanted:
            note("pictures in the terminal need Pillow: pip install pillow")
        return
    with Image.open(io.BytesIO(_content(client, job))) as picture:
        _draw(picture.convert("RGB"), method)


def temporary_folder() -> str:
    """Return a new folder for files that are only opened."""
    return tempfile.mkdtemp(prefix="framemill-")


def _content(client: Client, job: Job) -> bytes:
    output = job.outputs[0]
    if output.media_type.startswith("image/") and (output.bytes or 0) <= _MOST_BYTES:
        return client.result(job.id, index=output.index)
    return client.thumbnail(job.id, output.index)


def _draw(picture: Any, method: str) -> None:
    columns, lines = size(picture.width, picture.height, method)
    if method == "blocks":
        text = graphics.blocks(picture.resize((columns, 2 * lines)))
    elif method == "sixel":
        text = graphics.sixel(picture.resize((columns * graphics.CELL_PX[0], lines * graphics.CELL_PX[1])))
    else:
        buffer = io.BytesIO()
        picture.save(buffer, "png", compress_level=1)
        encode = graphics.kitty if method == "kitty" else graphics.iterm2
        text = encode(buffer.getvalue(), columns, lines)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def size(width_px: int, height_px: int, method: str) -> tuple[int, int]:
    """Return columns and lines of a picture: it keeps its proportions and fits into the terminal."""
    terminal_columns, terminal_lines = shutil.get_terminal_size()
    most_columns, most_lines = min(terminal_columns - 1, _MOST_COLUMNS), min(terminal_lines - _FREE_LINES, _MOST_LINES)
    cell_width, cell_height = (1, 2) if method == "blocks" else graphics.CELL_PX
    scale = min(most_columns * cell_width / width_px, most_lines * cell_height / height_px)
    if method != "blocks":
        scale = min(scale, 2.0)  # a small picture stays small
    columns, lines = width_px * scale / cell_width, height_px * scale / cell_height
    return max(1, round(columns)), max(1, round(lines))
