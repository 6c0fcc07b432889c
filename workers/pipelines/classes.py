"""Classes of pipelines by their name in the models file: those of diffusers, and the operator's own."""

from __future__ import annotations

import hashlib
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import diffusers

from jobs.errors import ModelLoadFailed
from jobs.process.own_classes import OwnClass


def named(name: str, what: str = "pipeline class") -> Any:
    """Return a class of diffusers, or one of the operator's own (:mod:`jobs.process.own_classes`).

    Args:
        name: as in the models file.
        what: what is looked for, for the error.

    Raises:
        ModelLoadFailed: there is none, or its code fails.
    """
    own = OwnClass.of(name)
    if own is None:
        try:
            return getattr(diffusers, name)
        except AttributeError:
            raise ModelLoadFailed(f"diffusers {diffusers.__version__} has no {what} {name}") from None
    try:
        module = _module_at(own.path) if own.path else import_module(own.module)
    except Exception as exc:
        raise ModelLoadFailed(f"{name}: the code fails with {type(exc).__name__}: {exc}") from exc
    found = getattr(module, own.name, None)
    if not (isinstance(found, type) and issubclass(found, diffusers.DiffusionPipeline)):
        raise ModelLoadFailed(f"{name}: it is no class of a DiffusionPipeline")
    return found


def _module_at(path: Path) -> ModuleType:
    """Return the module of a file. It is run once a process, and pickles and inspections find it by its name."""
    name = f"framemill_own_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
