"""Check that no job is lost or published twice while every process is killed and stopped at random.

``make chaos N=300 SEED=1`` or ``python -m bench.chaos --jobs 300 --seed 1 [--keys] [--duration S]``. With
``--checkpoints``, long jobs go on from their checkpoints (:mod:`bench.resumed_jobs`). Real pipelines
(tiny ones), videos and jobs that compute nothing run on two GPU workers while their children and parents, the delivery
worker, the web server and Redis are killed, stopped and started again. Exit 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench import resumed_jobs
from bench.common import NOOP_MODELS, clean_environment, machine, short_folder
from bench.monkey import Monkey
from bench.traffic import API_KEYS, OPERATOR, Plan, Traffic, plans
from bench.verdict import Verdict, judge
from jobs.settings import PROJECT_ROOT
from jobs.states import TERMINAL, JobState
from jobs.store import keys
from tests.support.harness import Stack

GPUS = ("gpu0", "gpu1")
#: Default duration per job, seconds.
PACE_S = 0.5
#: A job may lose many workers here; another test covers ``worker_lost``.
ENVIRONMENT = {
    "MAX_ATTEMPTS": 50, "DELIVERY_LEASE_S": 4, "EVENT_LOG_LENGTH": 1_000_000, "MAX_WAITING": 100_000,
    "NOOP_STEP_MS": 15,
}  # fmt: skip


def tiny_models(folder: Path) -> Path:
    """Write a models file with tiny pipelines, one that cannot be loaded, and one that computes nothing."""
    subprocess.run(
        [sys.executable, "-m", "tests.support.tiny", str(folder)],
        cwd=PROJECT_ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return folder / "models.toml"


def run(
    models: Path,
    count: int,
    seed: int,
    *,
    with_keys: bool = False,
    duration_s: float = 0,
    settle_s: float = 180,
    pauses_s: tuple[float, float] = (0.5, 4.0),
    at_least: int = 0,
    keep: Path | None = None,
) -> Verdict:
    """Send jobs and disturb processes for ``duration_s``, then wait at most ``settle_s`` for every job to finish.

    Args:
        models: models file of :func:`tiny_models`.
        count: number of jobs.
        seed: of the jobs and of the disturbances; which job a disturbance hits depends on the machine.
        with_keys: use several API keys of both classes.
        duration_s: length of the disturbance, seconds; 0: proportional to the number of jobs.
        settle_s: longest wait after the last disturbance, seconds.
        pauses_s: shortest and longest pause between two disturbances, seconds.
        at_least: number of disturbances that are made even if they take longer than ``duration_s``.
        keep: folder that the logs of the processes are copied to.
    """
    duration_s = duration_s or PACE_S * count
    rng = random.Random(seed)
    jobs = plans(count, rng, keys=with_keys)
    secret = OPERATOR if with_keys else None
    environment = {**ENVIRONMENT, **({"API_KEYS": API_KEYS} if with_keys else {})}
    with short_folder() as folder:
        all_models = models.parent / "chaos.toml"
        all_models.write_text(models.read_text() + NOOP_MODELS)
        stack = Stack(folder, all_models, **environment)
        try:
            stack.up(*GPUS, "io")
            traffic = Traffic(stack.port, jobs, duration_s)
            monkey = Monkey(stack, rng, GPUS)
            traffic.start()
            deadline = time.monotonic() + duration_s
            monkey.run(lambda: time.monotonic() > deadline and len(monkey.done) >= at_least, *pauses_s)
            settled_by = time.monotonic() + settle_s
            traffic.join(settle_s / 2)
            while not _all_finished(stack, jobs) and time.monotonic() < settled_by:
                time.sleep(0.2)
            time.sleep(1)  # events after the end of a job are checked too
            return judge(stack, jobs, monkey.done, secret)
        finally:
            stack.close()
            if keep:
                keep.mkdir(parents=True, exist_ok=True)
                for log in folder.glob("*.log"):
                    shutil.copy(log, keep)


def _all_finished(stack: Stack, jobs: list[Plan]) -> bool:
    over = stack.store.call(lambda c: sum(c.zcard(keys.STATE + state) for state in TERMINAL))
    open_ = stack.store.call(lambda c: sum(c.zcard(keys.STATE + state) for state in set(JobState) - TERMINAL))
    return not open_ and over >= sum(plan.accepted for plan in jobs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keys", action="store_true", help="use several API keys of both classes")
    parser.add_argument("--duration", type=float, default=0, help=f"seconds; default {PACE_S} per job")
    parser.add_argument("--checkpoints", action="store_true", help="long jobs, which go on from their checkpoints")
    parser.add_argument(
        "--drawn", action="store_true", help="with --checkpoints: no pipelines, so that workers are killed more often"
    )
    parser.add_argument(
        "--pauses", type=float, nargs=2, default=(10.0, 25.0), metavar=("SHORTEST", "LONGEST"),
        help="with --checkpoints: seconds between two disturbances (default 10 25)",
    )  # fmt: skip
    parser.add_argument("--logs", type=Path, help="keep the processes' logs in this folder")
    options = parser.parse_args()
    clean_environment()
    print(f"{options.jobs} jobs, seed {options.seed}, {machine()}", flush=True)
    with short_folder() as folder:
        if options.checkpoints:
            duration_s = options.duration
            if options.drawn:
                outcome = resumed_jobs.run_drawn(folder, options.jobs, options.seed, duration_s=duration_s)
            else:
                shortest_s, longest_s = options.pauses
                outcome = resumed_jobs.run(
                    tiny_models(folder), options.jobs, options.seed, duration_s=duration_s,
                    pauses_s=(shortest_s, longest_s),
                )  # fmt: skip
            print(outcome.text())
            return 0 if outcome.good else 1
        verdict = run(
            tiny_models(folder), options.jobs, options.seed,
            with_keys=options.keys, duration_s=options.duration, keep=options.logs,
        )  # fmt: skip
    print(verdict.text())
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
