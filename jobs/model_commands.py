"""Model commands: load, unload or check a model in a slot.

A command is a job that is pinned to its slot. It runs between two other jobs, is listed and cancelled like them, and
runs again if its worker dies. It has no output; its result is the job's ``report``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jobs.callers import ANYBODY, Caller
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind, ModelSpec
from jobs.requests import generation as requests
from jobs.submission import Submission

#: ``check`` loads the model and computes a job with the fewest steps.
COMMANDS = ("load", "unload", "check")


def default_kind(spec: ModelSpec) -> Kind:
    """Return the kind that a command uses if it names none: one without inputs if there is one."""
    return next((kind for kind in spec.kinds if not kind.inputs), spec.kinds[0])


def submission(
    command: str,
    models: ModelRegistry,
    spec: ModelSpec,
    slot: str,
    *,
    kind: Kind | None = None,
    files: Mapping[str, str] | None = None,
    caller: Caller = ANYBODY,
) -> Submission:
    """Return the job that makes ``slot`` carry out a command.

    Args:
        command: one of :data:`COMMANDS`.
        models: the models.
        spec: the model.
        slot: name of the slot.
        kind: kind of the job that a check computes; None: the first one without inputs, else the first.
        files: object-store keys of an ``image`` and a ``video``, to check a model that needs one.
        caller: who gives the command.
    """
    kind = kind or default_kind(spec)
    steps = int(max(1, spec.limit("steps").low))
    fields = {"model": spec.name, "kind": kind, "prompt": "", "steps": steps, "seed": 0}
    given = {"image": "none", "video": "none", **(files or {})}
    fields |= dict.fromkeys(kind.inputs & {"image", "mask"}, given["image"])
    fields |= dict.fromkeys(kind.inputs & {"video"}, given["video"])
    if "images" in kind.inputs:
        fields |= {"images": [given["image"]] * int(spec.limit("images").low)}
    if "mix" in kind.inputs:
        fields |= {"mix": [{"text": "", "weight": 1.0}]}
    if kind.has_strength:
        fields |= {"strength": 1.0}
    request, _ = requests.resolve(models, fields)
    if not files:  # only a check computes, and it comes with the files that it needs
        request = replace(request, image=None, images=None, mask=None, video=None)
    return Submission(request=request, caller=caller, pin=slot, command=command, webhook=False)
