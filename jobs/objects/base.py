"""The interface of object stores, and which keys are valid."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jobs.errors import ObjectNotFound

CHUNK_BYTES = 256 * 1024

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


@dataclass(frozen=True)
class StoredObject:
    """A file in the store."""

    key: str
    size_bytes: int
    media_type: str


@dataclass(frozen=True)
class ListedObject:
    """A file in a listing."""

    key: str
    #: When it was stored, Unix time in seconds.
    modified_s: float
    size_bytes: int


class ObjectStore(Protocol):
    """Files by key. A key is a relative path of letters, digits and ``._-/``; the content of a key never changes.

    Every method raises ObjectNotFound for an invalid key (``../x``, an absolute path).
    """

    #: Whether the files are on a disk, which gevent cannot wait for.
    is_local: bool

    def put_file(
        self, key: str, path: Path, media_type: str, *,
        sha256: str = "", file_name: str = "", tags: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Store a file, replacing an existing one.

        Args:
            key: its key.
            path: the file.
            media_type: its media type, which downloads declare.
            sha256: its hash in hex; a bucket stores it with the object.
            file_name: suggested file name for downloads from a bucket.
            tags: tags of the object in a bucket, for its lifecycle rules.

        Raises:
            Unavailable.
        """

    def put_bytes(self, key: str, data: bytes, media_type: str) -> None:
        """Store bytes. Raises: Unavailable."""

    def stat(self, key: str) -> StoredObject:
        """Return size and media type. Raises: ObjectNotFound, Unavailable."""

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Return the bytes from ``start`` to ``end`` (inclusive) in chunks; nothing past the end of the file.

        Raises: ObjectNotFound, Unavailable.
        """

    def url(self, key: str, media_type: str = "", file_name: str = "") -> str | None:
        """Return a temporary link for downloads that bypass this server; None if the store has none.

        Args:
            key: its key.
            media_type: its media type: whether a browser that follows the link shows or saves the file. Empty: as it
                was stored.
            file_name: suggested file name.
        """

    def key_of(self, url: str) -> str | None:
        """Return the key of the file that a link made by :meth:`url` leads to; None for other links.

        The link may have expired: its signature is not checked.
        """

    def delete(self, key: str) -> None:
        """Remove a file if it exists. Raises: Unavailable."""

    def list(self, prefix: str, after: str = "") -> Iterator[ListedObject]:
        """Return the files below ``prefix``, which ends in ``/``, ordered by key, from the first key after ``after``.

        Raises: Unavailable.
        """

    def check(self) -> None:
        """Check that files can be stored now, at little cost. Raises: Unavailable: the reason."""

    def check_write(self) -> None:
        """Check that files can be stored now: store one and remove it. Raises: Unavailable: the reason."""

    def tidy(self, age_s: float) -> None:
        """Remove incomplete files of dead writers that are older than ``age_s``. Raises: Unavailable."""


def is_key(text: str) -> bool:
    """Return whether a text is a valid key."""
    return _KEY.fullmatch(text) is not None


def probe_key() -> str:
    """Return the key of a file that only shows whether files can be stored. The search for orphans removes one that
    was left behind: there is no such job."""
    return f"outputs/write-check/0.0/{secrets.token_hex(4)}"


def check_key(key: str) -> str:
    """Return the key if it is valid. Raises: ObjectNotFound."""
    if not is_key(key):
        raise ObjectNotFound()
    return key


def check_prefix(prefix: str) -> str:
    """Return the prefix if it is valid: a key and ``/``. Raises: ObjectNotFound."""
    if not prefix.endswith("/"):
        raise ObjectNotFound()
    check_key(prefix[:-1])
    return prefix
