"""Objects in a local folder: the default, and what one machine needs."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from jobs.errors import ObjectNotFound, Unavailable
from jobs.objects.base import CHUNK_BYTES, ListedObject, StoredObject, check_key, check_prefix

#: Beginning of the name of a file that is being written.
PART = ".part-"


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
        try:
            path.unlink(missing_ok=True)
            self._meta(path).unlink(missing_ok=True)
        except OSError as exc:
            raise Unavailable(f"the folder of outputs cannot be changed: {exc.strerror}") from exc
        # The folders of one job; the first below the root stays.
        for folder in list(path.parents)[: max(0, len(Path(key).parts) - 2)]:
            try:
                folder.rmdir()
            except OSError:  # not empty
                return

    def list(self, prefix: str, after: str = "") -> Iterator[ListedObject]:
        return self._below(self._root / check_prefix(prefix), prefix, after)

    def tidy(self, age_s: float) -> None:
        old_s = time.time() - age_s
        for folder, _, names in os.walk(self._root):
            for name in names:
                path = Path(folder, name)
                alone = name.endswith(".meta") and not path.with_name(name[1:].removesuffix(".meta")).exists()
                if name.startswith(PART) or (name.startswith(".") and alone):
                    with suppress(OSError):  # gone, or not ours
                        if path.stat().st_mtime < old_s:
                            path.unlink()

    def _below(self, folder: Path, prefix: str, after: str) -> Iterator[ListedObject]:
        try:
            entries = [(entry.name + "/" * entry.is_dir(follow_symlinks=False), entry) for entry in os.scandir(folder)]
        except FileNotFoundError:
            return
        except OSError as exc:
            raise Unavailable(f"the folder of outputs cannot be read: {exc.strerror}") from exc
        for name, entry in sorted(entries, key=lambda found: found[0]):
            key = prefix + name
            if name.startswith(".") or (key <= after and not after.startswith(key)):
                continue
            if name.endswith("/"):
                yield from self._below(folder / name, key, after)
            elif key > after:
                with suppress(FileNotFoundError):
                    yield ListedObject(key, entry.stat().st_mtime)

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
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=PART)
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
