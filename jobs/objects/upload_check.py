"""Check that a bucket has what was uploaded. Anything between here and the bucket may answer 200 to an upload."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from jobs.errors import ObjectStoreAway
from jobs.objects.base import CHUNK_BYTES
from jobs.process.turns import take_turns


@contextmanager
def opened(content: Path | bytes) -> Iterator[io.BufferedIOBase]:
    """Open a file, or bytes as a file."""
    with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as file:
        yield file


def etags_of(content: Path | bytes, part_bytes: int) -> set[str]:
    """Return the ETags that S3 and compatible servers give to an upload.

    The MD5 of the content; AWS gives an upload in parts of ``part_bytes`` the MD5 of the MD5s of its parts.
    """
    whole, parts = _md5(), []
    with opened(content) as file:
        while chunk := file.read(part_bytes):
            part = _md5()
            for start in range(0, len(chunk), CHUNK_BYTES):
                piece = memoryview(chunk)[start : start + CHUNK_BYTES]
                part.update(piece)
                whole.update(piece)
                take_turns()
            parts.append(part.digest())
    return {whole.hexdigest(), f"{_md5(b''.join(parts)).hexdigest()}-{len(parts)}"}


def check_stored(client: Any, bucket: str, name: str, content: Path | bytes, size_bytes: int, etags: set[str]) -> None:
    """Check an object that was uploaded.

    Args:
        client: the boto3 client.
        bucket: the bucket.
        name: the object.
        content: what was uploaded.
        size_bytes: its size.
        etags: its possible ETags.

    Raises:
        ObjectStoreAway: the bucket has no such object, or another one.
    """
    try:
        head = client.head_object(Bucket=bucket, Key=name)
    except ClientError as exc:
        if exc.response["Error"]["Code"] != "404":
            raise
        raise ObjectStoreAway("S3 accepted an upload, but does not have the object") from exc
    if head.get("ContentLength") != size_bytes:
        raise ObjectStoreAway(f"S3 accepted {size_bytes} bytes, but has {head.get('ContentLength')}")
    # The ETags of objects encrypted by KMS do not depend on the content. Reading all of them back would be too much.
    if head.get("ETag", "").strip('"') in etags or head.get("ServerSideEncryption", "").startswith("aws:kms"):
        return
    stored = hashlib.sha256()
    for chunk in client.get_object(Bucket=bucket, Key=name)["Body"].iter_chunks(CHUNK_BYTES):
        stored.update(chunk)
    with opened(content) as file:
        if stored.digest() != hashlib.file_digest(file, "sha256").digest():
            raise ObjectStoreAway("S3 accepted an upload, but has another content")


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)
