"""Jobs of every kind on a device, computed as a GPU worker computes them: part of ``make gpu-check``.

The models are tiny ones of the real classes. What is checked is that each feature works with the device: its number
formats, its generators, its memory, and copies to and from it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import LTXPipeline
from PIL import Image

from bench.common import short_folder
from jobs.errors import RunCancelled
from tests.support import tiny
from tests.support.computing import Worker, gradient
from tests.support.gguf_files import write_gguf
from tests.support.harness import Stack
from tests.support.recordings import sound, video
from tests.support.store_driver import StoreDriver

Row = tuple[str, str, str]

#: Models beside those of all families.
_MORE = """
[weighted]
source = "./sdxl"
kinds = ["text2img"]
prompt_weighting = true
defaults = { steps = 4, width = 32, height = 32 }

[cached]
source = "./wan/t2v"
kinds = ["text2video"]
size_multiple_px = 16
frames_step = 4
arguments = { max_sequence_length = 16 }
defaults = { steps = 6, width = 16, height = 16, frames = 5, fps = 8 }
[cached.quality.draft]
steps = 4
step_cache = { method = "first_block", threshold = 0.5 }
[cached.quality.high]
step_cache = { method = "pyramid_attention", spatial_attention_block_skip_range = 2 }

[gguf]
source = "./ltx"
kinds = ["text2video"]
frames_step = 8
gguf = { transformer = "transformer.gguf" }
defaults = { steps = 4, width = 32, height = 32, frames = 9, fps = 8 }

[compiled]
source = "./ltx"
kinds = ["text2video"]
frames_step = 8
compile = "default"
defaults = { steps = 4, width = 32, height = 32, frames = 9, fps = 8 }

[offloaded]
source = "./ltx"
kinds = ["text2video"]
frames_step = 8
offload = "group"
group_offload = ["text_encoder"]
defaults = { steps = 4, width = 32, height = 32, frames = 9, fps = 8 }
"""


@dataclass(frozen=True)
class _Job:
    """A job, and what shows that its feature had an effect."""

    model: str
    fields: dict[str, Any] = field(default_factory=dict)
    #: Fields of a second job whose output must differ.
    other: dict[str, Any] | None = None
    has_sound: bool = False
    needs_cuda: bool = False


def _jobs(worker: Worker) -> dict[str, _Job]:
    """Return the jobs by what they check."""
    red, blue = (worker.stored(Image.new("RGB", (32, 32), colour)) for colour in ("red", "blue"))
    large = [worker.stored(Image.new("RGB", (64, 64), colour)) for colour in ("red", "blue")]
    picture, clip = worker.stored(gradient()), worker.stored_file(video(), "mp4")
    high, low = (worker.stored_file(sound("wav", seconds=1.2, hz=hz), "wav") for hz in (2000, 300))
    text, image = {"kind": "text2video"}, {"kind": "img2video", "image": picture}

    def controls(*names: str, of: str = red) -> dict[str, Any]:
        return {"controls": [{"name": name, "image": of} for name in names]}

    return {
        "LoRA": _Job("sd", {"loras": [{"name": "glow", "weight": 1.0}]}, {}),
        "two ControlNets": _Job("sd", controls("edges", "depth"), controls("edges", "depth", of=picture)),
        "IP-Adapter": _Job("sd", controls("style"), {}),
        "ControlNet of a transformer": _Job("flux", controls("edges"), {}),
        "several images": _Job("sd", {"num_images": 2}),
        "img2img": _Job("sdxl", {"kind": "img2img", "image": red}, {"kind": "img2img", "image": blue}),
        "inpaint": _Job("sdxl", {"kind": "inpaint"}),
        "second pass": _Job("sd", {"hires": {"width": 48, "height": 48, "strength": 0.7}}),
        "prior": _Job("kandinsky", {}, {"prompt": "a blue square"}),
        "weights in a prompt": _Job("weighted", {"prompt": "a (cat:1.5) BREAK hat"}, {"prompt": "a cat BREAK hat"}),
        "two reference images": _Job(
            "flux2", {"kind": "edit", "images": large}, {"kind": "edit", "images": large[::-1]}
        ),
        "last image": _Job("ltx-conditions", {**image, "last_image": red}, {**image, "last_image": blue}),
        "video to video": _Job("wan-v2v", {"kind": "video2video", "video": clip}),
        "a video made longer": _Job("ltx-conditions", {"kind": "video2video", "video": clip, "frames": 17}),
        "two denoisers": _Job("wan-high-low"),
        "sound": _Job("ltx2", text, has_sound=True),
        "sound that drives a video": _Job(
            "ltx2-talking", {**text, "audio": high}, {**text, "audio": low}, has_sound=True
        ),
        "modular blocks": _Job("anima"),
        "quality draft: first-block cache": _Job("cached", {"quality": "draft"}, {"steps": 4}),
        "quality high: pyramid attention": _Job("cached", {"quality": "high"}),
        "GGUF": _Job("gguf"),
        "group offload of a text encoder": _Job("offloaded"),
        "compiled blocks, again after a warm-up": _Job("compiled", needs_cuda=True),
    }  # fmt: skip


def rows(folder: Path, *, is_cuda: bool) -> Iterator[Row]:
    """Yield rows of (check, verdict, figure)."""
    models_file = tiny.copy(folder / "families", "families")
    models_file.write_text(models_file.read_text() + _MORE)
    transformer = LTXPipeline.from_pretrained(models_file.parent / "ltx", use_safetensors=True).transformer
    write_gguf(transformer, models_file.parent / "transformer.gguf")
    with short_folder() as short:
        stack = Stack(short, models_file)
        stack.redis.start()
        try:
            worker = Worker(StoreDriver(stack.settings), models_file, short)
            for what, job in _jobs(worker).items():
                yield _row(worker, what, job, is_cuda=is_cuda)
            yield _stopped(worker)
        finally:
            stack.redis.stop()


def _row(worker: Worker, what: str, job: _Job, *, is_cuda: bool) -> Row:
    what = f"job: {what}"
    if job.needs_cuda and not is_cuda:
        return what, "skipped", "needs CUDA"
    try:
        begun = time.perf_counter()
        frames = worker.compute(job.model, **job.fields)
        first_s, begun = time.perf_counter() - begun, time.perf_counter()
        sound_is_right = (worker.sound is not None) == job.has_sound
        other = worker.compute(job.model, **(job.fields if job.other is None else job.other))
        second_s = time.perf_counter() - begun
    except Exception as exc:  # a check that fails must not end those after it
        return what, "FAILED", f"{type(exc).__name__}: {str(exc)[:200]}"
    finally:
        for spec in worker.models:
            worker.pipelines.unload(spec.name)
    differs = not np.array_equal(frames, other)
    problems = [
        *(["one colour"] if frames.std() == 0 else []),
        *([] if sound_is_right else ["its sound is missing" if job.has_sound else "it has sound"]),
        *(["it does not repeat itself"] if job.other is None and differs and not is_cuda else []),
        *(["it has no effect"] if job.other is not None and not differs else []),
    ]
    return what, "FAILED" if problems else "ok", ", ".join(problems) or f"{first_s:.2f} s, again {second_s:.2f} s"


def _stopped(worker: Worker) -> Row:
    """Stop a long job between two steps."""
    try:
        worker.compute("sd", steps=200, stop_at=6)
    except RunCancelled:
        return "job: stop", "ok", f"after {worker.reporter.steps_done[-1]} of 200 steps"
    return "job: stop", "FAILED", "it went on"
