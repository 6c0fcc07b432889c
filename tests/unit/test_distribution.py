"""The test files that the processes of a test run share, and what importing them costs each process."""

from __future__ import annotations

import pytest

from tests.support.distribution import group_of, imported_torch


def test_files_with_the_same_expensive_parts_run_in_one_process() -> None:
    shared = group_of("tests/stack/test_generate.py")
    assert shared == group_of("tests/stack/test_stop.py")
    torch = group_of("tests/worker/test_executor.py")
    assert torch == group_of("tests/worker/test_noise.py")
    alone = group_of("tests/stack/test_refusals.py")  # its fixture ``stack`` is another one
    assert len({shared, torch, alone, group_of("tests/unit/test_distribution.py")}) == 4


def test_the_tests_are_imported_without_torch(request: pytest.FixtureRequest) -> None:
    """Torch takes four seconds, in every process of a test run."""
    assert request.config.stash[imported_torch] is False
