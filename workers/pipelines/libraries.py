"""The first import of torch, diffusers and transformers, which takes seconds of a worker's start."""

from __future__ import annotations

import gc
from importlib import import_module

#: The class of all pipelines. diffusers imports its modules when they are used; this one imports most of transformers.
_PIPELINES = "diffusers.pipelines.pipeline_utils"


def import_libraries() -> None:
    """Import them without the garbage collector, and keep it from looking at them later.

    They consist of a million objects that are never freed. To look at them takes a sixth of the time of the import, and
    a third of a second each time that room for a model is made.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        import_module(_PIPELINES)
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()
