"""The work of a GPU child, in this process and call by call: real pipelines and a real store.

Torch is imported when it is used: each process of a test run imports the modules of all tests, and few of them run
tests that need torch.
"""

from __future__ import annotations

import io
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.media.inputs import store_image, store_once
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind
from jobs.objects.local import LocalStore
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings
from jobs.store.jobs import JobStore
from jobs.submission import Submission
from tests.support.recordings import video
from tests.support.resolving import resolve
from tests.support.store_driver import StoreDriver
from workers.checkpoints.contract import Keeper
from workers.reporting.reporter import Reporter
from workers.reporting.stop_signal import stop_hint
from workers.spool.sound import Sound

_NUMBERS = count(1)


def gradient() -> Image.Image:
    return Image.merge("RGB", [Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L")])


def half_mask() -> Image.Image:
    """Return a mask whose lower half is white."""
    return Image.linear_gradient("L").point(lambda grey: 255 * (grey > 127))


class StoppedAt(Reporter):
    """A reporter whose job is stopped from outside just before the n-th check whether to continue."""

    def __init__(self, store: JobStore, job_id: str, attempt: int, steps: int, stop_at: int | None) -> None:
        super().__init__(store, job_id, attempt, steps)
        self.store, self.job_id, self.stop_at = store, job_id, stop_at
        self.looks, self.stages, self.steps_done = 0, [""], [0]
        self.resumed_at: list[tuple[int, float | None]] = []

    def check(self) -> None:
        self.looks += 1
        if self.looks == self.stop_at:
            self.store.cancel(self.job_id)
            stop_hint.set()  # the signal to the child does the same
        super().check()

    def resume(self, step: int, share: float | None = None) -> None:
        self.resumed_at.append((step, share))
        super().resume(step, share)

    def stage(self, name: str) -> None:
        self.stages.append(name)
        super().stage(name)

    def step(self, done: int, share: float | None = None) -> None:
        self.steps_done.append(done)
        super().step(done, share)


class Worker:
    """A slot with every model of a models file."""

    def __init__(self, driver: StoreDriver, models_file: Path, folder: Path) -> None:
        from workers.pipelines.cache import PipelineCache

        self.driver, self.models = driver, ModelRegistry.from_file(models_file)
        self.pipelines = PipelineCache(Settings.of(data_dir=folder, models_file=models_file, cpu_threads=1))
        self.objects = LocalStore(folder / "objects")
        driver.open("gpu0", *self.models.names())
        #: Values of the last job.
        self.reporter: StoppedAt
        self.sound: Sound | None = None

    def _inputs(self, kind: str) -> dict[str, Any]:
        """Return stored pictures for this kind, as of a new request."""
        if kind == "mix2img":
            return {"mix": [{"text": "a cat", "weight": 0.3}, {"image": self.stored(gradient()), "weight": 0.7}]}
        if kind == "edit":
            return {"images": [self.stored(gradient())]}
        if kind == "video2video":
            return {"video": self.stored_file(video(), "mp4")}
        image = {"image": self.stored(gradient())} if kind in ("img2img", "inpaint", "img2video") else {}
        return {**image, "mask": self.stored(half_mask())} if kind == "inpaint" else image

    def stored(self, picture: Image.Image) -> str:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        settings, store = self.driver.store.settings, self.driver.store
        return store_image(buffer.getvalue(), settings=settings, objects=self.objects, records=store).key

    def stored_file(self, content: bytes, suffix: str) -> str:
        """Store a video or sound as it is; return its key."""
        return store_once(content, suffix, "", self.objects, self.driver.store)

    def compute(
        self, model: str, stop_at: int | None = None, keeper: Keeper | None = None, **fields: Any
    ) -> np.ndarray:  # fmt: skip
        """Run a job; return (images, frames, height, width, 3). Raises RunCancelled at the ``stop_at``-th check."""
        fields = {
            "model": model,
            "prompt": "a red circle",
            "seed": 7,
            **self._inputs(fields.get("kind", "")),
            **fields,
        }
        if fields.get("kind") == "mix2img":
            del fields["prompt"]
        return self.run(resolve(self.models, fields)[0], stop_at, keeper)

    def run(
        self, request: GenerationRequest, stop_at: int | None = None, keeper: Keeper | None = None
    ) -> np.ndarray:  # fmt: skip
        """Run a job of this request; see :meth:`compute`."""
        from workers.diffusion.generate import generate
        from workers.diffusion.preview import Previews

        spec, store = self.models.get(request.model), self.driver.store
        job_id = f"job{next(_NUMBERS)}"
        store.submit(job_id, Submission(request=request))
        self.driver.start()
        _, attempt = self.driver.at()
        try:
            with StoppedAt(store, job_id, attempt, request.total_steps, stop_at) as self.reporter:
                controls = [control["name"] for control in request.controls or ()]
                pipeline = self.pipelines.get(spec, request.kind, controls=controls)
                prior = self.pipelines.prior(spec)
                previews = Previews(pipeline, request, self.reporter, spec.preview_decoder)
                second = partial(self.pipelines.get, spec, Kind.IMG2IMG, controls=controls)
                made = generate(
                    pipeline, spec, request, self.reporter, self.objects, previews, prior, second, keeper
                )  # fmt: skip
                self.sound = made.sound
                return made.frames
        finally:
            if self.driver.state(job_id) == "running":
                self.driver.finish()
            else:
                store.release(job_id, attempt, slot="gpu0")

    def together(self, model: str, *jobs: dict[str, Any]) -> np.ndarray:
        """Compute jobs in one call; return (jobs, height, width, 3)."""
        from workers.diffusion.preview import Previews
        from workers.diffusion.together import SharedPreviews, generate_together
        from workers.reporting.shared_reporter import SharedReporter

        spec, store = self.models.get(model), self.driver.store
        requests = [resolve(self.models, {"model": model, **fields})[0] for fields in jobs]
        ids = [f"job{next(_NUMBERS)}" for _ in requests]
        for job_id, request in zip(ids, requests, strict=True):
            store.submit(job_id, Submission(request=request))
        self.driver.start()
        others = [job.job_id for job in store.join(ids[0], 1, slot="gpu0", most=len(ids))]
        assert others == ids[1:]
        pipeline = self.pipelines.get(spec, requests[0].kind)
        with ExitStack() as stack:
            reporters = [
                stack.enter_context(Reporter(store, job_id, 1, request.total_steps))
                for job_id, request in zip(ids, requests, strict=True)
            ]
            previews = SharedPreviews([
                Previews(pipeline, request, reporter, None)
                for request, reporter in zip(requests, reporters, strict=True)
            ])  # fmt: skip
            warn = [reporter.warn for reporter in reporters]
            made = generate_together(pipeline, spec, requests, SharedReporter(reporters), previews, warn)
        for job_id in reversed(ids):
            store.finish_run(job_id, 1, slot="gpu0", node="", run_s=1.0)
        return made[:, 0]
