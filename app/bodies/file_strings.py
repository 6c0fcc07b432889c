"""Files that JSON bodies hold as data URLs. They are decoded onto the disk while the body arrives."""

from __future__ import annotations

import base64
import binascii
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from jobs.errors import Unavailable
from jobs.process.folders import make_folder

#: The free space is looked up whenever this much was written, bytes.
CHECK_BYTES = 8 * 1024 * 1024
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


class FileString(AbstractContextManager["FileString"]):
    """One such file. It has no name, and is gone when it is closed.

    Args:
        head: the beginning of the data URL, up to its comma.
        folder: a folder of this server.
        reserve_bytes: space on its disk that stays free.

    Raises:
        Unavailable: the disk is full.
    """

    def __init__(self, head: str, folder: Path, reserve_bytes: int) -> None:
        self.head, self.size_bytes, self.is_valid = head.strip(), 0, True
        self._digest, self._rest, self._is_padded = hashlib.sha256(), b"", False
        try:
            make_folder(folder)
            self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed by __exit__)
        except OSError as exc:
            raise _unwritable(folder, exc) from exc
        self._folder, self._reserve_bytes = folder, reserve_bytes
        self._check_disk()

    def add(self, digits: bytes) -> None:
        """Decode the next part of the base64. Raises: Unavailable: the disk is full."""
        if not self.is_valid:
            return
        digits = self._rest + digits.translate(_URL_SAFE, b"\r\n")
        if self._is_padded and digits:
            self.spoil()
            return
        end = len(digits) // 4 * 4
        whole, self._rest = digits[:end], digits[end:]
        self._is_padded = b"=" in whole
        try:
            self._write(binascii.a2b_base64(whole, strict_mode=True))
        except binascii.Error:
            self.spoil()

    def spoil(self) -> None:
        """Note that it is no base64."""
        self.is_valid = False

    def finish(self) -> None:
        """Decode the end, whose padding may be missing. Raises: Unavailable: the disk is full."""
        if self.is_valid and self._rest:
            rest, self._rest = self._rest, b""
            self.add(rest + b"=" * (-len(rest) % 4))

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    @property
    def path(self) -> Path:
        """A path of the open file."""
        self.file.flush()
        self.file.seek(0)
        return Path(f"/dev/fd/{self.file.fileno()}")

    def text(self) -> str:
        """Return the data URL."""
        self.file.seek(0)
        return self.head + base64.b64encode(self.file.read()).decode()

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def _write(self, data: bytes) -> None:
        try:
            self.file.write(data)
        except OSError as exc:
            raise _unwritable(self._folder, exc) from exc
        self._digest.update(data)
        before_bytes, self.size_bytes = self.size_bytes, self.size_bytes + len(data)
        if self.size_bytes // CHECK_BYTES > before_bytes // CHECK_BYTES:
            self._check_disk()

    def _check_disk(self) -> None:
        """Raise Unavailable if the reserve is touched: whoever sends large bodies must not fill the disk."""
        if shutil.disk_usage(self._folder).free < self._reserve_bytes:
            self.file.close()
            raise Unavailable(f"the disk of {self._folder} has too little space for files of results")


def texts_in(value: Any) -> Any:
    """Return a value with data URLs in place of its files."""
    if isinstance(value, FileString):
        return value.text()
    if isinstance(value, dict):
        return {name: texts_in(member) for name, member in value.items()}
    return [texts_in(item) for item in value] if isinstance(value, list) else value


def size_in(value: Any) -> int:
    """Return how many bytes of files a value holds."""
    return sum(file.size_bytes for file in _files_in(value))


def is_sound(value: Any) -> bool:
    """Return whether all files of a value could be decoded."""
    return all(file.is_valid for file in _files_in(value))


def _files_in(value: Any) -> Iterator[FileString]:
    if isinstance(value, FileString):
        yield value
    elif isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _files_in(member)


def _unwritable(folder: Path, exc: OSError) -> Unavailable:
    return Unavailable(f"{folder} cannot be written: {exc.strerror}")
