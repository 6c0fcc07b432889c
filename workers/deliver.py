"""What an ``io`` worker does with computed frames: encode, hash, store. No torch here."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from jobs import moderation
from jobs.errors import Unavailable
from jobs.objects import ObjectStore, open_store
from jobs.record import Job, Output
from jobs.store import JobStore
from tasks.celery_app import settings
from workers import encode, spooled_files
from workers.moderation import moderated
from workers.spool import read

logger = logging.getLogger(__name__)


@cache
def _objects() -> ObjectStore:
    return open_store(settings())


def encode_and_store(store: JobStore, job_id: str, attempt: int, number: int) -> list[Output]:
    """Encode an attempt's frames and store the files under the names of the attempt and of this delivery of it.

    What is stale thus never replaces or removes what was published; the keys become known with the record.

    Raises:
        ObjectNotFound: the frames are not in this host's spool.
        ModerationRefused: nothing was stored, nor may be.
        Unavailable: the object store or Redis does not answer.
    """
    job = store.get(job_id)
    files = spooled_files.read(settings(), job_id, attempt)
    prefix = f"outputs/{job_id}/{attempt}.{number}"
    if files and not moderation.hides_outputs(settings(), moderate=job.moderate):
        return _store_files(job, prefix, files)
    frames = [spooled_files.frames_of(file) for file in files] or list(read(settings(), job_id, attempt))
    clips, blurred = moderated(job, frames, settings())
    if files and not any(blurred):
        return _store_files(job, prefix, files)
    outputs = []
    with tempfile.TemporaryDirectory(prefix="framemill-") as folder:
        for index, clip in enumerate(clips):
            suffix = "mp4" if job.request.kind.is_video else "png"
            path = Path(folder) / f"{index}.{suffix}"
            metadata = {**job.request.to_dict(), "job_id": job_id, "index": index}
            if job.request.kind.is_video:
                width, height = encode.write_mp4(clip, path, job.request.fps, metadata)
            else:
                height, width = clip.shape[1:3]
                encode.write_png(clip[0], path, metadata)
            key = f"{prefix}/{path.name}"
            media_type = "video/mp4" if suffix == "mp4" else "image/png"
            _objects().put_file(key, path, media_type)
            output = _output(job, key, media_type, path, width, height, len(clip))
            outputs.append(replace(output, moderated=blurred[index]))
    return outputs


def _store_files(job: Job, prefix: str, files: list[spooled_files.SpooledFile]) -> list[Output]:
    """What a back end has encoded already, stored as it is."""
    outputs = []
    for file in files:
        key = f"{prefix}/{file.path.name}"
        _objects().put_file(key, file.path, file.media_type)
        output = _output(job, key, file.media_type, file.path, file.width, file.height, file.frames)
        outputs.append(replace(output, fps=file.fps))
    return outputs


def _output(job: Job, key: str, media_type: str, path: Path, width: int, height: int, frames: int) -> Output:
    content = path.read_bytes()
    return Output(
        key=key, media_type=media_type, bytes=len(content), sha256=hashlib.sha256(content).hexdigest(),
        width=width, height=height, frames=frames, fps=job.request.fps,
    )  # fmt: skip


def retract(outputs: list[Output]) -> None:
    """Remove stored files that were not published."""
    for output in outputs:
        try:
            _objects().delete(output.key)
        except Unavailable:
            logger.warning("unpublished file left behind", extra={"key": output.key})
