"""``python -m bench.checkpoints``: measure what recording a run costs, how large checkpoints are, and how fast a run
is back where it was.

Runs of the shipped models, and of tiny pipelines of other families, whose steps are so short that their shares say
little. Sizes of large models come from their schedulers on latents of their shapes, without the models. Times are CPU
time of the computing thread, which other programs on the machine do not change; that of writing is of the clock.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import torch

from bench.common import machine, table
from jobs.models.registry import ModelRegistry
from jobs.settings import PROJECT_ROOT, Settings
from tests.support import tiny
from tests.support.resolving import resolve
from workers.checkpoints.call import RecordedCall
from workers.checkpoints.contract import Snapshot
from workers.checkpoints.file import Checkpoint
from workers.checkpoints.packing import Packed
from workers.diffusion.generate import generate
from workers.diffusion.preview import Previews
from workers.pipelines.cache import PipelineCache

SHIPPED = (("demo-image", "text2img"), ("demo-video", "text2video"))
TINY = (("sd", "text2img"), ("sdxl", "text2img"), ("flux", "text2img"), ("wan", "text2video"), ("ltx", "text2video"))
STEPS = 100

#: Name → scheduler, its options, and the shape of the latents as the pipeline has them.
LARGE: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "SDXL, 4 images of 1024 px": ("EulerDiscreteScheduler", {}, (4, 4, 128, 128)),
    "FLUX.1, 1024 px": ("FlowMatchEulerDiscreteScheduler", {}, (1, 4096, 64)),
    "LTX, 768 × 512, 161 frames": ("FlowMatchEulerDiscreteScheduler", {}, (1, 8064, 128)),
    "Wan 2.2 14B, 1280 × 720, 81 frames": (
        "UniPCMultistepScheduler", {"prediction_type": "flow_prediction", "use_flow_sigmas": True}, (1, 16, 21, 90, 160)
    ),
    "HunyuanVideo, 1280 × 720, 129 frames": ("FlowMatchEulerDiscreteScheduler", {}, (1, 16, 33, 90, 160)),
}  # fmt: skip


class QuietReporter:
    """Stands for the reporter, and notes when a replay ended."""

    preview_wanted = False
    replayed_at = 0.0

    def resume(self, *_: Any) -> None:
        self.replayed_at = time.thread_time()

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


class OneFile:
    """A keeper of the checkpoint after one step, with the times of taking and writing it."""

    wants_draft, max_bytes = False, 0

    def __init__(self, file: Path, step: int, *, resumes: bool = False) -> None:
        self._file, self._step, self._resumes = file, step, resumes
        self.take_s = self.write_s = self._asked_at = 0.0

    def candidates(self) -> Iterator[Path]:
        yield from [self._file] if self._resumes else []

    def resumed(self, step: int) -> None:
        assert step == self._step

    def refused(self, why: str) -> None:
        raise AssertionError(why)

    unable = refused

    def is_due(self, step: int) -> bool:
        self._asked_at = time.thread_time()
        return step == self._step

    def keep(self, snapshot: Snapshot) -> None:
        self.take_s = time.thread_time() - self._asked_at
        self.write_s = _written_s(snapshot, self._file)


def _written_s(snapshot: Snapshot, file: Path) -> float:
    begun = time.perf_counter()
    snapshot.write(file)
    return time.perf_counter() - begun


def measure(registry: ModelRegistry, cache: PipelineCache, model: str, kind: str, rounds: int) -> list[object]:
    """Return one row: length of a step, share of recording, size, times, and 100 steps computed and replayed."""
    spec, folder = registry.get(model), Path(tempfile.mkdtemp(prefix="fmb-"))
    request, _ = resolve(registry, {"model": model, "kind": kind, "prompt": "a red circle", "steps": STEPS, "seed": 1})
    pipeline, prior, reporter = cache.get(spec, request.kind), cache.prior(spec), QuietReporter()
    previews = Previews(pipeline, request, reporter, None)  # type: ignore[arg-type]

    def run(keeper: Any) -> tuple[float, float]:
        """Return when it began and ended."""
        begun = time.thread_time()
        generate(
            pipeline, spec, request, reporter, None, previews, prior, lambda: None, keeper  # type: ignore[arg-type]
        )  # fmt: skip
        return begun, time.thread_time()

    file = folder / "checkpoint"
    calm, replayed = [], []
    keeper = OneFile(file, STEPS)
    run(keeper)
    for _ in range(rounds):
        begun, ended = run(None)
        calm.append(ended - begun)
        begun, _ = run(OneFile(file, STEPS, resumes=True))
        replayed.append(reporter.replayed_at - begun)
    whole_s = statistics.median(calm)
    share = recording_s() * STEPS / whole_s
    return [
        model, 1000 * whole_s / STEPS, f"{100 * share:.2f} %", file.stat().st_size / 1024, 1000 * keeper.take_s,
        1000 * keeper.write_s, whole_s, statistics.median(replayed),
    ]  # fmt: skip


class _Denoiser(torch.nn.Module):
    """Takes as many arguments as a UNet, and returns at once."""

    def forward(self, sample: Any, timestep: Any, **_conditions: Any) -> tuple[Any]:
        return (sample,)


class _Stepping:
    """A pipeline of a scheduler and a denoiser that computes nothing."""

    components = {"unet": _Denoiser()}


@cache
def recording_s(steps: int = 900, rounds: int = 9) -> float:
    """Return the seconds that recording adds to a step of one small image: with and without, nothing else computed.

    The difference of two runs of a model is hundreds of times smaller than what the runs differ by themselves.
    """

    def stepped(recorded: RecordedCall | None) -> float:
        scheduler: Any = diffusers.DDIMScheduler()
        if recorded is not None:
            recorded.watch(scheduler)
        scheduler.set_timesteps(steps)
        latents, texts = torch.randn(1, 4, 16, 16), torch.zeros(2, 77, 96)
        begun = time.thread_time()
        for timestep in scheduler.timesteps:
            pair = torch.cat([latents] * 2)
            conditions = {"timestep_cond": None, "cross_attention_kwargs": None, "added_cond_kwargs": {"text": texts}}
            [noise] = _Stepping.components["unet"](pair, timestep, encoder_hidden_states=texts, **conditions)
            latents = scheduler.step(noise.chunk(2)[0], timestep, latents, return_dict=False)[0]
        return time.thread_time() - begun

    differences = []
    with torch.inference_mode():
        for _ in range(rounds):
            recorded = RecordedCall(_Stepping(), [torch.Generator().manual_seed(1)])
            plain_s = stepped(None)
            with recorded.observed():
                differences.append(stepped(recorded) - plain_s)
    return statistics.median(differences) / steps


def size_of(name: str) -> list[object]:
    """Return one row: MiB of a checkpoint in the middle of 30 steps, and milliseconds to take and write it."""
    class_name, options, shape = LARGE[name]
    scheduler = getattr(diffusers, class_name)(**options)
    recorded = RecordedCall(_Stepping(), [torch.Generator().manual_seed(1)])
    with recorded.observed(), torch.inference_mode():
        recorded.watch(scheduler)
        scheduler.set_timesteps(30)
        latents = torch.randn(shape)
        for timestep in scheduler.timesteps[:15]:
            latents = scheduler.step(torch.randn(shape), timestep, latents, return_dict=False)[0]
        begun = time.thread_time()
        checkpoint = Checkpoint.of(15, {}, Packed.of(recorded.state()))
        take_s = time.thread_time() - begun
    with tempfile.TemporaryDirectory(prefix="fmb-") as folder:
        write_s = _written_s(checkpoint, Path(folder, "checkpoint"))
    return [name, checkpoint.bytes / 2**20, 1000 * take_s, 1000 * write_s]


def report(*, short: bool = False) -> str:
    """Return both tables; ``short``: of the shipped image model and of two large ones."""
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory(prefix="fmb-") as folder:
        files: list[tuple[Path, Sequence[tuple[str, str]]]]
        files = [(PROJECT_ROOT / "models.toml", SHIPPED[:1] if short else SHIPPED)]
        if not short:
            files.append((tiny.copy(Path(folder), "families"), TINY))
        rows = []
        for models_file, models in files:
            registry = ModelRegistry.from_file(models_file)
            cache = PipelineCache(Settings.of(data_dir=Path(folder), models_file=models_file, cpu_threads=1))
            rows += [measure(registry, cache, model, kind, rounds=2 if short else 3) for model, kind in models]
    head = ("model", "step ms", "recording", "KiB", "take ms", "write ms", f"{STEPS} steps s",
            "replayed s")  # fmt: skip
    large = list(LARGE)[2:4] if short else list(LARGE)
    sizes = table(("large model", "MiB", "take ms", "write ms"), [size_of(name) for name in large])
    return f"Recording a step: {1e6 * recording_s():.0f} µs.\n\n{table(head, rows)}\n\n{sizes}"


if __name__ == "__main__":
    print(machine(), flush=True)
    print(report(short="--short" in sys.argv))
