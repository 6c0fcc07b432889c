"""Data URLs of JSON bodies, decoded onto the disk while the body arrives."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from app.bodies.file_strings import FileString, is_sound, size_in, texts_in
from jobs.errors import Unavailable
from jobs.strict_json import JsonReader, Limits

HEAD = "data:image/png;base64,"


def read(text: bytes, folder: Path, piece_bytes: int) -> Any:
    reader = JsonReader(Limits(10**8, 10**5), files=lambda head: FileString(head, folder, 0))
    for start in range(0, len(text), piece_bytes):
        reader.feed(text[start : start + piece_bytes])
    return reader.finish()


@pytest.mark.parametrize("size_bytes", [5000, 5001, 5002, 300_000])
@pytest.mark.parametrize("piece_bytes", [100, 4096, 100_000])
def test_files_are_decoded_whatever_the_pieces_are(tmp_path: Path, size_bytes: int, piece_bytes: int) -> None:
    content = os.urandom(size_bytes)
    digits = base64.b64encode(content).decode()
    for escaped, spelled in ((digits, digits), (digits.rstrip("="), digits), (digits.replace("/", "_"), digits)):
        text = json.dumps({"files": [HEAD + escaped, "short"], "text": "long " * 1000}).encode().replace(b"/", rb"\/")
        value = read(text, tmp_path, piece_bytes)
        with value["files"][0] as file:
            assert (file.is_valid, file.size_bytes, file.path.read_bytes()) == (True, size_bytes, content)
            assert texts_in(value) == {"files": [HEAD + spelled, "short"], "text": "long " * 1000}
            assert (size_in(value), is_sound(value)) == (size_bytes, True)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("digits", ["A" * 4000 + "=" + "A" * 4000, "A" * 8000 + "A", "A" * 4000 + "\u00e9" * 4000])
@pytest.mark.parametrize("piece_bytes", [100, 4096, 100_000])
def test_what_is_no_base64_is_no_file(tmp_path: Path, digits: str, piece_bytes: int) -> None:
    value = read(json.dumps([HEAD + digits, 1]).encode(), tmp_path, piece_bytes)
    if isinstance(value[0], FileString):
        with value[0]:
            assert not is_sound(value)
    else:
        assert value == [HEAD + digits, 1]


def test_a_reserve_of_the_disk_is_left_free(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="too little space"):
        FileString(HEAD, tmp_path, 10**18)
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(Unavailable, match="cannot be written"):
        FileString(HEAD, blocked, 0)
