"""Which errors mean that a child process cannot run another job."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

from jobs.errors import ModelLoadFailed
from workers import broken_process


def raised_by(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Exception:
    """Return the error that importing a module with this code raises."""
    (folder / "library_of_test.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    sys.modules.pop("library_of_test", None)
    try:
        import library_of_test  # type: ignore[import-not-found]  # noqa: F401
    except Exception as exc:
        return exc
    raise AssertionError("it was imported")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise MemoryError", True),
        ("raise ImportError('libtorch.so: failed to map segment')", True),
        ("import json\njson.loads('')", True),
        ("import no_such_module_at_all", False),
    ],
)
def test_an_import_that_stopped_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, expected: bool
) -> None:
    exc = raised_by(code, tmp_path, monkeypatch)
    assert broken_process.is_half_imported(exc) == expected
    wrapped = ModelLoadFailed("could not be loaded")
    wrapped.__cause__ = exc
    assert broken_process.is_half_imported(wrapped) == expected


def test_an_error_of_a_job_is_no_broken_process() -> None:
    with pytest.raises(KeyError) as raised:
        {}["nothing"]
    assert not broken_process.is_half_imported(raised.value)
    assert not broken_process.has_too_little_memory(raised.value)
    assert not broken_process.has_too_few_descriptors(raised.value)


def test_too_little_of_something_is_seen_through_other_errors() -> None:
    for exc in (MemoryError(), OSError(errno.ENOMEM, "")):
        outer = ValueError()
        outer.__context__ = exc
        assert broken_process.has_too_little_memory(outer)
        assert not broken_process.has_too_few_descriptors(outer)
    assert broken_process.has_too_few_descriptors(OSError(errno.EMFILE, ""))
