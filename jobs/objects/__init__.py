"""Object stores: outputs and inputs in a local folder or in a bucket, behind one interface."""

from __future__ import annotations

from jobs.objects.interface import CHUNK_BYTES, ListedObject, ObjectStore, StoredObject
from jobs.settings import Settings

__all__ = ["CHUNK_BYTES", "ListedObject", "ObjectStore", "StoredObject", "open_store"]


def open_store(settings: Settings) -> ObjectStore:
    """Open the store that the settings name: a bucket if ``S3_BUCKET`` is set, else a local folder."""
    if settings.s3_bucket:
        from jobs.objects.s3 import S3Store  # boto3 takes 0.3 s to import

        return S3Store(settings)
    from jobs.objects.local import LocalStore

    return LocalStore(settings.objects_dir)
