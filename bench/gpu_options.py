"""Checks of load options, modular pipelines and sound on a device, as part of ``make gpu-check``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.shapes import Shape
from jobs.errors import ModelLoadFailed
from jobs.models.load_options import QUANTIZATIONS, LoadOptions
from jobs.models.spec import Kind, ModelSpec
from jobs.process.diffusers_names import attention_names
from tests.support.tiny.anima import build_anima
from tests.support.tiny.ltx2 import build_ltx2
from workers.diffusion import pictures
from workers.diffusion.outputs import sounds
from workers.pipelines.cache import PipelineCache

Row = tuple[str, str, str]
#: Runs a call of a pipeline; returns the seconds of its steps.
Run = Callable[[Any, Shape], list[float]]
#: One quantisation of each library is enough to see that it works with the device.
QUANTIZED = ("bitsandbytes_4bit", "torchao_int8", "quanto_int8", "sdnq_int8", "modelopt_fp8")
assert set(QUANTIZED) <= QUANTIZATIONS.keys()


class OptionChecks:
    """Yields rows of (check, verdict, figure) for the options of one model.

    Args:
        cache: models of the device.
        spec: the model, without options.
        shape: its arguments.
        run: calls a pipeline.
    """

    def __init__(self, cache: PipelineCache, spec: ModelSpec, shape: Shape, run: Run) -> None:
        self._cache, self._spec, self._shape, self._run = cache, spec, shape, run
        self._cuda = cache.device.type == "cuda"

    def rows(self) -> Iterator[Row]:
        yield from self.attentions()
        yield from self.loads()

    def attentions(self) -> Iterator[Row]:
        """Run every attention back end of diffusers that needs no download."""
        pipeline = self._cache.get(self._spec, self._spec.kinds[0])
        for name in attention_names():
            what = f"{self._shape.name}: attention {name}"
            if name.endswith("_hub"):
                yield what, "skipped", "needs a download"
                continue
            try:
                pipeline.transformer.set_attention_backend(name)
                figure = self._step(pipeline)
            except Exception as exc:  # back ends refuse in many ways what package, device or shape do not allow
                yield what, "skipped", f"{type(exc).__name__}: {str(exc).partition(chr(10))[0][:120]}"
            else:
                yield what, "ok", figure
        pipeline.transformer.set_attention_backend("native")

    def loads(self) -> Iterator[Row]:
        """Load the model with each option, and run it."""
        options: dict[str, dict[str, Any]] = {
            f"quantization {name}": {"quantization": name} for name in QUANTIZED
        } | {
            "layerwise casting": {"layerwise_casting": "float8_e4m3fn"},
            "group offload of the transformer": {"offload": "group", "group_offload": ("transformer",)},
            "group offload": {"offload": "group"},
            "compiled blocks": {"compile": "default"},
        }  # fmt: skip
        for name, values in options.items():
            yield self._loaded(f"{self._shape.name}: {name}", LoadOptions(**values))

    def _loaded(self, what: str, load: LoadOptions) -> Row:
        if load.compile and not self._cuda:
            return what, "skipped", "needs CUDA"  # minutes for nothing: the compiler of a CPU says nothing about a GPU
        self._cache.unload(self._spec.name)
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        begun = time.perf_counter()
        try:
            pipeline = self._cache.get(replace(self._spec, load=load), self._spec.kinds[0])
        except ModelLoadFailed as exc:
            is_missing = "not installed" in exc.message or "needs" in exc.message
            return what, "skipped" if is_missing else "FAILED", exc.message[:200]
        loaded_s = time.perf_counter() - begun
        self._run(pipeline, self._shape)  # compiles, or fills what is copied ahead
        figure = (
            f"load {loaded_s:.2f} s, first run {time.perf_counter() - begun - loaded_s:.2f} s, {self._step(pipeline)}"
        )
        if self._cuda:
            figure += f", peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB"
        self._cache.unload(self._spec.name)
        return what, "ok", figure

    def _step(self, pipeline: Any) -> str:
        return f"step {1000 * statistics.median(self._run(pipeline, self._shape)[1:]):.1f} ms"


def small_models(cache: PipelineCache, folder: Path) -> Iterator[Row]:
    """Run tiny models of classes that differ from others: modular blocks, and pictures with sound."""
    build_anima(folder / "anima")
    build_ltx2(folder / "ltx2")
    image: dict[str, Any] = {"width": 32, "height": 32}
    clip = {**image, "num_frames": 9, "frame_rate": 8.0, "max_sequence_length": 32}
    models = {
        "modular blocks": (ModelSpec(name="anima", source=str(folder / "anima"), loader="modular",
                                     kinds=(Kind.TEXT2IMG,)), image),
        "sound": (ModelSpec(name="ltx2", source=str(folder / "ltx2"), kinds=(Kind.TEXT2VIDEO,)), clip),
        "modular blocks with sound": (ModelSpec(name="ltx2m", source=str(folder / "ltx2"), loader="modular",
                                                blocks="LTX2AutoBlocks", kinds=(Kind.TEXT2VIDEO,)), clip),
    }  # fmt: skip
    for what, (spec, arguments) in models.items():
        pipeline = cache.get(spec, spec.kinds[0])
        is_video = spec.kinds[0].is_video
        with torch.inference_mode():
            output = pipeline(prompt="rain", num_inference_steps=2, output_type="np", **arguments)
        frames = pictures.of_output(output, is_video=is_video)
        sound = sounds.of_output(pipeline, output) if is_video else None
        good = frames.std() > 0 and (sound is not None) == is_video
        figure = f"{frames.shape[1:]}" + (f", {sound.duration_s:.2f} s at {sound.sample_rate_hz} Hz" if sound else "")
        yield what, "ok" if good else "FAILED", figure
        cache.unload(spec.name)
