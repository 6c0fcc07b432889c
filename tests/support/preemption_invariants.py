"""Invariants of preemption: the indexes of runs that may be interrupted, and the slots that are reserved."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.store import keys

#: Of ``tests/support/store_model.py``: how often a job may be interrupted.
PREEMPT_MAX = 2


def check(snapshot: Any, preempts: Mapping[str, Sequence[str]]) -> None:
    """Compare them with what a walk through all records and slots finds."""
    _victims(snapshot, {name for lower in preempts.values() for name in lower})
    _reservations(snapshot)
    _preemptors(snapshot, set(preempts))


def _victims(snapshot: Any, lower: set[str]) -> None:
    expected: dict[str, dict[str, float]] = defaultdict(dict)
    for name, facts in snapshot.slots.items():
        job = snapshot.jobs.get(facts.get("job", ""), {})
        if (
            facts.get("standing") == "0"
            and job.get("state") == "running"
            and job["class"] in lower
            and job["line"] != keys.FRONT
            and job.get("resumable") == "1"
            and not job.get("interrupt")
            and int(job.get("preemptions", 0)) < PREEMPT_MAX
            and int(job.get("step", 0)) < 0.8 * int(job["steps"])
        ):
            score = int(job["started_at"]) - 1e13 * int(job.get("preemptions", 0))
            expected[f"{keys.VICTIMS}{job['class']}|{facts['offer']}"][name] = score
            for model in set(facts.get("resident", "").split(",")) & set(json.loads(facts["models"])):
                expected[f"{keys.WARM_VICTIMS}{job['class']}|{model}"][name] = score
    indexes = (keys.VICTIMS, keys.WARM_VICTIMS)
    assert {n: v for n, v in snapshot.all.items() if n.startswith(indexes)} == expected
    assert {n for n, facts in snapshot.slots.items() if "victim" in facts} == {n for v in expected.values() for n in v}
    snapshot.unexplained -= set(expected)


def _reservations(snapshot: Any) -> None:
    """A slot is reserved while its run is interrupted for a job that waits; no run is interrupted for none."""
    reserved: dict[str, set[str]] = defaultdict(set)
    for name, facts in snapshot.slots.items():
        if "reserved" in facts:
            reserved[facts["reserved"]].add(name)
            job = snapshot.jobs[facts["job"]]
            assert facts["standing"] == "0"
            assert job["state"] != "running" or job["interrupt"], name
    for job_id, record in snapshot.jobs.items():
        if record.get("interrupt") == "preempt":
            assert "reserved" in snapshot.slots[record["slot"]], job_id
    found = {n.removeprefix(keys.RESERVED): v for n, v in snapshot.all.items() if n.startswith(keys.RESERVED)}
    assert found == reserved
    for lane, slots in reserved.items():
        assert len(slots) <= len(snapshot.all.get(keys.LANE + lane, ())), lane
    snapshot.unexplained -= {keys.RESERVED + lane for lane in reserved}


def _preemptors(snapshot: Any, higher: set[str]) -> None:
    waiting = [record for job_id, record in snapshot.waiting.items() if job_id not in snapshot.early]
    wanted = {f"{record['line']}|{record['model']}" for record in waiting if record["class"] in higher}
    found = set(snapshot.all.get(keys.PREEMPTORS, ()))
    assert wanted <= found
    # Lines of pinned jobs and of the front have jobs of all classes.
    assert found - wanted <= {f"{record['line']}|{record['model']}" for record in waiting}
    snapshot.unexplained.discard(keys.PREEMPTORS)
