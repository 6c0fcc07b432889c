"""From a request to the arguments of a pipeline's call."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from jobs.errors import ExecutionError
from jobs.models.spec import ModelSpec
from jobs.requests.generation import GenerationRequest

#: Field of a request → argument of a call. ``fields`` of the model wins.
USUAL: dict[str, str] = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "steps": "num_inference_steps",
    "guidance_scale": "guidance_scale",
    "width": "width",
    "height": "height",
    "frames": "num_frames",
    "fps": "frame_rate",
    "image": "image",
    "mask": "mask_image",
    "strength": "strength",
    "num_images": "num_images_per_prompt",
    "seed": "generator",
}


def batches(pipeline: Any, spec: ModelSpec, request: GenerationRequest, *, has_prior: bool) -> list[list[int]]:
    """Indexes of the images that are computed together: all at once where the pipeline can, else one by one.

    So that each can be made again alone: a prior shares its noise among the images of a batch, and pipelines that
    encode an input take the noise for that from the first image's generator.
    """
    images = list(range(request.num_images))
    together = not has_prior and not request.inputs and "num_images" in _names(pipeline, spec, request)
    return [images] if together else [[index] for index in images]


def of(
    pipeline: Any, spec: ModelSpec, request: GenerationRequest, inputs: Mapping[str, Any],
    generators: Sequence[torch.Generator],
) -> dict[str, Any]:  # fmt: skip
    """The call's arguments for images with the noise of these generators; the model's own ones win.

    Args:
        pipeline: the pipeline.
        spec: its model.
        request: the request.
        inputs: the pictures that go in, by field (:mod:`workers.diffusion.inpainting`).
        generators: one for each image.

    Raises:
        ExecutionError: the models file names an argument that the pipeline does not have.
    """
    values: dict[str, Any] = {
        "prompt": request.prompt,
        "steps": request.steps,
        "guidance_scale": request.guidance_scale,
        "width": request.width,
        "height": request.height,
        "seed": list(generators) if len(generators) > 1 else generators[0],
        **inputs,
    }
    if request.negative_prompt:
        values["negative_prompt"] = request.negative_prompt
    if request.kind.is_video:
        values |= {"frames": request.frames, "fps": request.fps}
    else:
        values["num_images"] = len(generators)
    if request.strength is not None:
        values["strength"] = request.strength
    names = _names(pipeline, spec, request)
    arguments = {names[name]: value for name, value in values.items() if name in names}
    if "output_type" in accepted(pipeline):
        arguments["output_type"] = "np"
    return arguments | spec.arguments_of(request.kind)


def takes(pipeline: Any, spec: ModelSpec, request: GenerationRequest, *fields: str) -> bool:
    """Whether these fields of the request reach the pipeline."""
    return set(fields) <= _names(pipeline, spec, request).keys()


def accepted(pipeline: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a pipeline's call."""
    return inspect.signature(pipeline.__call__).parameters


def _names(pipeline: Any, spec: ModelSpec, request: GenerationRequest) -> dict[str, str]:
    """The argument of each field that the pipeline takes."""
    known, own = accepted(pipeline), spec.fields_of(request.kind)
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())
    found = {}
    for name, usual in USUAL.items():
        if name in own:
            if own[name] and own[name] not in known and not open_ended:
                rule = f"{type(pipeline).__name__} has no argument {own[name]!r} (models file, fields.{name})"
                raise ExecutionError(rule)
            if own[name]:
                found[name] = own[name]
        elif usual in known:
            found[name] = usual
    return found
