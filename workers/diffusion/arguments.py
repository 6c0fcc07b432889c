"""Build the arguments of a pipeline's call from a request."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from jobs.errors import ExecutionError
from jobs.models.spec import ModelSpec
from jobs.requests.generation import GenerationRequest
from workers.diffusion.inputs import joint

#: Field of a request → argument of a call. ``fields`` in the models file overrides it.
DEFAULT_NAMES: dict[str, str] = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "steps": "num_inference_steps",
    "guidance_scale": "guidance_scale",
    "width": "width",
    "height": "height",
    "frames": "num_frames",
    "fps": "frame_rate",
    "image": "image",
    "images": "image",
    "mask": "mask_image",
    "strength": "strength",
    "num_images": "num_images_per_prompt",
    "seed": "generator",
    "audio_output": "sample_audio",
    "video": "video",
    # Only passed if the models file names an argument.
    "last_image": "",
    "audio": "",
    "clip_skip": "",
    "distilled_guidance_scale": "",
}

#: Pipelines that take width for height and height for width, and turn the input image accordingly.
SWAPPING_SIDES = frozenset(
    {"KandinskyImg2ImgPipeline", "KandinskyV22Img2ImgPipeline", "KandinskyV22ControlnetImg2ImgPipeline"}
)


def batches(pipeline: Any, spec: ModelSpec, request: GenerationRequest, *, has_prior: bool) -> list[list[int]]:
    """Return the indexes of the images of each call: all in one call if each image is then reproducible, else one each.

    In a batch a prior shares its noise among the images, and pipelines that encode an input take the noise for it from
    the first image's generator; such images could not be reproduced alone.
    """
    images = list(range(request.num_images))
    together = not has_prior and not request.inputs and "num_images" in _names(pipeline, spec, request)
    return [images] if together else [[index] for index in images]


def of(
    pipeline: Any, spec: ModelSpec, request: GenerationRequest, inputs: Mapping[str, Any],
    generators: Sequence[torch.Generator],
) -> dict[str, Any]:  # fmt: skip
    """Return the arguments of one call. Fixed ``arguments`` of the models file override all others.

    Args:
        pipeline: the pipeline.
        spec: its model.
        request: the request.
        inputs: the input files by field (:mod:`workers.diffusion.inputs.reading`).
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
    for name in ("clip_skip", "distilled_guidance_scale"):
        if (value := getattr(request, name)) is not None:
            values[name] = value
    if request.kind.is_video:
        values |= {"frames": request.frames, "fps": request.fps}
        if request.audio_output is not None:
            values["audio_output"] = request.audio_output
    else:
        values["num_images"] = len(generators)
    if request.strength is not None:
        values["strength"] = request.strength
    if type(pipeline).__name__ in SWAPPING_SIDES:
        values |= {"width": request.height, "height": request.width}
    names = _names(pipeline, spec, request)
    together = {
        argument: {name: inputs[name] for name in fields if name in inputs and names.get(name) == argument}
        for argument, fields in joint.ARGUMENTS.items()
    }
    joined = {name for given in together.values() for name in given}
    arguments = {names[name]: value for name, value in values.items() if name in names and name not in joined}
    for argument, given in together.items():
        if given:
            arguments[argument] = joint.value(
                argument, pipeline, given, frames=request.frames, fps=request.fps, rate_hz=spec.audio_rate_hz
            )
    if "audio" in inputs and "audio" not in joined and "audio" in names:
        arguments[names["audio"]] = joint.sound(names["audio"], inputs["audio"], inputs.get("images"))
        arguments |= {name: spec.audio_rate_hz for name in joint.RATES if name in accepted(pipeline)}
    if "output_type" in accepted(pipeline):
        arguments["output_type"] = "np"
    if "max_area" in accepted(pipeline):  # FLUX.1 Kontext takes the shape of width × height, and this area
        arguments["max_area"] = request.width * request.height
    return arguments | spec.arguments_of(request.kind)


def of_several(
    pipeline: Any, spec: ModelSpec, requests: Sequence[GenerationRequest], generators: Sequence[torch.Generator]
) -> dict[str, Any]:
    """Return the arguments of one call for several requests that differ in texts and seed only.

    Raises:
        ExecutionError: the pipeline takes no prompt or no seed, or the models file sets one of them for all requests.
    """
    names, fixed = _names(pipeline, spec, requests[0]), spec.arguments_of(requests[0].kind)
    own = {"prompt": [one.prompt for one in requests], "seed": list(generators)}
    if requests[0].negative_prompt:
        own["negative_prompt"] = [one.negative_prompt for one in requests]
    if lacking := [name for name in own if name not in names or names[name] in fixed]:
        raise ExecutionError(f"{type(pipeline).__name__} takes no {' and no '.join(lacking)} of each picture")
    arguments = of(pipeline, spec, requests[0], {}, generators)
    if "num_images" in names and names["num_images"] not in fixed:
        arguments[names["num_images"]] = 1
    return arguments | {names[name]: values for name, values in own.items()}


def takes(pipeline: Any, spec: ModelSpec, request: GenerationRequest, *fields: str) -> bool:
    """Return whether the pipeline takes all of these fields of the request."""
    return set(fields) <= _names(pipeline, spec, request).keys()


def accepted(pipeline: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a pipeline's call."""
    return inspect.signature(pipeline.__call__).parameters


def _names(pipeline: Any, spec: ModelSpec, request: GenerationRequest) -> dict[str, str]:
    """Return the argument name of each field that the pipeline takes."""
    parameters, overrides = accepted(pipeline), spec.fields_of(request.kind)
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    names = {}
    for field, default in DEFAULT_NAMES.items():
        if field not in overrides:
            if default in parameters:
                names[field] = default
        elif argument := overrides[field]:
            if argument not in parameters and not takes_any:
                rule = f"{type(pipeline).__name__} has no argument {argument!r} (models file, fields.{field})"
                raise ExecutionError(rule)
            names[field] = argument
    return names
