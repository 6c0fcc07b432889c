"""Simulate an hour in which premium images take the slots of general videos.

``python -m bench.day.preempting [--premium 0.5] [--general 0.7] [--off-peak 0.2] [--after 5] [--most 2 20]``. The
scripts and Redis are real; the time that they see, the workers and the callers are simulated. The demands are shares of
what all slots can compute. The hour is simulated with and without preemption; afterwards nothing more is submitted, and
every job must end.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import itertools
import json
import math
import random
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from bench.common import machine, short_folder, table
from bench.day.clocked_store import ClockedStore
from bench.fleet.fleet import NEVER_S, OWNER, REQUEST
from jobs.callers import Caller
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings
from jobs.store.runs import StepReply
from jobs.submission import Submission
from stack.embedded_redis.server import EmbeddedRedis

T = TypeVar("T")
HEARTBEAT_S = 2.0
#: The host of all slots, and after how many times the length of an hour its last job must have ended.
NODE, END_AFTER = "node", 20
#: Users of each class, and how often a run reports its progress.
USERS, REPORTS = 6, 20


@dataclass(frozen=True)
class Demand:
    """What the callers of a class submit."""

    job_class: str
    steps: int
    step_s: float
    #: Share of what all slots can compute.
    share: float

    @property
    def run_s(self) -> float:
        return self.steps * self.step_s


@dataclass(eq=False)
class Task:
    """A job and what happened to it."""

    job_id: str
    demand: Demand
    submitted_s: float
    slot: str = ""
    attempt: int = 0
    #: Number of its next report; 0 while it does not run.
    report: int = 0
    #: Steps that are stored, and when the present run began.
    step: int = 0
    began_s: float = 0.0
    preemptions: int = 0
    computed_s: float = 0.0
    #: When its first run began, and when it ended.
    started_s: float | None = None
    ended_s: float | None = None


@dataclass
class Outcome:
    """The tasks of an hour, and how long it was."""

    tasks: list[Task]
    hour_s: float
    slots: int
    #: GPU seconds by class within the hour.
    used: dict[str, float] = field(default_factory=dict)


class Hour:
    """The simulation; ``run`` returns when every job has ended."""

    def __init__(self, store: ClockedStore, demands: Iterable[Demand], slots: int, hour_s: float, seed: int) -> None:
        self._store, self._demands, self._slots, self._hour_s = store, list(demands), slots, hour_s
        self._random = random.Random(seed)
        self._start_s = self._now_s = float(int(time.time()))
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._tasks: dict[str, Task] = {}
        self._live = 0
        self._used: dict[str, float] = {}

    def run(self) -> Outcome:
        models = [demand.job_class for demand in self._demands]
        facts = {"models": json.dumps(models), "resident": ",".join(models), "node": NODE}
        for number in range(self._slots):
            slot = f"gpu{number}"
            self._call(partial(self._store.register, slot, OWNER, facts))
            self._at(HEARTBEAT_S * (number + 1) / (self._slots + 1), partial(self._beat, slot))
        for demand in self._demands:
            self._submit_later(demand)
        self._at(HEARTBEAT_S, self._sweep)
        while self._live or self._now_s < self._start_s + self._hour_s:
            self._now_s, _, act = heapq.heappop(self._agenda)
            if self._now_s > self._start_s + END_AFTER * self._hour_s:
                raise RuntimeError(f"{self._live} jobs never end")
            act()
        return Outcome(list(self._tasks.values()), self._hour_s, self._slots, self._used)

    def _at(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self._now_s + seconds, next(self._numbers), act))

    def _call(self, call: Callable[[], T]) -> T:
        """Call the store, and follow the events of what it did."""
        self._store.now_s = self._now_s
        reply = call()
        for text in self._store.flush():
            self._follow(json.loads(text))
        return reply

    # ---- callers

    def _submit_later(self, demand: Demand) -> None:
        rate = demand.share * self._slots / demand.run_s
        if rate:
            self._at(self._random.expovariate(rate), lambda: self._submit(demand))

    def _submit(self, demand: Demand) -> None:
        if self._now_s > self._start_s + self._hour_s:
            return
        task = Task(f"job-{next(self._numbers)}", demand, self._now_s)
        self._tasks[task.job_id], self._live = task, self._live + 1
        caller = Caller(key_id=f"{demand.job_class}-{self._random.randrange(USERS)}", job_class=demand.job_class)
        submission = Submission(request=_request(demand), caller=caller)
        accepted = self._call(lambda: self._store.submit(task.job_id, submission))
        self._interrupted(accepted.preempted)
        self._submit_later(demand)

    # ---- workers

    def _follow(self, event: dict[str, str]) -> None:
        task = self._tasks[event["task_id"]]
        if event["state"] == "queued" and event.get("slot") and int(event["attempt"]) > task.attempt:
            task.slot, task.attempt = event["slot"], int(event["attempt"])
            self._at(0.0, lambda: self._start(task, task.attempt))

    def _start(self, task: Task, attempt: int) -> None:
        run = f"{task.job_id}.{attempt}"
        assert self._call(lambda: self._store.start(
            task.job_id, attempt, slot=task.slot, owner=OWNER, device="simulated", run=run))  # fmt: skip
        task.began_s = self._now_s
        task.started_s = task.started_s or self._now_s
        self._report_in(0.0, task)

    def _done(self, task: Task) -> int:
        """Return the finished steps of a task that runs."""
        run = math.floor((self._now_s - task.began_s) / task.demand.step_s + 1e-6)
        return min(task.demand.steps, task.step + run)

    def _report_in(self, seconds: float, task: Task) -> None:
        """Let the run of a task report then, instead of when it would otherwise."""
        task.report = number = next(self._numbers)
        self._at(seconds, lambda: self._report(task) if task.report == number else None)

    def _report(self, task: Task) -> None:
        """A step is done: report it, stop if the run is interrupted, end if it was the last one."""
        done, steps, step_s = self._done(task), task.demand.steps, task.demand.step_s
        if done == steps:
            self._end(task)
            return
        left_s = (steps - done) * step_s
        reply = self._call(lambda: self._store.progress(
            task.job_id, task.attempt, "denoising", done, steps, left_s, resumable=True))  # fmt: skip
        if reply is StepReply.INTERRUPT:
            self._hand_over(task, done)
        else:
            self._report_in(min(steps - done, max(1, steps // REPORTS)) * step_s, task)

    def _interrupted(self, job_ids: Iterable[str]) -> None:
        """Runs look at their records at the end of their present step."""
        for job_id in job_ids:
            task = self._tasks[job_id]
            if task.report:
                self._report_in(task.demand.step_s - (self._now_s - task.began_s) % task.demand.step_s, task)

    def _compute(self, task: Task) -> float:
        """Count what the present run of a task has used, as far as it is in the hour."""
        seconds, task.report = self._now_s - task.began_s, 0
        end_s = min(self._now_s, self._start_s + self._hour_s)
        used = self._used.get(task.demand.job_class, 0.0) + max(0.0, end_s - task.began_s)
        self._used[task.demand.job_class] = used
        task.computed_s += seconds
        return seconds

    def _hand_over(self, task: Task, done: int) -> None:
        self._compute(task)
        attempt = task.attempt
        task.step, task.preemptions = done, task.preemptions + 1
        self._call(lambda: self._store.keep_checkpoint(task.job_id, attempt, step=done, age_s=0, node=NODE))
        self._call(lambda: self._store.hand_over(task.job_id, attempt, slot=task.slot))

    def _end(self, task: Task) -> None:
        run_s = self._compute(task)
        task.ended_s, self._live = self._now_s, self._live - 1
        assert self._call(lambda: self._store.finish_run(
            task.job_id, task.attempt, slot=task.slot, node="", run_s=run_s))  # fmt: skip

    def _beat(self, slot: str) -> None:
        self._call(partial(self._store.heartbeat, slot, OWNER, {}))
        self._at(HEARTBEAT_S, partial(self._beat, slot))

    def _sweep(self) -> None:
        sweep = self._call(self._store.sweep)
        if sweep is not None:
            self._interrupted(sweep.preempted)
        self._at(HEARTBEAT_S, self._sweep)


def _request(demand: Demand) -> GenerationRequest:
    return dataclasses.replace(REQUEST, model=demand.job_class, steps=demand.steps)


def simulate(
    demands: Iterable[Demand], *, slots: int, hour_s: float, after_s: float, most: int = 2, seed: int = 1
) -> Outcome:
    """Simulate an hour with preemption after ``after_s`` seconds (0: without), at most ``most`` times a job."""
    with short_folder() as folder:
        settings = Settings.of(
            data_dir=folder, max_waiting=1_000_000, heartbeat_s=HEARTBEAT_S, slot_lease_s=NEVER_S,
            resend_after_s=NEVER_S, preempt_after_s=after_s, preempt_max=most,
        )  # fmt: skip
        with EmbeddedRedis(settings):
            store = ClockedStore(settings, settings.scheduling.class_weights)
            outcome = Hour(store, demands, slots, hour_s, seed).run()
            store.measures.close()
            store.client.close()
            return outcome


def report(outcome: Outcome) -> str:
    """Return a table with a row for each class."""
    rows = []
    for job_class in dict.fromkeys(task.demand.job_class for task in outcome.tasks):
        tasks = [task for task in outcome.tasks if task.demand.job_class == job_class]
        waits = sorted((task.started_s or math.inf) - task.submitted_s for task in tasks)
        ends = sorted((task.ended_s or math.inf) - task.submitted_s for task in tasks)
        often = [task.preemptions for task in tasks]
        rows.append([
            job_class, len(tasks), *(f"{value:.1f}" for value in (statistics.median(waits), _p95(waits), waits[-1])),
            f"{ends[-1]:.0f}", f"{sum(often)}, {max(often)}",
            f"{100 * outcome.used.get(job_class, 0.0) / (outcome.slots * outcome.hour_s):.0f} %",
        ])  # fmt: skip
    heads = ["class", "jobs", "wait p50, s", "p95", "longest", "longest to the end, s", "preemptions in all, of a job",
             "GPU time"]  # fmt: skip
    return table(heads, rows)


def _p95(values: list[float]) -> float:
    return values[int(0.95 * (len(values) - 1))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--premium", type=float, default=0.5)
    parser.add_argument("--general", type=float, default=0.7)
    parser.add_argument("--off-peak", type=float, default=0.2)
    parser.add_argument("--after", type=float, default=5.0, help="PREEMPT_AFTER_S")
    parser.add_argument("--most", type=int, nargs="+", default=[2, 20], help="PREEMPT_MAX")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    demands = [
        Demand("premium", 20, 0.3, options.premium), Demand("general", 100, 3.0, options.general),
        Demand("off-peak", 20, 3.0, options.off_peak),
    ]  # fmt: skip
    print(machine(), flush=True)
    for after_s, most in ((0.0, 0), *((options.after, most) for most in options.most)):
        outcome = simulate(
            demands, slots=options.slots, hour_s=3600 * options.hours, after_s=after_s, most=most, seed=options.seed
        )
        assert all(task.ended_s is not None for task in outcome.tasks)
        print(f"\nPREEMPT_AFTER_S={after_s:g} PREEMPT_MAX={most}\n\n{report(outcome)}", flush=True)


if __name__ == "__main__":
    main()
