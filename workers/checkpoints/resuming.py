"""Choose the checkpoint that a run goes on from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jobs.models.spec import ModelSpec
from jobs.requests.generation import GenerationRequest
from workers.checkpoints import fingerprint, refusals
from workers.checkpoints.contract import CheckpointRefused, Keeper
from workers.checkpoints.file import Checkpoint
from workers.checkpoints.recorder import RunRecorder


def recorders(
    keeper: Keeper | None, spec: ModelSpec, request: GenerationRequest, pipelines: Sequence[Any]
) -> Iterator[RunRecorder]:
    """Yield recorders to try one after the other: from the newest checkpoint that fits, and last from the start.

    Args:
        keeper: has the checkpoints; None: there are none, and none are made.
        spec: the model.
        request: the request.
        pipelines: those of the run.
    """
    if keeper is not None and (why := refusals.why_not(spec, request, pipelines)):
        keeper.unable(why)
        keeper = None
    if keeper is None:
        yield RunRecorder(None)
        return
    of_run = fingerprint.of_run(spec, request, pipelines)
    has_resumed = False
    for path in keeper.candidates():
        try:
            checkpoint = Checkpoint.read(path, of_run)
            recorder = RunRecorder(keeper, of_run, checkpoint)
        except CheckpointRefused as exc:
            keeper.refused(str(exc))
            continue
        keeper.resumed(checkpoint.step)
        has_resumed = True
        yield recorder
    if has_resumed:
        keeper.resumed(0)
    yield RunRecorder(keeper, of_run)
