"""Check that an output file of the demo can be decoded."""

from __future__ import annotations

from pathlib import Path


class Undecodable(OSError):
    """The file is not a complete image or video."""


def summary_of(path: Path) -> str:
    """Decode the complete file and describe it: ``64 x 64, 9 frames``.

    Raises:
        Undecodable: the file is damaged, or a video with fewer than two frames.
    """
    return _image(path) if path.suffix == ".png" else _video(path)


def _image(path: Path) -> str:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return f"{image.width} x {image.height}"
    except (OSError, SyntaxError) as exc:  # Pillow raises SyntaxError for a broken PNG chunk
        raise Undecodable(f"{path} does not decode: {exc}") from exc


def _video(path: Path) -> str:
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = sum(1 for _ in container.decode(stream))
            size = f"{stream.width} x {stream.height}"
    except (av.error.FFmpegError, IndexError) as exc:
        raise Undecodable(f"{path} does not decode: {exc}") from exc
    if frames < 2:
        raise Undecodable(f"{path} has {frames} frames; a video needs more than one")
    return f"{size}, {frames} frames"
