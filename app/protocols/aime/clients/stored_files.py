"""Bodies of responses with stored files, which are encoded as data URIs while they are sent."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask import Response, current_app

from app.media.decoding import to_base64
from jobs.objects.base import ObjectStore

#: Files up to this size are part of the text, in bytes.
INLINE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class StoredFile:
    """A file in the object store that stands for its data URI."""

    key: str
    media_type: str
    size_bytes: int

    @property
    def head(self) -> str:
        return f"data:{self.media_type};base64,"

    @property
    def uri_bytes(self) -> int:
        """Length of the data URI."""
        return len(self.head) + 4 * -(-self.size_bytes // 3)

    def uri(self, objects: ObjectStore) -> str:
        """Return the data URI. Raises: ObjectNotFound, Unavailable."""
        return self.head + to_base64(b"".join(objects.read(self.key)))

    def parts(self, objects: ObjectStore) -> Iterator[bytes]:
        """Yield the data URI in parts. Raises: ObjectNotFound, Unavailable."""
        yield self.head.encode()
        rest = b""
        for chunk in objects.read(self.key):
            data = rest + chunk
            end = len(data) // 3 * 3
            rest = data[end:]
            yield base64.b64encode(memoryview(data)[:end])
        yield base64.b64encode(rest)


class JsonBody:
    """The JSON text of a body with stored files. Raises: ObjectNotFound, Unavailable: a small file cannot be read."""

    def __init__(self, body: Any, objects: ObjectStore) -> None:
        self._objects, self._files = objects, list[StoredFile]()
        self._mark = secrets.token_hex(8)
        self._texts = re.split(rf'"{self._mark}"', current_app.json.dumps(self._marked(body), separators=(",", ":")))

    @property
    def size_bytes(self) -> int:
        texts = sum(len(text.encode()) for text in self._texts)
        return texts + sum(file.uri_bytes + len('""') for file in self._files)

    def parts(self) -> Iterator[bytes]:
        """Yield the text. Raises: ObjectNotFound, Unavailable."""
        yield self._texts[0].encode()
        for file, text in zip(self._files, self._texts[1:], strict=True):
            yield b'"'
            yield from file.parts(self._objects)
            yield b'"' + text.encode()

    def response(self, status: int = 200) -> Response:
        """Return a response with this body."""
        content = self.parts() if self._files else b"".join(self.parts())
        response = Response(content, status, mimetype="application/json")
        response.content_length = self.size_bytes
        return response

    def _marked(self, value: Any) -> Any:
        """Return a value with a mark for each large file, in the order of its text."""
        if isinstance(value, StoredFile):
            if value.size_bytes <= INLINE_BYTES:
                return value.uri(self._objects)
            self._files.append(value)
            return self._mark
        if isinstance(value, dict):
            return {name: self._marked(member) for name, member in value.items()}
        return [self._marked(item) for item in value] if isinstance(value, list) else value
