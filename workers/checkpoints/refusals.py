"""Runs that are known to be unable to go on from a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import diffusers

from jobs.models.spec import ModelSpec
from jobs.requests.generation import GenerationRequest

#: Pipelines that carry more from step to step than their latents, or step without their scheduler's ``step``.
_CARRYING = frozenset(
    {
        "AceStepPipeline", "KarrasVePipeline", "LEditsPPPipelineStableDiffusion", "LEditsPPPipelineStableDiffusionXL",
        "RePaintPipeline", "ScoreSdeVePipeline", "SemanticStableDiffusionPipeline", "StableDiffusionPanoramaPipeline",
        "StableDiffusionParadigmsPipeline", "StableDiffusionPipelineSafe", "TextToVideoZeroPipeline",
        "TextToVideoZeroSDXLPipeline",
    }
)  # fmt: skip

#: Components of pipelines with sound, which has a scheduler of its own.
_SOUND = frozenset({"audio_vae", "sound_tokenizer"})


def why_not(spec: ModelSpec, request: GenerationRequest, pipelines: Sequence[Any]) -> str | None:
    """Return why a run cannot make checkpoints; None if nothing is known against it."""
    if spec.step_cache(request.quality):
        return "it uses a step cache, whose content lasts from step to step"
    for pipeline in pipelines:
        if type(pipeline).__name__ in _CARRYING:
            return f"{type(pipeline).__name__} carries more than its latents from step to step"
        is_modular = isinstance(pipeline, diffusers.ModularPipeline)
        if is_modular and _SOUND & pipeline.components.keys():
            return "its blocks step pictures and sound one after the other, and a checkpoint would be between both"
        for name, part in pipeline.components.items():
            if getattr(part, "adaptive_projected_guidance_momentum", None) is not None:
                return f"the {name} has a momentum, which lasts from step to step"
    return None
