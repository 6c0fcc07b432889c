"""Objects in a local folder: the default, sufficient on one machine."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from jobs.errors import FramemillError, ObjectNotFound, ObjectStoreAway, ObjectStoreMisset
from jobs.objects.base import CHUNK_BYTES, ListedObject, StoredObject, check_key, check_prefix
from jobs.process.folders import FILE_MODE, create_file, make_folder

#: Prefix of the name of a file that is being written.
PART = ".part-"
#: Errors of a folder that stay until an operator corrects something: permissions, read-only disks, a file in its place.
_SETUP = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


class LocalStore:
    """A folder. Files appear complete or not at all: they are written under another name, then renamed."""

    is_local = True

    def __init__(self, root: Path) -> None:
        self._root = root

    def put_file(
        self, key: str, path: Path, media_type: str, *,
        sha256: str = "", file_name: str = "", tags: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        with path.open("rb") as source:
            self._write(key, media_type, source)

    def put_bytes(self, key: str, data: bytes, media_type: str) -> None:
        self._write(key, media_type, io.BytesIO(data))

    def stat(self, key: str) -> StoredObject:
        path = self._path(key)
        try:
            size_bytes = path.stat().st_size
            media_type = json.loads(self._meta(path).read_text())["media_type"]
        except OSError as exc:
            raise self._unreadable(exc) from exc
        except (ValueError, KeyError):  # torn by a crash; the file is stored again
            raise ObjectNotFound() from None
        return StoredObject(key, size_bytes, media_type)

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        try:
            file = self._path(key).open("rb")
        except OSError as exc:
            raise self._unreadable(exc) from exc
        return _chunks(file, start, end)

    def url(self, key: str, media_type: str = "", file_name: str = "") -> str | None:
        return None

    def key_of(self, url: str) -> str | None:
        return None

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
            self._meta(path).unlink(missing_ok=True)
        except OSError as exc:
            raise ObjectStoreAway(f"the folder of outputs cannot be changed: {exc.strerror}") from exc
        # Remove the empty folders of the job, but keep the first one below the root.
        for folder in list(path.parents)[: max(0, len(Path(key).parts) - 2)]:
            try:
                folder.rmdir()
            except OSError:  # not empty
                return

    def list(self, prefix: str, after: str = "") -> Iterator[ListedObject]:
        return self._below(self._root / check_prefix(prefix), prefix, after)

    def check(self) -> None:
        try:
            make_folder(self._root)
            with tempfile.NamedTemporaryFile(dir=self._root, prefix=PART) as probe:
                probe.write(bytes(4096))  # a full disk still creates an empty file
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def check_write(self) -> None:
        self.check()

    def tidy(self, age_s: float) -> None:
        latest_s = time.time() - age_s
        for folder, _, names in os.walk(self._root):
            for name in names:
                path = Path(folder, name)
                is_orphan = name.endswith(".meta") and not path.with_name(name[1:].removesuffix(".meta")).exists()
                if name.startswith(PART) or (name.startswith(".") and is_orphan):
                    with suppress(OSError):  # removed meanwhile, or owned by another user
                        if path.stat().st_mtime < latest_s:
                            path.unlink()

    def _below(self, folder: Path, prefix: str, after: str) -> Iterator[ListedObject]:
        try:
            entries = [(entry.name + "/" * entry.is_dir(follow_symlinks=False), entry) for entry in os.scandir(folder)]
        except FileNotFoundError:
            return
        except OSError as exc:
            raise ObjectStoreAway(f"the folder of outputs cannot be read: {exc.strerror}") from exc
        for name, entry in sorted(entries, key=lambda entry: entry[0]):
            key = prefix + name
            if name.startswith(".") or (key <= after and not after.startswith(key)):
                continue
            if name.endswith("/"):
                yield from self._below(folder / name, key, after)
            elif key > after:
                with suppress(FileNotFoundError):
                    stat = entry.stat()
                    yield ListedObject(key, stat.st_mtime, stat.st_size)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @staticmethod
    def _meta(path: Path) -> Path:
        return path.with_name("." + path.name + ".meta")

    def _unreadable(self, exc: OSError) -> FramemillError:
        """Return the error for a file that cannot be opened. Too few descriptors do not mean that it is gone."""
        is_missing = isinstance(exc, FileNotFoundError | IsADirectoryError | NotADirectoryError)
        if is_missing and (self._root.is_dir() or not self._root.exists()):
            return ObjectNotFound()
        return ObjectStoreAway(f"the folder of outputs cannot be read: {exc.strerror}")

    @staticmethod
    def _unwritable(exc: OSError) -> ObjectStoreAway:
        """Return the error for a file that cannot be written, such as on a full disk, which may get space again."""
        kind = ObjectStoreMisset if exc.errno in _SETUP else ObjectStoreAway
        return kind(f"the folder of outputs cannot be written: {exc.strerror}")

    def _write(self, key: str, media_type: str, source: BinaryIO) -> None:
        path = self._path(key)
        try:
            self._replace(path, media_type, source)
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def _replace(self, path: Path, media_type: str, source: BinaryIO) -> None:
        make_folder(path.parent)
        with create_file(self._meta(path)) as meta:
            meta.write(json.dumps({"media_type": media_type}).encode())
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=PART)
        try:
            with os.fdopen(descriptor, "wb") as target:
                shutil.copyfileobj(source, target, CHUNK_BYTES)
                target.flush()
                os.fsync(target.fileno())
            os.chmod(temporary, FILE_MODE)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _chunks(file: BinaryIO, start: int, end: int | None) -> Iterator[bytes]:
    with file:
        file.seek(start)
        remaining = None if end is None else end - start + 1
        while remaining is None or remaining > 0:
            chunk = file.read(CHUNK_BYTES if remaining is None else min(CHUNK_BYTES, remaining))
            if not chunk:
                return
            if remaining is not None:
                remaining -= len(chunk)
            yield chunk
