"""The prior of a model: a pipeline that runs first and turns texts and images into the decoder's embeddings."""

from __future__ import annotations

from typing import Any

from jobs.errors import ExecutionError
from jobs.model_spec import ModelSpec
from jobs.objects import ObjectStore
from jobs.requests import GenerationRequest
from workers import arguments, pictures


def embeddings(
    prior: Any, spec: ModelSpec, request: GenerationRequest, objects: ObjectStore | None, seed: int
) -> dict[str, Any]:
    """What the prior gives for one image, by name (``image_embeds``, ``negative_image_embeds``).

    Raises:
        ExecutionError: it cannot mix.
    """
    common = {"generator": arguments.generators([seed]), **(spec.prior_arguments or {})}
    if request.mix is None:
        texts = {"prompt": request.prompt, "negative_prompt": request.negative_prompt or None}
        known = arguments.accepted(prior)
        return dict(prior(**{name: value for name, value in texts.items() if name in known}, **common))
    if not hasattr(prior, "interpolate"):
        raise ExecutionError(f"{type(prior).__name__} cannot mix texts and images")
    parts = [
        part["text"] if "text" in part else pictures.read(objects, part["image"])  # type: ignore[arg-type]
        for part in request.mix
    ]
    weights = [part["weight"] for part in request.mix]
    return dict(prior.interpolate(parts, weights, negative_prompt=request.negative_prompt, **common))
