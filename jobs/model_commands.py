"""Model commands: load, unload, check or profile a model in a slot.

A command is a job that is pinned to its slot. It runs between two other jobs, is listed and cancelled like them, and
runs again if its worker dies. It has no output; its result is the job's ``report``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from jobs.callers import ANYBODY, Caller
from jobs.errors import Conflict
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind, ModelSpec
from jobs.requests import generation as requests
from jobs.requests.generation import GenerationRequest
from jobs.submission import Submission

#: ``check`` loads the model and computes a job with the fewest steps, and one with each of its
#: controls. ``profile`` measures how many jobs of it pay to be computed together.
COMMANDS = ("load", "unload", "check", "profile")
#: Steps of the pictures of a profile, unless the model makes fewer.
PROFILE_STEPS = 10
#: Numbers of jobs that a profile measures unless others are named; the largest number; and most numbers and sizes.
BATCHES, MOST_JOBS, MOST_ENTRIES = (1, 2, 4, 8), 64, 8


def default_kind(spec: ModelSpec) -> Kind:
    """Return the kind that a command uses if it names none: one without inputs if there is one."""
    return next((kind for kind in spec.kinds if not kind.inputs), spec.kinds[0])


def why_alone(spec: ModelSpec, request: GenerationRequest) -> str:
    """Return why jobs of this request are never computed together; '' if they may be."""
    if spec.executor != "diffusers" or spec.loader != "pipeline":
        return "only pipelines of diffusers compute several jobs together"
    if spec.has_prior:
        return "its prior takes one text"
    if spec.prompt_weighting:
        return "prompts with weights are encoded one by one"
    if spec.load.compile:
        return "a compiled model would be compiled again for each number of jobs"
    if spec.step_cache(request.quality):
        return "a step cache decides for all pictures of a call at once"
    if request.kind is not Kind.TEXT2IMG or request.inputs:
        return "only text2img without input files is computed together"
    if request.num_images > 1 or request.hires or request.variation or request.prior:
        return "several images, hires and variations need calls of their own"
    return ""


def profile_submission(
    models: ModelRegistry, spec: ModelSpec, slot: str, *, sizes: Sequence[tuple[int, int]], batches: Sequence[int],
    caller: Caller = ANYBODY,
) -> Submission:  # fmt: skip
    """Return the job that makes ``slot`` profile a model.

    Args:
        models, spec, slot, caller: see :func:`submission`.
        sizes: widths and heights, pixels; empty: the model's default size.
        batches: numbers of jobs; empty: :data:`BATCHES`.

    Raises:
        InvalidRequest: the model does not make pictures of a size.
        Conflict: its jobs are never computed together.
    """
    if Kind.TEXT2IMG not in spec.kinds:
        raise Conflict(f"model {spec.name} has no text2img: only jobs of that kind are computed together")
    steps = int(spec.limit("steps").clamped(min(spec.default("steps"), PROFILE_STEPS)))
    fields = {"model": spec.name, "kind": Kind.TEXT2IMG, "prompt": "a red circle", "steps": steps, "seed": 0}
    given = sizes or [(spec.default("width"), spec.default("height"))]
    wanted = [requests.resolve(models, {**fields, "width": w, "height": h})[0] for w, h in given]
    if why := why_alone(spec, wanted[0]):
        raise Conflict(f"jobs of model {spec.name} are computed alone: {why}")
    profile = {
        "sizes": [list(size) for size in dict.fromkeys((one.width, one.height) for one in wanted)],
        "batches": sorted({1, *(batches or BATCHES)}),
    }
    return Submission(
        request=wanted[0], caller=caller, pin=slot, command="profile", command_options=profile, webhook=False
    )


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
        files: object-store keys of an ``image`` and a ``video``, to check a model that needs one, or has controls.
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
    elif controls := [spec.controls[name] for name in spec.controls_of(kind)]:
        # More than a request may have: a check uses them one after the other.
        values = ({"scale": one.scale, "start": one.start, "end": one.end} for one in controls)
        used = [{"name": one.name, "image": files["image"], **its} for one, its in zip(controls, values, strict=True)]
        request = replace(request, controls=used)
    return Submission(request=request, caller=caller, pin=slot, command=command, webhook=False)
