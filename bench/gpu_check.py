"""``make gpu-check``: check and measure what only a machine with a CUDA device can show; print a table.

``--device cpu --tiny`` runs the same checks without one: on small shapes, and what needs CUDA is skipped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from bench import gpu_jobs, gpu_options, shapes
from bench.common import clean_environment, machine, table
from bench.shapes import Shape
from jobs.errors import RunCancelled
from jobs.models.spec import Kind, ModelSpec
from jobs.settings import PROJECT_ROOT, Settings
from jobs.slots.residency import Place
from workers.parent.devices import facts as device_facts
from workers.pipelines import device, device_errors
from workers.pipelines.cache import PipelineCache

Row = tuple[str, str, str]

#: Runs in a separate process, because the fault makes the process unusable.
_POISON = """
import torch
from workers.pipelines.device_errors import is_device_lost
try:
    torch.zeros(1, device="cuda")[torch.tensor([5], device="cuda")]
    torch.cuda.synchronize()
except Exception as exc:
    print("poison" if is_device_lost(exc) else repr(exc))
"""
_PINNED = """
import workers.parent.child
workers.parent.child.prepare("gpu0")
import torch
print(torch.cuda.device_count())
"""


class Check:
    """All checks on one device. Each yields rows of (check, verdict, figure)."""

    def __init__(self, device_name: str, *, tiny: bool, folder: Path) -> None:
        self.tiny, self.folder = tiny, folder
        self.cuda = device_name == "cuda"
        self.cache = PipelineCache(Settings.of(model_memory_bytes=0 if self.cuda else 2**40))
        assert self.cache.device.type == device_name, f"torch sees no {device_name} device"
        self.dtype = torch.bfloat16 if self.cuda else torch.float32
        if tiny and not self.cuda:
            torch.set_num_threads(1)  # small shapes gain nothing from more

    def rows(self) -> Iterator[Row]:
        yield from self.device()
        build: tuple[Callable[..., Shape], ...] = (shapes.sdxl, shapes.wan)
        for shape in (make(self.folder, str(self.cache.device), self.dtype, tiny=self.tiny) for make in build):
            yield from self.model(shape)
        yield from gpu_options.small_models(self.cache, self.folder)
        yield from gpu_jobs.rows(self.folder, is_cuda=self.cuda)
        yield from self.faults()

    def device(self) -> Iterator[Row]:
        facts = device_facts.measure("gpu0")
        yield "facts of the device", "ok" if facts.get("memory_total_bytes") else "MISSING", json.dumps(facts)
        for kind in (Kind.TEXT2IMG, Kind.TEXT2VIDEO):
            chosen = device.dtype_of(ModelSpec(name="m", source="x", kinds=(kind,)), self.cache.device)
            expected = {False: torch.float32, True: torch.bfloat16 if kind.is_video else torch.float16}[self.cuda]
            yield f"dtype of {kind}", _verdict(chosen is expected), str(chosen)
        if self.cuda:
            yield "the process of a slot sees one device", _verdict(_python(_PINNED) == "1"), ""
        else:
            yield "the process of a slot sees one device", "skipped", "needs CUDA"

    def model(self, shape: Shape) -> Iterator[Row]:
        kinds = (Kind.TEXT2VIDEO,) if shape.video else (Kind.TEXT2IMG,)
        dtype = str(self.dtype).removeprefix("torch.")
        spec = ModelSpec(name=shape.name, source=str(shape.folder), kinds=kinds, dtype=dtype)
        begun = time.perf_counter()
        pipeline = self.cache.get(spec, kinds[0])
        self._synchronize()
        load_s = time.perf_counter() - begun
        entry = self.cache.touch(spec.name)
        assert entry is not None
        yield f"{shape.name}: load", "ok", f"{load_s:.2f} s, {entry.bytes / 2**30:.2f} GiB"
        times = []
        for place in (Place.PARKED, Place.DEVICE):
            begun = time.perf_counter()
            self.cache.move(entry, place)
            self._synchronize()
            times.append(time.perf_counter() - begun)
        yield f"{shape.name}: to RAM, back", "ok", f"{times[0]:.2f} s, {times[1]:.2f} s"
        for batch in (1, 2) if self.tiny or shape.video else (1, 2, 4, 8):
            steps_s, _ = self.run(pipeline, shape, batch=batch)
            step_s = statistics.median(steps_s[1:])
            yield f"{shape.name}: step, batch {batch}", "ok", f"{1000 * step_s:.1f} ms, {batch / step_s:.2f} per s"
        _, latency_s = self.run(pipeline, shape, stop=True)
        yield f"{shape.name}: stop", _verdict(latency_s is not None), f"{1000 * (latency_s or 0):.1f} ms"
        begun = time.perf_counter()
        steps_s, _ = self.run(pipeline, shape)
        yield f"{shape.name}: next job after the stop", "ok", f"first step after {1000 * steps_s[0]:.1f} ms"
        yield self.out_of_memory(pipeline, shape)
        if shape.video:
            del pipeline, entry
            run = partial(self._steps_of, steps=4)
            yield from gpu_options.OptionChecks(self.cache, spec, shape, run).rows()

    def _steps_of(self, pipeline: Any, shape: Shape, *, steps: int) -> list[float]:
        return self.run(pipeline, shape, steps=steps)[0]

    def out_of_memory(self, pipeline: Any, shape: Shape) -> Row:
        """Run a size that no device can hold, then a normal size in the same process."""
        size = 8_000_000 if not shape.video else 4_000_000
        caught: str = "nothing was raised"
        try:
            self.run(
                pipeline, Shape(**{**vars(shape), "arguments": {**shape.arguments, "width": size, "height": size}})
            )
        except Exception as exc:
            caught = "" if device_errors.is_out_of_memory(exc) else repr(exc)[:200]
            device_errors.release_tensors(exc)
        self.cache.free()
        left = f", {torch.cuda.memory_allocated() / 2**30:.2f} GiB held after" if self.cuda else ""
        self.run(pipeline, shape)
        return f"{shape.name}: out of memory, then a job", _verdict(not caught), caught + left

    def faults(self) -> Iterator[Row]:
        if not self.cuda:
            yield "a device-side fault is recognised", "skipped", "needs CUDA"
            return
        output = _python(_POISON)
        yield "a device-side fault is recognised", _verdict(output == "poison"), "" if output == "poison" else output

    def run(
        self, pipeline: Any, shape: Shape, *, batch: int = 1, stop: bool = False, steps: int = 6
    ) -> tuple[list[float], float | None]:
        """Make one call. Return the seconds of each step, and with ``stop`` those from the stop request to the end."""
        marks, requested = [time.perf_counter()], threading.Event()
        requested_at = 0.0

        def request_stop() -> None:
            nonlocal requested_at
            requested_at = time.perf_counter()
            requested.set()

        def on_step_end(_pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            self._synchronize()
            marks.append(time.perf_counter())
            if requested.is_set():
                raise RunCancelled
            if stop and step == 1:
                # In the middle of the next step, like a real caller.
                threading.Timer((marks[-1] - marks[-2]) / 2, request_stop).start()
            return tensors

        count = 10_000 if stop else steps
        named = {shape.batch_argument: batch, "num_inference_steps": count, "callback_on_step_end": on_step_end}
        try:
            with torch.inference_mode():
                pipeline(**shape.arguments, **named, output_type="latent")
        except RunCancelled:
            self._synchronize()
        finally:
            pipeline.maybe_free_model_hooks()
        latency_s = time.perf_counter() - requested_at if requested.is_set() else None
        return [later - earlier for earlier, later in pairwise(marks)], latency_s

    def _synchronize(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()


def _verdict(good: bool) -> str:
    return "ok" if good else "FAILED"


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr[-300:]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_check", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small shapes instead of SDXL's and Wan's")
    options = parser.parse_args(arguments)
    clean_environment()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device; use --device cpu --tiny to run without one", file=sys.stderr)
        return 2
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="fmg-") as folder:
        rows = []
        for row in Check(options.device, tiny=options.tiny, folder=Path(folder)).rows():
            print(f"{row[1]:8}{row[0]}: {row[2]}", file=sys.stderr, flush=True)
            rows.append(row)
    print(table(("check", "verdict", "figure"), rows))
    return 1 if any(verdict not in ("ok", "skipped") for _, verdict, _ in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
