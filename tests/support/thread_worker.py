"""A GPU worker in a thread: draws pictures step by step, and delivers them like a delivery worker."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image

from jobs.errors import RunCancelled, RunInterrupted
from jobs.formats import FORMATS
from jobs.objects.base import ObjectStore
from jobs.record import Job, Output
from jobs.settings import Settings
from jobs.store.jobs import JobStore
from workers.checkpoints.keeper import RunKeeper
from workers.delivery import encode
from workers.gpu.drawing import draw
from workers.gpu.noop import count_steps
from workers.reporting.reporter import Reporter

#: Jobs of this model fail.
BROKEN = "broken"
#: Interval at which it looks for a job, seconds.
LOOK_S = 0.01


class _NoReport:
    """Ignores the steps of pictures that are drawn at once."""

    def stage(self, name: str) -> None:
        pass

    def step(self, done: int) -> None:
        pass

    def preview_due(self) -> bool:
        return False


class ThreadWorker:
    """One slot.

    Args:
        settings: settings of the server.
        objects: store of the outputs.
        slot: name of the slot.
        models: models that it runs.
        step_s: duration of each step, seconds.
    """

    def __init__(
        self, settings: Settings, objects: ObjectStore, slot: str, models: tuple[str, ...], step_s: float = 0.0
    ) -> None:  # fmt: skip
        self._store, self._objects, self.slot, self._models = JobStore(settings), objects, slot, models
        self.step_s = step_s
        #: Deliveries wait while this is not set.
        self.delivers = threading.Event()
        self.delivers.set()
        #: Holder of the slot's lease.
        self.owner = f"thread:1:{secrets.token_hex(4)}"
        self._stopping = threading.Event()
        self._deliveries: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run, name=f"worker {slot}", daemon=True)

    def start(self) -> ThreadWorker:
        self._store.register(self.slot, self.owner, {"models": json.dumps(self._models), "resident": ""})
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop after the current step, and when what was computed is delivered."""
        self._stopping.set()
        self.delivers.set()
        self._thread.join()
        for delivery in self._deliveries:
            delivery.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            beat = self._store.heartbeat(self.slot, self.owner, {})
            if beat.job_id:
                self._compute(beat.job_id, beat.attempt)

    def _compute(self, job_id: str, attempt: int) -> None:
        run = secrets.token_hex(8)
        job = self._store.start(job_id, attempt, slot=self.slot, owner=self.owner, device="cpu", run=run)
        if job is None:
            return
        begun = time.monotonic()
        if job.request.model == BROKEN:
            self._store.fail(job_id, attempt, code="model_load_failed", message="no such folder", slot=self.slot)
            return
        try:
            steps, step = job.request.total_steps, job.step or 0
            with Reporter(self._store, job_id, attempt, steps, step=step, preview=job.preview) as reporter:
                self._count_steps(job, attempt, reporter)
        except RunCancelled:
            self._store.release(job_id, attempt, slot=self.slot)
            return
        except RunInterrupted as exc:
            self._store.hand_over(job_id, attempt, slot=self.slot, pauses=exc.pauses)
            return
        self._store.finish_run(job_id, attempt, slot=self.slot, node="thread", run_s=time.monotonic() - begun)
        self._deliveries = [one for one in self._deliveries if one.is_alive()]
        self._deliveries.append(threading.Thread(target=self._deliver, args=(job, attempt), daemon=True))
        self._deliveries[-1].start()

    def _count_steps(self, job: Job, attempt: int, reporter: Reporter) -> None:
        def show(step: int) -> None:
            reporter.preview(step, lambda: _preview(job))

        def after_step(step: int) -> None:
            if reporter.preview_due():
                show(step)
            if self._stopping.is_set():
                raise RunCancelled
            if step < job.request.total_steps:
                time.sleep(self.step_s)

        time.sleep(self.step_s)
        keeper = RunKeeper(self._store, job, attempt, reporter, 0, lambda: self._objects)
        count_steps(job.request, reporter, after_step, keeper, show)

    def _deliver(self, job: Job, attempt: int) -> None:
        self.delivers.wait()
        number = self._store.claim(job.job_id, attempt, self.owner)
        outputs = self._outputs(job, f"outputs/{job.job_id}/{attempt}.{number}")
        self._store.deliver(job.job_id, attempt, self.owner, outputs)

    def _outputs(self, job: Job, prefix: str) -> list[Output]:
        request, report = job.request, _NoReport()
        name = encode.output_format(request)
        outputs = []
        with tempfile.TemporaryDirectory() as folder:
            for index, clip in enumerate(draw(request, report)):  # type: ignore[arg-type]
                path = Path(folder, f"{index}.{FORMATS[name].suffix}")
                written = encode.write(clip, path, request, {"job_id": job.job_id, "index": index})
                content, media_type = path.read_bytes(), FORMATS[name].media_type
                self._objects.put_bytes(f"{prefix}/{path.name}", content, media_type)
                outputs.append(
                    Output(
                        key=f"{prefix}/{path.name}", media_type=media_type, bytes=len(content), width=written.width,
                        height=written.height, sha256=hashlib.sha256(content).hexdigest(), frames=len(clip),
                    )
                )  # fmt: skip
        return outputs


def _preview(job: Job) -> tuple[bytes, str]:
    file = io.BytesIO()
    Image.new("RGB", job.request.output_size).save(file, "JPEG")
    return file.getvalue(), "image/jpeg"
