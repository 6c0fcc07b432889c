"""Commands to a slot about a model: load it, unload it, check it.

A command is a job: pinned to its slot, it runs between two other jobs and never during one, is seen and cancelled
like them, and outlives the worker that dies of it. It has no output; what it found is its ``report``.
"""

from __future__ import annotations

from dataclasses import replace

from jobs.callers import ANYBODY, Caller
from jobs.models.registry import ModelRegistry
from jobs.models.spec import ModelSpec
from jobs.requests import generation as requests
from jobs.submission import Submission

#: ``check`` loads the model and computes its shortest job.
COMMANDS = ("load", "unload", "check")


def submission(
    command: str,
    models: ModelRegistry,
    spec: ModelSpec,
    slot: str,
    *,
    image: str | None = None,
    caller: Caller = ANYBODY,
) -> Submission:
    """The job that has ``slot`` carry out one of :data:`COMMANDS`.

    Args:
        command: what to do.
        models: the models.
        spec: the model.
        slot: who does it.
        image: object-store key of an input image, for the check of a model that needs one.
        caller: who asked.
    """
    kind = next((kind for kind in spec.kinds if not kind.inputs), spec.kinds[0])
    steps = int(max(1, spec.limit("steps").low))
    fields = {"model": spec.name, "kind": kind, "prompt": "", "steps": steps, "seed": 0}
    fields |= dict.fromkeys(kind.inputs & {"image", "mask"}, image or "none")
    if "mix" in kind.inputs:
        fields |= {"mix": [{"text": "", "weight": 1.0}]}
    if kind.has_strength:
        fields |= {"strength": 1.0}
    request, _ = requests.resolve(models, fields)
    if image is None:  # only a check computes, and it brings its image
        request = replace(request, image=None, mask=None)
    return Submission(request=request, caller=caller, pin=slot, command=command, webhook=False)
