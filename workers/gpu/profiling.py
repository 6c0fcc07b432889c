"""Measure how many jobs of a model it pays to compute together, and whether the pictures stay the same."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.errors import BadSetting, ExecutionError
from jobs.model_commands import why_alone
from jobs.models.spec import ModelSpec
from jobs.requests.generation import GenerationRequest
from workers.diffusion.preview import Previews
from workers.diffusion.together import SharedPreviews, generate_together
from workers.gpu import batch_profiles
from workers.gpu.batch_profiles import SizeProfile, best, path_beside
from workers.pipelines.device_errors import is_out_of_memory, release_tensors
from workers.reporting.reporter import Reporter

logger = logging.getLogger(__name__)

#: Calls with each number of jobs; the fastest one counts.
CALLS = 2
#: A picture that was computed with others differs from the same one computed alone by at most this much of 255: on
#: average, and in all but one of a thousand values. Sums are made in another order, as on another kind of GPU.
MEAN_DIFFERENCE, MOST_DIFFERENCE = 1.0, 16
PROMPTS = ("a red circle on a blue background", "a green square on a white background", "a portrait of an old sailor",
           "a lighthouse at dawn, oil on canvas", "an astronaut", "a small yellow triangle", "a bowl of fruit",
           "a street in the rain")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured with one number of jobs."""

    jobs: int
    images_per_s: float = 0.0
    memory_bytes: int = 0
    #: Of values of 255, from the same pictures computed alone: on average, and the 999th of a thousand.
    mean_difference: float = 0.0
    difference: int = 0
    #: Why this number of jobs is not computed together; '' if it may be.
    problem: str = ""


class Profiler:
    """Profiles one model in this process.

    Args:
        pipeline: of the model, in memory.
        spec: the model.
        request: what is computed, for one image; its texts and seed are replaced.
        reporter: of the job that measures.
    """

    def __init__(self, pipeline: Any, spec: ModelSpec, request: GenerationRequest, reporter: Reporter) -> None:
        self._pipeline, self._spec, self._request, self._reporter = pipeline, spec, request, reporter

    def size(self, width: int, height: int, counts: Sequence[int]) -> tuple[SizeProfile, list[Measured]]:
        """Measure pictures of one size, computed in these numbers, the smallest first.

        Raises:
            RunCancelled, RunTimeout: stopped.
            ExecutionError, and whatever the model raises for one picture.
        """
        request = replace(self._request, width=width, height=height)
        alone = [self._pictures([one])[0][0] for one in _requests(request, max(counts))]
        measured: list[Measured] = []
        for jobs in sorted({1, *counts}):
            measured.append(self._measured(_requests(request, jobs), alone))
            if measured[-1].problem:
                break
        rates = {one.jobs: one.images_per_s for one in measured if not one.problem}
        memory = {one.jobs: one.memory_bytes for one in measured if not one.problem}
        profile = SizeProfile(
            width=width, height=height, jobs=best(rates), steps=request.steps, images_per_s=rates, memory_bytes=memory
        )
        return profile, measured

    def _measured(self, requests: list[GenerationRequest], alone: Sequence[np.ndarray]) -> Measured:
        jobs = len(requests)
        try:
            _reset_peak()
            calls = [self._pictures(requests) for _ in range(CALLS)]
        except Exception as exc:
            if jobs == 1:
                raise
            logger.info("not computed together", exc_info=exc, extra={"model": self._spec.name, "jobs": jobs})
            release_tensors(exc)
            short = is_out_of_memory(exc)
            return Measured(jobs=jobs, problem="too little memory" if short else f"{type(exc).__name__}: {exc}"[:300])
        seconds = min(call[1] for call in calls)
        differences = np.abs(np.stack(alone[:jobs]).astype(np.int16) - calls[0][0].astype(np.int16))
        mean, most = float(differences.mean()), int(np.quantile(differences, 0.999))
        is_same = mean <= MEAN_DIFFERENCE and most <= MOST_DIFFERENCE
        return Measured(
            jobs=jobs, images_per_s=jobs / seconds, memory_bytes=_peak_bytes(), mean_difference=round(mean, 3),
            difference=most, problem="" if is_same else "the pictures differ from those computed alone",
        )  # fmt: skip

    def _pictures(self, requests: Sequence[GenerationRequest]) -> tuple[np.ndarray, float]:
        """Return (requests, height, width, 3) uint8 RGB and the seconds they took."""
        previews = SharedPreviews([
            Previews(self._pipeline, request, self._reporter, None) for request in requests
        ])  # fmt: skip
        warn = [lambda _text: None] * len(requests)
        begun = time.monotonic()
        frames = generate_together(self._pipeline, self._spec, requests, self._reporter, previews, warn)
        return frames[:, 0], time.monotonic() - begun


def profile(
    pipeline: Any, spec: ModelSpec, request: GenerationRequest, reporter: Reporter, device: str, models_file: Path,
    *, sizes: Sequence[tuple[int, int]], counts: Sequence[int],
) -> dict[str, Any]:  # fmt: skip
    """Measure a model and write its table beside the models file.

    Args:
        pipeline, spec, request, reporter: see :class:`Profiler`.
        device: name of the device.
        models_file: the models file.
        sizes: widths and heights, pixels.
        counts: numbers of jobs.

    Returns:
        The report: what was measured, and where it was written or why not.

    Raises:
        ExecutionError: jobs of this model cannot be computed together; and as :meth:`Profiler.size`.
    """
    if why := why_alone(spec, request):
        raise ExecutionError(f"jobs of {spec.name} are computed alone: {why}")
    profiler, shown, profiles = Profiler(pipeline, spec, request, reporter), [], []
    for width, height in sizes:
        size, measured = profiler.size(width, height, counts)
        profiles.append(size)
        rows = [asdict(one) for one in measured]
        shown.append({"width": width, "height": height, "steps": size.steps, "jobs": size.jobs, "measured": rows})
    path, problem = path_beside(models_file), ""
    try:
        batch_profiles.write(path, spec.name, device, profiles)
    except (OSError, BadSetting) as exc:
        problem = exc.message if isinstance(exc, BadSetting) else f"{path}: {exc.strerror}"
    text = batch_profiles.written({spec.name: {device: profiles}})
    return {"device": device, "sizes": shown, "file": "" if problem else str(path), "problem": problem, "table": text}


def _requests(request: GenerationRequest, number: int) -> list[GenerationRequest]:
    return [replace(request, prompt=PROMPTS[n % len(PROMPTS)], seed=n) for n in range(number)]


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(OSError):  # "5" sets the peak of the process to what it uses now (man proc_pid_clear_refs)
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    """Return the most memory since the last :func:`_reset_peak`: of the device, on a CPU of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
