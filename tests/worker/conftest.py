"""Replaces the fixtures for real processes: here web server, slots and delivery are threads of the test process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.harness import Stack
from tests.support.in_process import in_process


@pytest.fixture(scope="module")
def stack(models_file: Path) -> Iterator[Stack]:
    """Yield one that is shared by all tests of a module that leave no job behind."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with in_process(folder, models_file) as shared:
        yield shared
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def start(models_file: Path, short_folder: Path) -> Iterator[Callable[..., Stack]]:
    """``start("gpu0", "io", SETTING=value)``: return a private one. Not to be used beside ``stack``."""
    with ExitStack() as stacks:
        yield lambda *workers, **environment: stacks.enter_context(
            in_process(short_folder, models_file, *workers, **environment)
        )
