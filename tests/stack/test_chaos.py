"""The short form of ``make chaos``: under random kills and stops no job is lost and none is published twice.

The images are drawn, so that a new process does not import torch; ``make chaos`` computes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import chaos, resumed_jobs


@pytest.mark.timeout(400)
def test_nothing_is_lost_and_nothing_is_published_twice(drawn_models_file: Path) -> None:
    verdict = chaos.run(
        drawn_models_file, 25, seed=4, with_keys=True, duration_s=18, settle_s=180, pauses_s=(0.5, 2.0), at_least=2
    )
    assert verdict.good, verdict.text()
    assert verdict.counts["succeeded"] > 10, verdict.text()
    assert len(verdict.disturbances) >= 2, verdict.text()


@pytest.mark.timeout(400)
def test_long_jobs_go_on_from_their_checkpoints(drawn_models_file: Path) -> None:
    outcome = resumed_jobs.run(
        drawn_models_file, 20, seed=3, duration_s=5, settle_s=200, pauses_s=(0.5, 2.0), environment={"NOOP_STEP_MS": 15}
    )
    assert outcome.good, outcome.text()
    assert outcome.ended_early >= 2, outcome.text()
    assert outcome.resumed >= 1, outcome.text()


def test_the_steps_of_lost_runs_are_counted() -> None:
    def event(attempt: int, state: str, step: int | None) -> dict[str, Any]:
        return {"task_id": "a", "attempt": str(attempt), "state": state, "step": None if step is None else str(step)}

    first = [event(1, "running", None), event(1, "running", 3), event(1, "running", 7), event(1, "queued", 5)]
    second = [event(2, "queued", 5), event(2, "running", 5), event(2, "running", 8), event(2, "delivering", 10)]
    assert resumed_jobs.computed_steps([*first, *second]) == (7 + 1 + 5, 1)
    begun_anew = [event(2, "running", 5), event(2, "running", 0), event(2, "running", 8), event(2, "delivering", 10)]
    assert resumed_jobs.computed_steps([*first, *begun_anew]) == (7 + 1 + 10, 1)
