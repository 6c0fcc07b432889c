"""The interface of object stores, and which keys are valid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jobs.errors import ObjectNotFound

CHUNK_BYTES = 256 * 1024

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


@dataclass(frozen=True)
class StoredObject:
    """What the store knows about one file."""

    key: str
    size_bytes: int
    media_type: str


@dataclass(frozen=True)
class ListedObject:
    """A file in a list."""

    key: str
    #: When it was stored, seconds since 1970.
    modified_s: float


class ObjectStore(Protocol):
    """Files by key. A key is a relative path of letters, digits and ``._-/``; content is never changed.

    What is no key (``../x``, an absolute path) is ObjectNotFound for every method.
    """

    def put_file(
        self, key: str, path: Path, media_type: str, *,
        sha256: str = "", file_name: str = "", tags: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Store a file; an existing key is replaced.

        Args:
            key: its key.
            path: the file.
            media_type: its type, which downloads get.
            sha256: its hash in hex, kept with an object of a bucket.
            file_name: the name it should be saved under when fetched from a bucket.
            tags: tags of an object of a bucket, for its lifecycle rules.

        Raises:
            Unavailable.
        """

    def put_bytes(self, key: str, data: bytes, media_type: str) -> None:
        """Store bytes. Raises: Unavailable."""

    def stat(self, key: str) -> StoredObject:
        """Raises: ObjectNotFound, Unavailable."""

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes ``start`` up to and including ``end``, in chunks; none past the end of the file.

        Raises: ObjectNotFound, Unavailable.
        """

    def url(self, key: str) -> str | None:
        """A link that works without this server for a while; None where there is none."""

    def delete(self, key: str) -> None:
        """Remove a file; a missing one is fine. Raises: Unavailable."""

    def list(self, prefix: str, after: str = "") -> Iterator[ListedObject]:
        """The files below ``prefix``, which ends in ``/``, in the order of their keys, those behind ``after`` only.

        Raises: Unavailable.
        """

    def tidy(self, age_s: float) -> None:
        """Remove what writers that died left half-written longer ago than this. Raises: Unavailable."""


def check_key(key: str) -> str:
    """Return a key that is one. Raises: ObjectNotFound."""
    if not _KEY.fullmatch(key):
        raise ObjectNotFound()
    return key


def check_prefix(prefix: str) -> str:
    """Return a beginning of keys that is one: a key and ``/``. Raises: ObjectNotFound."""
    if not prefix.endswith("/"):
        raise ObjectNotFound()
    check_key(prefix[:-1])
    return prefix
