"""Encode computed outputs and store them. Does not import torch."""

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
from jobs.record import Job, Output
from jobs.store.jobs import JobStore
from jobs.store.measuring.objects import open_measured
from tasks.runtime import settings, store
from workers.delivery import encode, provenance, signing
from workers.delivery.encode import tracks
from workers.delivery.encode.images import write_preview
from workers.delivery.moderation import moderated
from workers.spool import encoded_files, frames
from workers.spool import sound as sounds

logger = logging.getLogger(__name__)


@cache
def _objects() -> ObjectStore:
    return open_measured(settings(), store().measures)


def encode_and_store(store: JobStore, job_id: str, attempt: int, number: int) -> list[Output]:
    """Encode the outputs of an attempt and store the files under keys of this attempt and this delivery.

    A stale delivery therefore never replaces or removes published files; the keys become known with the record. If
    an error occurs, the files that were already stored are removed.

    Args:
        store: the job store.
        job_id: the job.
        attempt: its attempt number.
        number: number of the delivery.

    Raises:
        ObjectNotFound: the outputs are not in this host's spool.
        ModerationRefused: the outputs are refused; nothing was stored.
        Unavailable: the object store or Redis does not answer.
    """
    job = store.get(job_id)
    files = encoded_files.load(settings(), job_id, attempt)
    # A file of a back end may be stored unchanged; then its first frame is enough, unless moderation checks all.
    whole = moderation.hides_outputs(settings(), moderate=job.moderate)
    decoded = [encoded_files.decode(file, whole=whole) for file in files]
    clips, blurred = moderated(job, decoded or list(frames.load(settings(), job_id, attempt)), settings())
    unchanged = bool(files) and not any(blurred) and all(
        encoded_files.is_publishable(file, job.request) for file in files
    )  # fmt: skip
    stored: list[Output] = []
    try:
        with tempfile.TemporaryDirectory(prefix="framemill-") as folder:
            delivery = _Delivery(job, f"outputs/{job_id}/{attempt}.{number}", Path(folder), stored)
            # Small files first: while the object store is away, no large output is encoded for nothing.
            previews = [delivery.previews(clip[0], index) for index, clip in enumerate(clips)]
            if unchanged:
                outputs = [delivery.store_file(file) for file in files]
            else:
                # The sound of a refused video was not checked.
                sound = None if files or any(blurred) else sounds.load(settings(), job_id, attempt)
                outputs = [delivery.encode(clip, index, sound) for index, clip in enumerate(clips)]
        return [
            replace(output, thumbnail=small.get("thumbnail"), poster=small.get("poster"), moderated=is_blurred)
            for output, small, is_blurred in zip(outputs, previews, blurred, strict=True)
        ]
    except Exception:
        retract(stored)
        raise


class _Delivery:
    """Writes files into a temporary folder and stores them; each stored file is also appended to ``stored``."""

    def __init__(self, job: Job, prefix: str, folder: Path, stored: list[Output]) -> None:
        self._job, self._prefix, self._folder, self._stored = job, prefix, folder, stored

    def encode(self, clip: np.ndarray, index: int, sound: sounds.Sound | None) -> Output:
        """Encode and store one image or video: (frames, height, width, 3) uint8 RGB, and its sound."""
        request = self._job.request
        name = encode.output_format(request)
        path = self._folder / f"{index}.{FORMATS[name].suffix}"
        written = encode.write(clip, path, request, {"job_id": self._job.job_id, "index": index}, sound)
        media_type, size = FORMATS[name].media_type, (written.width, written.height)
        self._mark(path, media_type, size)
        return self._store(
            path, media_type, size, frames=len(clip), fps=request.fps, audio_sample_rate_hz=written.audio_sample_rate_hz
        )  # fmt: skip

    def store_file(self, file: encoded_files.EncodedFile) -> Output:
        """Store a file with its pictures as they are, without its sound if the request wants none. The spool keeps its
        copy until the job is over."""
        path, rate_hz = self._folder / file.path.name, file.audio_sample_rate_hz
        if rate_hz and self._job.request.audio_output is False:
            tracks.copy_without_sound(file.path, path)
            rate_hz = 0
        else:
            shutil.copyfile(file.path, path)
        size = (file.width, file.height)
        self._mark(path, file.media_type, size)
        return self._store(
            path, file.media_type, size, frames=file.frames, fps=file.fps, audio_sample_rate_hz=rate_hz
        )  # fmt: skip

    def _mark(self, path: Path, media_type: str, size: tuple[int, int]) -> None:
        """Write into a file that a model made it, and sign that."""
        if settings().outputs.embed_provenance:
            provenance.mark(path, media_type, self._job.request, size)
        signing.sign(path, media_type, self._job.request, settings().c2pa)

    def previews(self, frame: np.ndarray, index: int) -> dict[str, Output]:
        """Store the thumbnail, and of a video the poster: its first frame in full size."""
        longest_px, name = settings().outputs.thumbnail_px, settings().outputs.thumbnail_format
        if not longest_px:
            return {}
        limits: dict[str, int | None] = {"thumbnail": longest_px}
        if self._job.request.kind.is_video:
            limits["poster"] = None
        outputs = {}
        for role, limit_px in limits.items():
            path = self._folder / f"{index}.{role}.{FORMATS[name].suffix}"
            outputs[role] = self._store(path, FORMATS[name].media_type, write_preview(frame, path, name, limit_px))
        return outputs

    def _store(
        self, path: Path, media_type: str, size: tuple[int, int], *, frames: int = 1, fps: float = 0.0,
        audio_sample_rate_hz: int = 0,
    ) -> Output:  # fmt: skip
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        output = Output(
            key=f"{self._prefix}/{path.name}", media_type=media_type, bytes=path.stat().st_size, sha256=sha256,
            width=size[0], height=size[1], frames=frames, fps=fps, audio_sample_rate_hz=audio_sample_rate_hz,
        )  # fmt: skip
        name = f"{self._job.job_id}-{path.name}"
        tags = {"retention": self._job.retention} if settings().s3.tag_retention else None
        _objects().put_file(output.key, path, media_type, sha256=sha256, file_name=name, tags=tags)
        self._stored.append(output)
        if self._job.alias and path.stem == "0":
            self._publish_alias(self._job.alias, path, media_type, sha256)
        path.unlink()
        return output

    def _publish_alias(self, alias: str, path: Path, media_type: str, sha256: str) -> None:
        """Store the first output under the job's alias too. It is never removed: a repeat stores the same content."""
        if settings().devoid.image_endpoint:
            _objects().put_file(alias, path, media_type, sha256=sha256, file_name=alias)
        folder = settings().devoid.images_path
        if settings().devoid.save_images_locally and folder:
            _copy(path, folder / alias)


def _copy(path: Path, target: Path) -> None:
    """Copy a file so that the target appears complete or not at all."""
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
