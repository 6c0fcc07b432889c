"""Files in the spool: what a back end has encoded already, beside the frames of our own devices.

``<spool>/<job_id>.<attempt>/files.json`` lists them. As with frames, the folder is complete or absent.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np
from PIL import Image

from jobs.errors import BackendFailed, ObjectNotFound
from jobs.formats import FORMATS
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings

_LIST = "files.json"


@dataclass(frozen=True)
class SpooledFile:
    """One encoded file."""

    path: Path
    media_type: str
    width: int
    height: int
    #: 1 and 0.0 for an image.
    frames: int = 1
    fps: float = 0.0


@contextmanager
def folder(settings: Settings, job_id: str, attempt: int) -> Iterator[Path]:
    """A folder to fetch into; what :func:`keep` did not keep of it is removed."""
    partial = settings.spool_disk / f"{job_id}.{attempt}.part{os.getpid()}"
    partial.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def keep(settings: Settings, job_id: str, attempt: int, partial: Path, files: list[SpooledFile]) -> None:
    """Make the fetched files those of the attempt."""
    listed = [{**asdict(file), "path": file.path.name} for file in files]
    (partial / _LIST).write_text(json.dumps(listed), encoding="utf-8")
    target = settings.spool_disk / f"{job_id}.{attempt}"
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)


def read(settings: Settings, job_id: str, attempt: int) -> list[SpooledFile]:
    """The files of an attempt; empty if it has frames instead. Raises: ObjectNotFound: a listed file is gone."""
    place = settings.spool_disk / f"{job_id}.{attempt}"
    try:
        listed = json.loads((place / _LIST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    files = [SpooledFile(**{**entry, "path": place / entry["path"]}) for entry in listed]
    if not all(file.path.is_file() for file in files):
        raise ObjectNotFound("the computed files are gone")
    return files


def frames_of(file: SpooledFile, *, whole: bool) -> np.ndarray:
    """(frames, height, width, 3) uint8 RGB; not ``whole``: only the first frame."""
    if file.media_type.startswith("image/"):
        with Image.open(file.path) as image:
            return np.asarray(_opaque(image))[None]
    with av.open(str(file.path)) as container:
        decoded = islice(container.decode(video=0), None if whole else 1)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])


def fits(file: SpooledFile, request: GenerationRequest) -> bool:
    """Whether a file can be the output as it is. A video always can; a picture in the wanted format, unless nothing of
    its making may be told and it does tell.
    """
    if not file.media_type.startswith("image/"):
        return True
    if file.media_type != FORMATS[request.output_format or "png"].media_type:
        return False
    if request.embed_metadata is not False:
        return True
    with Image.open(file.path) as image:
        image.load()
        return not image.info.keys() & {"parameters", "exif", "comment"}


def _opaque(image: Image.Image) -> Image.Image:
    """In RGB, on white where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def described(path: Path, media_type: str) -> SpooledFile:
    """A fetched file with what is in it. Raises: BackendFailed: it does not decode."""
    try:
        if media_type.startswith("image/"):
            with Image.open(path) as image:
                image.load()
                return SpooledFile(path, media_type, *image.size)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = stream.frames or sum(1 for _ in container.decode(stream))
            return SpooledFile(
                path, media_type, stream.width, stream.height, frames, round(float(stream.average_rate or 0), 3)
            )
    except (av.error.FFmpegError, OSError, SyntaxError, ValueError, IndexError) as exc:
        raise BackendFailed(f"the back end sent a {media_type} that does not decode") from exc
