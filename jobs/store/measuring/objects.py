"""An object store whose calls are measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from jobs.errors import ObjectNotFound
from jobs.objects.base import ListedObject, ObjectStore, StoredObject
from jobs.objects.factory import open_store
from jobs.settings import Settings
from jobs.store.measuring.families import OBJECTS
from jobs.store.measuring.measures import Measures

T = TypeVar("T")


def open_measured(settings: Settings, measures: Measures) -> ObjectStore:
    """Open the object store of the settings; its calls are measurements of this process."""
    return MeasuredObjects(open_store(settings), measures)


class MeasuredObjects(ObjectStore):
    """Calls that reach the disk or the bucket are measured; of reading, the time until the content begins."""

    def __init__(self, objects: ObjectStore, measures: Measures) -> None:
        self._objects, self._measures = objects, measures
        self.is_local = objects.is_local

    def put_file(
        self, key: str, path: Path, media_type: str, *,
        sha256: str = "", file_name: str = "", tags: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        put = self._objects.put_file
        self._timed("put", lambda: put(key, path, media_type, sha256=sha256, file_name=file_name, tags=tags))

    def put_bytes(self, key: str, data: bytes, media_type: str) -> None:
        self._timed("put", lambda: self._objects.put_bytes(key, data, media_type))

    def stat(self, key: str) -> StoredObject:
        return self._timed("stat", lambda: self._objects.stat(key))

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        return self._timed("read", lambda: self._objects.read(key, start, end))

    def url(self, key: str, media_type: str = "", file_name: str = "") -> str | None:
        return self._objects.url(key, media_type, file_name)

    def key_of(self, url: str) -> str | None:
        return self._objects.key_of(url)

    def delete(self, key: str) -> None:
        self._timed("delete", lambda: self._objects.delete(key))

    def list(self, prefix: str, after: str = "") -> Iterator[ListedObject]:
        return self._objects.list(prefix, after)

    def check(self) -> None:
        self._timed("check", self._objects.check)

    def check_write(self) -> None:
        self._timed("check", self._objects.check_write)

    def tidy(self, age_s: float) -> None:
        self._objects.tidy(age_s)

    def _timed(self, operation: str, call: Callable[[], T]) -> T:
        began, outcome = time.perf_counter(), "failed"
        try:
            result = call()
            outcome = "ok"
            return result
        except ObjectNotFound:
            outcome = "not_found"
            raise
        finally:
            self._measures.observe(OBJECTS, operation, outcome, seconds=time.perf_counter() - began)
