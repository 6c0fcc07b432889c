"""LoRA files of a model: safetensors in one folder, addressed by name, never outside it."""

from __future__ import annotations

from pathlib import Path

SUFFIX = ".safetensors"


def names(folder: Path) -> list[str]:
    """The names of the files in the folder, without their ending, sorted. An absent folder has none."""
    if not folder.is_dir():
        return []
    return sorted(path.stem for path in folder.glob(f"*{SUFFIX}") if _inside(folder, path))


def path_of(folder: Path, name: str) -> Path | None:
    """The file of this name (with or without its ending), by its real path; None if the folder has no such file."""
    stem = name.removesuffix(SUFFIX)
    # A name is not a path: neither a separator nor a link may lead elsewhere.
    if not stem or stem.startswith(".") or "/" in stem or "\\" in stem or "\0" in stem:
        return None
    path = folder / (stem + SUFFIX)
    try:
        return path.resolve() if _inside(folder, path) else None
    except OSError:  # a name too long for the file system
        return None


def _inside(folder: Path, path: Path) -> bool:
    real = path.resolve()
    return real.is_relative_to(folder.resolve()) and real.is_file() and real.suffix == SUFFIX
