"""Functions of the operator that settings name as ``module:function``."""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

from jobs.errors import BadSetting


@lru_cache(maxsize=16)
def load(setting: str, value: str) -> Any:
    """Import the function of ``module:function``. Raises: BadSetting."""
    module, _, name = value.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise BadSetting(f"{setting} must be module:function or none; {value!r} cannot be imported: {exc}") from exc
    if not callable(function):
        raise BadSetting(f"{setting} must name a function; {value!r} is not one")
    return function
