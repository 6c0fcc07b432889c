"""The short form of ``make chaos``: under random kills and stops no job is lost and none is published twice.

The images are drawn, so that a new process does not import torch; ``make chaos`` computes them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import chaos


@pytest.mark.timeout(240)
def test_nothing_is_lost_and_nothing_is_published_twice(drawn_models_file: Path) -> None:
    verdict = chaos.run(drawn_models_file, 25, seed=4, with_keys=True, duration_s=18, settle_s=90, pauses_s=(0.5, 2.0))
    assert verdict.good, verdict.text()
    assert verdict.counts["succeeded"] > 10, verdict.text()
    assert len(verdict.disturbances) >= 2, verdict.text()
