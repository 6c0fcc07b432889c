"""Digests of the files that a loaded model was read from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch

#: How much of a large file is read, and at how many places.
SAMPLE_BYTES, SAMPLES = 64 * 1024, 8

_digests: WeakKeyDictionary[torch.nn.Module, str] = WeakKeyDictionary()


def note(pipeline: Any, folder: Path, files: Iterable[Path] = ()) -> None:
    """Note that a pipeline was loaded from a folder, and from other files.

    Pipelines that share its modules share its digest.
    """
    digest = "+".join([of_folder(folder), *map(of_file, files)])
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            _digests[part] = digest


def note_module(module: torch.nn.Module, digest: str) -> None:
    """Note the digest of the files that a module was loaded from."""
    _digests[module] = digest


def digest_of_module(module: torch.nn.Module) -> str:
    """Return a digest of the files that a module was loaded from."""
    return _digests.get(module, "made in memory")


def digest_of(pipeline: Any) -> str:
    """Return a digest of the files that a pipeline's modules were loaded from."""
    modules = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return "+".join(sorted({digest_of_module(module) for module in modules}))


def of_folder(folder: Path) -> str:
    """Return a digest of the names, sizes and sampled content of the files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            digest.update(f"{path.relative_to(folder).as_posix()}\0{of_file(path)}\0".encode())
    return digest.hexdigest()[:32]


def of_file(path: Path) -> str:
    """Return a digest of the size and sampled content of a file."""
    status = path.stat()
    return _of_file(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _of_file(path: Path, size: int, _changed_ns: int) -> str:
    digest = hashlib.sha256(f"{size}\0".encode())
    with open(path, "rb") as file:
        if size <= SAMPLES * SAMPLE_BYTES:
            digest.update(file.read())
        else:
            for number in range(SAMPLES):
                file.seek((size - SAMPLE_BYTES) * number // (SAMPLES - 1))
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()[:32]
