"""Run the prior of a model: a pipeline that turns texts and images into the embeddings of the decoder."""

from __future__ import annotations

from typing import Any

import torch

from jobs.errors import ExecutionError
from jobs.models.spec import ModelSpec
from jobs.objects.reading import Readable
from jobs.requests.generation import GenerationRequest
from workers.diffusion import arguments, noise
from workers.diffusion.inputs import reading

#: Field of the request's ``prior`` → argument of the prior's call.
_ARGUMENTS = {"steps": "num_inference_steps", "guidance_scale": "guidance_scale"}


def embeddings(
    prior: Any, spec: ModelSpec, request: GenerationRequest, objects: Readable | None, generator: torch.Generator
) -> dict[str, Any]:
    """Return the embeddings for one image by name (``image_embeds``, ``negative_image_embeds``).

    Raises:
        ExecutionError: the prior cannot mix, or does not have a requested setting.
    """
    options, parameters = request.prior or {}, arguments.accepted(prior)
    common = {"generator": generator, **(spec.prior_arguments or {})}
    for name, argument in _ARGUMENTS.items():
        if name in options:
            if argument not in parameters:
                raise ExecutionError(f"prior.{name}: {type(prior).__name__} has no argument {argument!r}")
            common[argument] = options[name]
    prior_negative = options.get("negative_prompt")
    with noise.mixed([generator]):
        if request.mix is None and not (prior_negative and hasattr(prior, "interpolate")):
            texts = {"prompt": request.prompt, "negative_prompt": prior_negative or request.negative_prompt or None}
            if prior_negative and "negative_prompt" not in parameters:
                raise ExecutionError(f"prior.negative_prompt: {type(prior).__name__} takes none")
            return dict(prior(**{name: value for name, value in texts.items() if name in parameters}, **common))
        if not hasattr(prior, "interpolate"):
            raise ExecutionError(f"{type(prior).__name__} cannot mix texts and images")
        parts, weights = _mixed(request, objects)
        if prior_negative:  # the negative prompt of the request is then the decoder's, as in a mix
            common["negative_prior_prompt"] = prior_negative
        return dict(prior.interpolate(parts, weights, negative_prompt=request.negative_prompt, **common))


def _mixed(request: GenerationRequest, objects: Readable | None) -> tuple[list[Any], list[float]]:
    """Return the texts and pictures of the mix, and their weights."""
    mix = request.mix or [{"text": request.prompt, "weight": 1.0}]
    parts = [
        part["text"] if "text" in part else reading.load_picture(objects, part["image"])  # type: ignore[arg-type]
        for part in mix
    ]
    return parts, [part["weight"] for part in mix]
