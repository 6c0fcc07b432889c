"""``bench.chaos --checkpoints``: long jobs go on from their checkpoints while processes are killed and told to exit.

Some requests are computed undisturbed first. Then jobs with these requests run under disturbances: each must have the
same output to the bit, and all steps that were computed are counted, those of lost runs as well.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.common import short_folder, table
from bench.monkey import WEIGHTS_WITH_CHECKPOINTS, Monkey
from bench.traffic import Plan, Traffic
from bench.verdict import Verdict, judge
from jobs.states import TERMINAL, JobState
from jobs.store import keys
from tests.support import drawn_models
from tests.support.harness import Stack

GPUS = ("gpu0", "gpu1")
#: Different requests, and the range of their steps.
REQUESTS, STEPS = 8, (100, 200)
#: Reports come with nearly every step, so that the steps of a run that is killed are known.
ENVIRONMENT = {
    "MAX_ATTEMPTS": 50, "DELIVERY_LEASE_S": 4, "EVENT_LOG_LENGTH": 1_000_000, "PROGRESS_INTERVAL_MS": 5,
    "CHECKPOINT_INTERVAL_S": 0.2, "DRAIN_GRACE_S": 20,
}  # fmt: skip
#: Most steps that may be computed, in those of a calm run.
MOST_STEPS = 1.15


@dataclass
class Outcome:
    """What the jobs came to."""

    verdict: Verdict
    #: Steps that the jobs have, and steps that were computed for them.
    steps: int = 0
    computed: int = 0
    #: Number of runs that were interrupted or lost, and of jobs that went on from a checkpoint at the end.
    ended_early: int = 0
    resumed: int = 0
    #: Jobs whose output differs from that of the calm run, and those that said that a checkpoint could not be used.
    changed: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return self.verdict.good and not self.changed and self.computed <= MOST_STEPS * self.steps

    def text(self) -> str:
        rows = [
            ("steps of the jobs", self.steps, ""),
            ("steps computed", self.computed, f"{self.computed / max(1, self.steps):.3f}, at most {MOST_STEPS}"),
            ("runs that were interrupted or lost", self.ended_early, ""),
            ("jobs whose last run went on from a checkpoint", self.resumed, ""),
            ("jobs with a warning about a checkpoint", len(self.warned), ""),
            ("outputs that differ from the calm run", len(self.changed), "must be 0"),
        ]
        details = [*self.changed[:20], *self.warned[:20]]
        return "\n".join([self.verdict.text(), "", table(("", "number", ""), rows), *details])


def run(
    models: Path, count: int, seed: int, *, model: str = "tiny-image", duration_s: float = 0, settle_s: float = 1800,
    pauses_s: tuple[float, float] = (10.0, 25.0), environment: Mapping[str, Any] | None = None,
) -> Outcome:  # fmt: skip
    """Compute some requests calmly, then ``count`` jobs with them under disturbances.

    Args:
        models: the models file.
        count: number of jobs.
        seed: of the jobs and of the disturbances.
        model: their model.
        duration_s: time over which the jobs are sent, seconds; 0: one second for each.
        settle_s: longest wait for the end of the jobs afterwards, seconds. They are disturbed meanwhile.
        pauses_s: shortest and longest pause between two disturbances, seconds.
        environment: further settings.
    """
    rng, duration_s = random.Random(seed), duration_s or count
    fields: dict[str, Any] = {"model": model, "prompt": "a red circle", "embed_metadata": False}
    requests = [{**fields, "seed": number, "steps": rng.randint(*STEPS)} for number in range(REQUESTS)]
    jobs = [
        Plan(f"chaos-{number:05d}", "image", {**rng.choice(requests), "id": f"chaos-{number:05d}"}, None)
        for number in range(count)
    ]
    with short_folder() as folder:
        stack = Stack(folder, models, **ENVIRONMENT, **(environment or {}))
        try:
            stack.up(*GPUS, "io")
            calm = [stack.wait(stack.submit(**request))["outputs"][0]["sha256"] for request in requests]
            digests = {request["seed"]: digest for request, digest in zip(requests, calm, strict=True)}
            traffic, monkey = Traffic(stack.port, jobs, duration_s), Monkey(stack, rng, GPUS, WEIGHTS_WITH_CHECKPOINTS)
            traffic.start()
            deadline = time.monotonic() + duration_s + settle_s
            monkey.run(lambda: _all_over(stack, jobs) or time.monotonic() > deadline, *pauses_s)
            traffic.join(settle_s)
            time.sleep(1)
            return _outcome(stack, jobs, digests, judge(stack, jobs, monkey.done, None))
        finally:
            stack.close()


def run_drawn(folder: Path, count: int, seed: int, *, duration_s: float = 0, **environment: Any) -> Outcome:
    """The same with drawn images: a worker needs no seconds to load its libraries, and is killed twice a job or so."""
    environment = {"NOOP_STEP_MS": 15, **environment}
    return run(
        drawn_models.write(folder), count, seed, duration_s=duration_s, pauses_s=(0.5, 2.0), environment=environment
    )


def _all_over(stack: Stack, jobs: list[Plan]) -> bool:
    """Return whether all jobs are accepted and over. Not while Redis is away."""
    open_ = set(JobState) - TERMINAL
    waiting = stack.store.call(lambda c: sum(c.zcard(keys.STATE + state) for state in open_))
    return not waiting and all(plan.accepted or plan.refusal for plan in jobs)


def _outcome(stack: Stack, jobs: list[Plan], digests: Mapping[int, str], verdict: Verdict) -> Outcome:
    outcome = Outcome(verdict, steps=sum(plan.fields["steps"] for plan in jobs))
    for plan in jobs:
        view = stack.status(plan.job_id)
        outcome.resumed += view["resumed_from_step"] is not None
        if view["warnings"]:
            outcome.warned.append(f"{plan.job_id}: {view['warnings']}")
        if view["outputs"] and view["outputs"][0]["sha256"] != digests[plan.fields["seed"]]:
            outcome.changed.append(f"{plan.job_id}: {plan.fields}, attempt {view['attempt']}")
    ids = {plan.job_id for plan in jobs}
    events = (event for event in events_of(stack) if event["task_id"] in ids)
    outcome.computed, outcome.ended_early = computed_steps(events)
    return outcome


def events_of(stack: Stack) -> Iterator[dict[str, Any]]:
    """Yield the events of all jobs, in their order."""
    for _, entry in stack.store.call(lambda c: c.xrange(keys.EVENTS)):
        yield json.loads(entry["event"])


def computed_steps(events: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """Return the steps that were computed, and the number of runs that did not end by themselves.

    A run counts from the step after which it went on to the last one that it reported. One that was killed had one more
    step in work, which is counted as well.
    """
    last: dict[tuple[str, str], int] = {}
    steps: Counter[tuple[str, str]] = Counter()
    ended: dict[tuple[str, str], bool] = defaultdict(bool)
    for event in events:
        run = (event["task_id"], event.get("attempt", "0"))
        if event["state"] == "running":
            step = int(event.get("step") or 0)
            steps[run] += max(0, step - last.get(run, step))
            last[run] = step
        elif event["state"] == "delivering" and run in last:
            steps[run] += max(0, int(event["step"]) - last[run])
            ended[run] = True
    lost = [run for run in last if not ended[run]]
    return sum(steps.values()) + len(lost), len(lost)
