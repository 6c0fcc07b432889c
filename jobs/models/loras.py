"""LoRA files of a model: safetensors files in one folder and its subfolders. No name leads out of the folder.

The name of a file is its path within the folder without the suffix: ``grain``, ``styles/ink``.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

SUFFIX = ".safetensors"


def names(folder: Path) -> list[str]:
    """Return the sorted names of the folder's LoRA files. A folder that does not exist has none."""
    if not folder.is_dir():
        return []
    paths = {path.relative_to(folder).as_posix().removesuffix(SUFFIX): path for path in folder.rglob(f"*{SUFFIX}")}
    return sorted(name for name, path in paths.items() if _is_name(name) and _inside(folder, path))


def path_of(folder: Path, name: str) -> Path | None:
    """Return the real path of the file of this name, given with or without suffix; None if the folder has none."""
    name = name.removesuffix(SUFFIX)
    path = folder / (name + SUFFIX)
    try:
        return path.resolve() if _is_name(name) and _inside(folder, path) else None
    except OSError:  # the name is too long for the file system
        return None


def by_short_name(known: list[str]) -> dict[str, str]:
    """Return sorted names by what callers may write: the whole name, or its last part (the first file of that name)."""
    last_parts = {PurePosixPath(name).name: name for name in reversed(known)}
    return {**last_parts, **{name: name for name in known}}


def _is_name(name: str) -> bool:
    """Whether a name leads to a visible file below the folder, as far as symbolic links do not lead elsewhere."""
    parts = name.split("/")
    return not ("\\" in name or "\0" in name or any(not part or part.startswith(".") for part in parts))


def _inside(folder: Path, path: Path) -> bool:
    real = path.resolve()
    return real.is_relative_to(folder.resolve()) and real.is_file() and real.suffix == SUFFIX
