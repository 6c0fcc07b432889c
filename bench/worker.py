"""Measure what a job costs beside its model, and how soon it stops.

``python -m bench.worker [--rounds 8] [--steps 50] [--models FILE] [--names a,b]``. The first part calls the same
pipeline bare and through the worker, in turn, in one process, on one thread of the CPU. The second stops running jobs
of each model (default: all) of a models file (default: tiny ones).
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import common
from bench.chaos import tiny_models
from bench.common import Client, short_folder, table
from bench.latency import event_ms, spread
from jobs.models.registry import ModelRegistry
from jobs.record import new_job_id
from jobs.requests.generation import resolve
from jobs.settings import PROJECT_ROOT
from jobs.submission import Submission
from tests.support.harness import Stack, running

MODEL = "demo-image"
SLOT, OWNER = "gpu0", "nobody:1:1"

Row = tuple[str, str, str]


# ---- cost


class Worker:
    """Does the work of a GPU child in this process, on a separate Redis."""

    def __init__(self, stack: Stack, steps: int) -> None:
        from tasks.runtime import OWNER_VARIABLE, SLOT_VARIABLE
        from workers.gpu import run

        os.environ |= {SLOT_VARIABLE: SLOT, OWNER_VARIABLE: OWNER}
        self._stack, self._run = stack, run
        stack.store.register(SLOT, OWNER, {"models": f'["{MODEL}"]', "node": "nobody"})
        models = ModelRegistry.from_file(stack.settings.paths.models_file)
        fields = {"model": MODEL, "prompt": "a red circle on a blue background", "seed": 1, "steps": steps}
        self._request, _ = resolve(models, fields)
        self._spec = models.get(MODEL)

    def bare(self) -> None:
        """Call the pipeline alone."""
        import torch

        from workers.gpu.slot_process import slot_process

        requested = self._request
        pipeline = slot_process().pipelines.get(self._spec, requested.kind)
        with torch.inference_mode():
            pipeline(
                prompt=requested.prompt, num_inference_steps=requested.steps, guidance_scale=requested.guidance_scale,
                width=requested.width, height=requested.height, output_type="np",
                generator=torch.Generator("cpu").manual_seed(requested.seed),
            )  # fmt: skip

    def job(self, *, preview: bool) -> None:
        """Run a whole attempt: start, steps with their reports, frames to the spool, end."""
        job_id = new_job_id()
        submission = Submission(request=self._request, preview=preview)
        self._stack.store.submit(job_id, submission)
        outcome = self._run.run(job_id, 1)
        assert outcome.needs_delivery, outcome


def _spent(work: Callable[[], None]) -> tuple[float, float]:
    """Return wall and CPU seconds; CPU time includes the reporter's thread."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def cost(rounds: int, steps: int) -> list[Row]:
    """Return the rows of the table."""
    with short_folder() as folder:
        options = {**common.SHIPPED, "SLOT_LEASE_S": 1_000_000, "CPU_THREADS": 1, "LOG_LEVEL": "ERROR"}
        stack = Stack(folder, PROJECT_ROOT / "models.toml", **options)
        caller = dict(os.environ)
        os.environ |= stack.environment  # before the modules of the worker read them
        stack.redis.start()
        try:
            worker = Worker(stack, steps)
            ways: dict[str, Callable[[], None]] = {
                "bare": worker.bare,
                "job": lambda: worker.job(preview=False),
                "previews": lambda: worker.job(preview=True),
            }
            for work in ways.values():
                work()  # loads the model and fits the first preview
            spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for turn in range(rounds):
                order = list(ways)
                for name in order[turn % 3 :] + order[: turn % 3]:
                    spent[name].append(_spent(ways[name]))
        finally:
            stack.redis.stop()
            os.environ.clear()
            os.environ |= caller
    bare_s, bare_cpu_s = (statistics.median(column) for column in zip(*spent["bare"], strict=True))
    what = f"{MODEL}, {steps} steps, 1 thread: the pipeline alone"
    rows = [(what, f"wall {bare_s:.2f} s, CPU {bare_cpu_s:.2f} s (median of {rounds})", "")]
    for name, what, target in (
        ("job", "… through the worker", "≤ 1 %"),
        ("previews", "… through the worker, with previews", "≤ 3 %"),
    ):
        pairs = list(zip(spent[name], spent["bare"], strict=True))
        wall, cpu = (statistics.median(a[i] / b[i] - 1 for a, b in pairs) for i in (0, 1))
        cpu_s = statistics.median(cpu_s for _, cpu_s in spent[name])
        rows.append((what, f"CPU {100 * cpu:+.1f} % ({cpu_s:.2f} s), wall {100 * wall:+.1f} %", target))
    return rows


# ---- stop


def _fields(model: dict[str, Any]) -> dict[str, Any]:
    """Return a request with as many steps as the model allows."""
    kinds = model["kinds"]
    kind = next((kind for kind in kinds if kind.startswith("text2")), kinds[0])
    fields = {"model": model["name"], "kind": kind, "prompt": "x", "steps": int(model["limits"]["steps"]["max"])}
    if not kind.startswith("text2"):
        from PIL import Image

        file = io.BytesIO()
        Image.new("RGB", (64, 64), "green").save(file, "PNG")
        fields["image"] = base64.b64encode(file.getvalue()).decode()
    return fields


def stopping(models_file: Path, names: list[str] | None = None, runs: int = 10) -> list[Row]:
    """Stop running jobs of each model; measure the time until the response, and until the next job runs."""
    rows = []
    with short_folder() as folder, running(folder, models_file, "gpu0", "io", **common.SHIPPED) as stack:
        client = Client(stack.port)
        models = {model["name"]: model for model in client.send("GET", "/v1/models")[1]["models"]}
        for name in names or [name for name in models if name not in ("broken", "noop")]:
            fields = _fields(models[name])
            answer_ms, next_ms = [], []
            current = stack.submit(**fields)
            begun = stack.wait_until(current, lambda view: view["progress"]["step"] > 1, "its steps")
            begun_at = time.perf_counter()
            for _ in range(runs):
                following = stack.submit(**fields)
                stack.wait_until(current, lambda view: view["progress"]["step"] > 1, "some steps")
                asked_at_ms, asked_at = 1000 * time.time(), time.perf_counter()
                view = stack.status(current) if current == begun["id"] else None
                if view:
                    steps = view["progress"]["step"] - begun["progress"]["step"]
                    step_ms = 1000 * (asked_at - begun_at) / max(1, steps)
                assert client.send("POST", f"/v1/jobs/{current}/cancel")[0] == 200
                answer_ms.append(1000 * (time.perf_counter() - asked_at))
                stack.wait_until(following, lambda view: view["state"] == "running", "its start")
                next_ms.append(event_ms(stack, following, "running") - asked_at_ms)
                current = following
            client.send("POST", f"/v1/jobs/{current}/cancel")
            what = f"stop of {name} (a step: {step_ms:.0f} ms), request → answer"
            rows.append((what, spread(answer_ms), "≤ 1 step + 100 ms"))
            rows.append(("… request → next job runs", spread(next_ms), "≤ 1 step + 350 ms"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--models", type=Path, help="a models file (default: tiny pipelines)")
    parser.add_argument("--names", help="only these models, comma separated")
    options = parser.parse_args()
    common.clean_environment()
    head = ("what", "measured", "target")
    print(common.machine())
    print(table(head, cost(options.rounds, options.steps)), flush=True)
    with short_folder() as folder:
        models = options.models or tiny_models(folder)
        print(table(head, stopping(models, options.names.split(",") if options.names else None)))


if __name__ == "__main__":
    main()
