"""Objects in a local folder: the default, and what one machine needs."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from jobs.errors import ObjectNotFound, Unavailable
from jobs.objects import CHUNK_BYTES, StoredObject, check_key


class LocalStore:
    """A folder. Files appear complete or not at all (written beside, then renamed)."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put_file(
        self, key: str, path: Path, media_type: str, *,
        sha256: str = "", file_name: str = "", tags: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        with path.open("rb") as source:
            self._write(key, media_type, source)

    def put_bytes(self, key: str, data: bytes, media_type: str) -> None:
        import io

        self._write(key, media_type, io.BytesIO(data))

    def stat(self, key: str) -> StoredObject:
        path = self._path(key)
        try:
            size_bytes = path.stat().st_size
            media_type = json.loads(self._meta(path).read_text())["media_type"]
        except (OSError, ValueError, KeyError):
            raise ObjectNotFound() from None
        return StoredObject(key, size_bytes, media_type)

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        try:
            file = self._path(key).open("rb")
        except OSError:
            raise ObjectNotFound() from None
        return _chunks(file, start, end)

    def url(self, key: str) -> str | None:
        return None

    def delete(self, key: str) -> None:
        path = self._path(key)
        path.unlink(missing_ok=True)
        self._meta(path).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @staticmethod
    def _meta(path: Path) -> Path:
        return path.with_name("." + path.name + ".meta")

    def _write(self, key: str, media_type: str, source) -> None:  # type: ignore[no-untyped-def]
        path = self._path(key)
        try:
            self._replace(path, media_type, source)
        except OSError as exc:  # a full disk may be freed
            raise Unavailable(f"the folder of outputs cannot be written: {exc.strerror}") from exc

    def _replace(self, path: Path, media_type: str, source) -> None:  # type: ignore[no-untyped-def]
        path.parent.mkdir(parents=True, exist_ok=True)
        self._meta(path).write_text(json.dumps({"media_type": media_type}))
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        try:
            with os.fdopen(descriptor, "wb") as target:
                shutil.copyfileobj(source, target, CHUNK_BYTES)
                target.flush()
                os.fsync(target.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _chunks(file, start: int, end: int | None) -> Iterator[bytes]:  # type: ignore[no-untyped-def]
    with file:
        file.seek(start)
        left = None if end is None else end - start + 1
        while left is None or left > 0:
            chunk = file.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
            if not chunk:
                return
            if left is not None:
                left -= len(chunk)
            yield chunk
