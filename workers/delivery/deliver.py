"""What an ``io`` worker does with computed frames: encode, hash, store. No torch here."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np

from jobs import moderation
from jobs.errors import Unavailable
from jobs.formats import FORMATS
from jobs.objects.base import ObjectStore
from jobs.objects.factory import open_store
from jobs.record import Job, Output
from jobs.store.jobs import JobStore
from tasks.runtime import settings
from workers.delivery import encode, spooled_files
from workers.delivery.encode.images import write_preview
from workers.delivery.moderation import moderated
from workers.gpu.spool import read

logger = logging.getLogger(__name__)


@cache
def _objects() -> ObjectStore:
    return open_store(settings())


def encode_and_store(store: JobStore, job_id: str, attempt: int, number: int) -> list[Output]:
    """Encode an attempt's frames and store the files under the names of the attempt and of this delivery of it.

    What is stale thus never replaces or removes what was published; the keys become known with the record. What was
    stored before an error is removed again.

    Raises:
        ObjectNotFound: the frames are not in this host's spool.
        ModerationRefused: nothing was stored, nor may be.
        Unavailable: the object store or Redis does not answer.
    """
    job = store.get(job_id)
    files = spooled_files.read(settings(), job_id, attempt)
    # What a back end encoded is stored as it is if it can be; then one frame is enough, unless a check looks at all.
    whole = moderation.hides_outputs(settings(), moderate=job.moderate)
    frames = [spooled_files.frames_of(file, whole=whole) for file in files] or list(read(settings(), job_id, attempt))
    clips, blurred = moderated(job, frames, settings())
    as_it_is = bool(files) and not any(blurred) and all(spooled_files.fits(file, job.request) for file in files)
    stored: list[Output] = []
    try:
        with tempfile.TemporaryDirectory(prefix="framemill-") as folder:
            delivery = _Delivery(job, f"outputs/{job_id}/{attempt}.{number}", Path(folder), stored)
            # Small files first: while the object store is away, nothing large is encoded in vain.
            previews = [delivery.previews(clip[0], index) for index, clip in enumerate(clips)]
            if as_it_is:
                outputs = [delivery.file(file) for file in files]
            else:
                outputs = [delivery.output(clip, index) for index, clip in enumerate(clips)]
        return [
            replace(output, thumbnail=found.get("thumbnail"), poster=found.get("poster"), moderated=hidden)
            for output, found, hidden in zip(outputs, previews, blurred, strict=True)
        ]
    except Exception:
        retract(stored)
        raise


class _Delivery:
    """Makes files in a folder and stores them. Each stored one is also in ``stored``."""

    def __init__(self, job: Job, prefix: str, folder: Path, stored: list[Output]) -> None:
        self._job, self._prefix, self._folder, self._stored = job, prefix, folder, stored

    def output(self, clip: np.ndarray, index: int) -> Output:
        """One image or video: (frames, height, width, 3) uint8 RGB."""
        request = self._job.request
        name = encode.output_format(request)
        path = self._folder / f"{index}.{FORMATS[name].suffix}"
        size = encode.write(clip, path, request, {"job_id": self._job.job_id, "index": index})
        return self._store(path, FORMATS[name].media_type, size, frames=len(clip), fps=request.fps)

    def file(self, file: spooled_files.SpooledFile) -> Output:
        """What is encoded already; the spool keeps its copy until the job is over."""
        path = Path(shutil.copyfile(file.path, self._folder / file.path.name))
        return self._store(path, file.media_type, (file.width, file.height), frames=file.frames, fps=file.fps)

    def previews(self, frame: np.ndarray, index: int) -> dict[str, Output]:
        """Thumbnail, and for a video its first frame in full size as poster."""
        longest_px, name = settings().thumbnail_px, settings().thumbnail_format
        if not longest_px:
            return {}
        sizes: dict[str, int | None] = {"thumbnail": longest_px}
        if self._job.request.kind.is_video:
            sizes["poster"] = None
        found = {}
        for role, limit in sizes.items():
            path = self._folder / f"{index}.{role}.{FORMATS[name].suffix}"
            found[role] = self._store(path, FORMATS[name].media_type, write_preview(frame, path, name, limit))
        return found

    def _store(
        self, path: Path, media_type: str, size: tuple[int, int], *, frames: int = 1, fps: float = 0.0
    ) -> Output:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        output = Output(
            key=f"{self._prefix}/{path.name}", media_type=media_type, bytes=path.stat().st_size, sha256=sha256,
            width=size[0], height=size[1], frames=frames, fps=fps,
        )  # fmt: skip
        name = f"{self._job.job_id}-{path.name}"
        tags = {"retention": self._job.retention} if settings().s3_tag_retention else None
        _objects().put_file(output.key, path, media_type, sha256=sha256, file_name=name, tags=tags)
        self._stored.append(output)
        if self._job.alias and path.stem == "0":
            self._publish(path, media_type, sha256)
        path.unlink()
        return output

    def _publish(self, path: Path, media_type: str, sha256: str) -> None:
        """The first output under the job's own name, too. It is never taken back: a repeat stores the same."""
        alias = self._job.alias
        if settings().s3_image_endpoint:
            _objects().put_file(alias, path, media_type, sha256=sha256, file_name=alias)
        folder = settings().images_path
        if settings().save_images_locally and folder:
            _copy(path, folder / alias)


def _copy(path: Path, target: Path) -> None:
    """Copy a file, which appears complete or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(path, part)
    part.replace(target)


def retract(outputs: list[Output]) -> None:
    """Remove stored files that were not published."""
    for key in chain.from_iterable(output.keys for output in outputs):
        try:
            _objects().delete(key)
        except Unavailable:
            logger.warning("unpublished file left behind", extra={"key": key})
