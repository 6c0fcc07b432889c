"""Open the object store that the settings name."""

from __future__ import annotations

from jobs.objects.base import ObjectStore
from jobs.objects.local import LocalStore
from jobs.settings import Settings


def open_store(settings: Settings, *, patience_s: float | None = None) -> ObjectStore:
    """Return a bucket if ``S3_BUCKET`` is set, else a local folder.

    ``patience_s``: longest wait for a connection and for an answer, without another attempt; None: as usual.
    """
    if settings.s3.bucket:
        from jobs.objects.s3 import S3Store  # importing boto3 takes 0.3 s

        return S3Store(settings, patience_s=patience_s)
    return LocalStore(settings.paths.objects_dir)
