"""LoRA files of a model: safetensors files in one folder, addressed by name. No name leads out of the folder."""

from __future__ import annotations

from pathlib import Path

SUFFIX = ".safetensors"


def names(folder: Path) -> list[str]:
    """Return the sorted names of the folder's LoRA files, without suffix. A folder that does not exist has none."""
    if not folder.is_dir():
        return []
    return sorted(path.stem for path in folder.glob(f"*{SUFFIX}") if _inside(folder, path))


def path_of(folder: Path, name: str) -> Path | None:
    """Return the real path of the file of this name, given with or without suffix; None if the folder has none."""
    stem = name.removesuffix(SUFFIX)
    # A name is not a path: neither a separator nor a symbolic link may lead out of the folder.
    if not stem or stem.startswith(".") or "/" in stem or "\\" in stem or "\0" in stem:
        return None
    path = folder / (stem + SUFFIX)
    try:
        return path.resolve() if _inside(folder, path) else None
    except OSError:  # the name is too long for the file system
        return None


def _inside(folder: Path, path: Path) -> bool:
    real = path.resolve()
    return real.is_relative_to(folder.resolve()) and real.is_file() and real.suffix == SUFFIX
