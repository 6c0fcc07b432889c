"""``python -m bench.batches``: jobs a second when waiting jobs share runs, and when each is computed alone.

16 jobs of the demo model wait, and one worker computes them: through web server, Redis, worker and delivery. Options:
``--jobs N`` (default 16), ``--rounds N`` (default 3), ``--steps N`` (default 20), ``--size N`` (pixels, default 128).
``--cpu`` measures the CPU time of the calls alone instead, in one thread: other work of the machine changes it less.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any, cast

from bench.common import clean_environment, machine, short_folder, table
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind
from jobs.requests.generation import resolve
from jobs.settings import PROJECT_ROOT, Settings
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


class _Unreported:
    """Reports nothing, and is never stopped."""

    preview_wanted = False

    def check(self) -> None:
        """Go on."""

    def stage(self, name: str) -> None:
        """Go on."""

    def expect(self, steps: int) -> None:
        """Go on."""

    def step(self, done: int, share: float | None = None) -> None:
        """Go on."""


def cpu_report(rounds: int, steps: int, size_px: int) -> str:
    """Return the CPU seconds of a picture by the number that are computed in one call: the best of all rounds."""
    import torch

    from workers.diffusion.preview import Previews
    from workers.diffusion.together import SharedPreviews, generate_together
    from workers.pipelines.cache import PipelineCache

    torch.set_num_threads(1)
    settings, reporter = Settings(), cast(Any, _Unreported())
    models = ModelRegistry.from_file(settings.paths.models_file)
    spec, best = models.get(MODEL), dict[int, float]()
    pipeline = PipelineCache(settings.replace(cpu_threads=1)).get(spec, Kind.TEXT2IMG)
    fields = {"model": MODEL, "prompt": "a red circle on a blue background", "width": size_px, "height": size_px}
    for _ in range(rounds):
        for number in TOGETHER:
            requests = [resolve(models, {**fields, "seed": seed, "steps": steps})[0] for seed in range(number)]
            previews = SharedPreviews([Previews(pipeline, request, reporter, None) for request in requests])
            begun = time.process_time()
            generate_together(pipeline, spec, requests, reporter, previews, [lambda _text: None] * number)
            seconds = (time.process_time() - begun) / number
            best[number] = min(seconds, best.get(number, seconds))
    rows = [(number, f"{seconds:.3f}", best[1] / seconds) for number, seconds in best.items()]
    return table(("pictures of a call", "CPU s a picture", "speed"), rows)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.batches")
    for name, default in (("jobs", 16), ("rounds", 3), ("steps", 20), ("size", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args(arguments)
    clean_environment()
    print(machine(), flush=True)
    if options.cpu:
        print(cpu_report(options.rounds, options.steps, options.size))
        return 0
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
