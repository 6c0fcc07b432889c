"""The models of :mod:`tests.support.tiny`, drawn instead of computed: their workers need no torch.

A GPU child that imports torch and diffusers takes five CPU-seconds to start. Tests of queues, leases and processes use
these models; pipelines are tested with the real ones.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support import tiny
from tests.support.harness import Stack, running

#: Duration of a step, about that of a tiny pipeline.
STEP_MS: Final = 8


def write(folder: Path) -> Path:
    """Write the models file into a folder and return its path."""
    path = folder / "models.toml"
    path.write_text(tiny.DRAWN)
    tiny.write_broken(folder)
    return path


@contextmanager
def stack_in_new_folder(models_file: Path, *workers: str, **environment: Any) -> Iterator[Stack]:
    """Run a stack with drawn models in a folder with a short path, which is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with running(folder, models_file, *workers, **{"NOOP_STEP_MS": STEP_MS, **environment}) as stack:
        yield stack
    shutil.rmtree(folder, ignore_errors=True)
