"""Compute a request on a diffusers pipeline: image or video, one or two passes, with progress and stop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from jobs.errors import ExecutionError, FramemillError
from jobs.models.spec import Kind, ModelSpec
from jobs.objects.reading import Readable
from jobs.requests.generation import GenerationRequest
from workers.checkpoints import resuming
from workers.checkpoints.contract import CheckpointRefused, Keeper
from workers.diffusion.preview import Previews
from workers.diffusion.run import Generated, Run
from workers.pipelines.device_errors import is_device_lost, is_out_of_memory, release_tensors
from workers.reporting.reporter import Reporter

logger = logging.getLogger(__name__)


def generate(
    pipeline: Any, spec: ModelSpec, request: GenerationRequest, reporter: Reporter, objects: Readable | None,
    previews: Previews, prior: Any, second_pipeline: Callable[[], Any], keeper: Keeper | None = None,
) -> Generated:  # fmt: skip
    """Compute one request, or its rest. The pipeline is afterwards in the same state as before.

    Args:
        pipeline: the pipeline for this kind of request.
        spec: its model.
        request: the request.
        reporter: reports every step and stops the run.
        objects: where input images are stored; None if the request has none.
        previews: receives the latents of every step.
        prior: the pipeline that computes the embeddings; None if the model has none.
        second_pipeline: returns the pipeline of the second pass, when the first pass is over.
        keeper: has the checkpoint to go on from, and stores those of this run; None: there are none.

    Raises:
        RunCancelled: stopped, within one step. The pipeline stays usable.
        RunInterrupted: stopped after a step, with a checkpoint.
        ExecutionError: the output is not a picture, or the pipeline cannot do what the models file says.
    """
    if request.kind is Kind.MIX2IMG and prior is None:
        raise ExecutionError("mix2img needs a prior (models file)")
    if request.prior and prior is None:
        raise ExecutionError("prior: the model has none")
    pipelines = [pipeline] if prior is None else [pipeline, prior]
    for recorder in resuming.recorders(keeper, spec, request, pipelines):
        run = Run(spec, request, reporter, previews, objects, recorder)
        try:
            return run.outputs(pipeline, prior, second_pipeline)
        except Exception as exc:
            of_the_run = isinstance(exc, FramemillError) or is_out_of_memory(exc) or is_device_lost(exc)
            if keeper is None or not recorder.is_replaying or of_the_run:
                raise
            logger.warning("checkpoint not usable", exc_info=exc, extra={"model": spec.name})
            release_tensors(exc)
            keeper.refused(str(exc) if isinstance(exc, CheckpointRefused) else f"{type(exc).__name__}: {exc}"[:300])
    raise AssertionError("the last recorder begins at the start")
