"""``python -m bench.batches``: jobs a second when waiting jobs share runs, and when each is computed alone.

16 jobs of the demo model wait, and one worker computes them: through web server, Redis, worker and delivery. Options:
``--jobs N`` (default 16), ``--rounds N`` (default 3), ``--steps N`` (default 20), ``--size N`` (pixels, default 128).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

from bench.common import clean_environment, machine, short_folder, table
from jobs.settings import PROJECT_ROOT
from tests.support.harness import Stack
from workers.gpu.batch_profiles import SizeProfile, path_beside, written

MODEL = "demo-image"
#: How many jobs share a run at most.
TOGETHER = (1, 2, 4, 8)


def models_file(folder: Path) -> Path:
    """Return a models file with the demo model."""
    text = (PROJECT_ROOT / "models.toml").read_text(encoding="utf-8")
    path = folder / "models.toml"
    path.write_text(text.replace('source = "models/', f'source = "{PROJECT_ROOT}/models/'), encoding="utf-8")
    return path


def let_share(file: Path, jobs: int, size_px: int) -> None:
    """Let up to so many jobs share a run on any device, whether that pays or not."""
    from workers.pipelines.device import select

    size = SizeProfile(width=size_px, height=size_px, jobs=jobs, steps=10**6, images_per_s={1: 1, jobs: jobs})
    path_beside(file).write_text(written({MODEL: {select(0)[1]: [size]}}), encoding="utf-8")


def timed(stack: Stack, number: int, steps: int, size_px: int) -> tuple[float, float]:
    """Return jobs a second until all are published, and the mean number of jobs of a run."""
    stack.store.pause_slots()
    fields = {"model": MODEL, "steps": steps, "width": size_px, "height": size_px}
    ids = [stack.submit(prompt="a red circle on a blue background", seed=seed, **fields) for seed in range(number)]
    begun = time.perf_counter()
    stack.store.pause_slots(resume=True)
    views = [stack.wait(job_id) for job_id in ids]
    seconds = time.perf_counter() - begun
    assert all(view["state"] == "succeeded" for view in views)
    runs = sum(1 / (view["batch_size"] or 1) for view in views)
    return number / seconds, number / runs


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.batches")
    for name, default in (("jobs", 16), ("rounds", 3), ("steps", 20), ("size", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(arguments)
    clean_environment()
    print(machine(), flush=True)
    rates: dict[int, list[tuple[float, float]]] = {jobs: [] for jobs in TOGETHER}
    with short_folder() as folder:
        file = models_file(folder)
        stack = Stack(folder, file)
        try:
            stack.up("gpu0", "io")
            stack.wait(stack.submit(model=MODEL, steps=2))  # loads the model
            for _ in range(options.rounds):
                for jobs in TOGETHER:
                    let_share(file, jobs, options.size)
                    rates[jobs].append(timed(stack, options.jobs, options.steps, options.size))
        finally:
            stack.close()
    alone = statistics.median(rate for rate, _ in rates[1])
    rows = []
    for jobs, measured in rates.items():
        rate = statistics.median(rate for rate, _ in measured)
        rows.append((jobs, statistics.mean(size for _, size in measured), rate, rate / alone))
    print(table(("jobs of a run at most", "jobs of a run", "jobs a second", "to alone"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
