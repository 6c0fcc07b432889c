"""Requests of tests that are about other fields than the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind
from jobs.requests import generation
from jobs.requests.generation import GenerationRequest
from jobs.requests.inputs import Measured
from jobs.settings import Settings


def resolve(
    registry: ModelRegistry, fields: Mapping[str, Any], settings: Settings | None = None,
    image_size: tuple[int, int] | None = None, video_s: float | None = None,
) -> tuple[GenerationRequest, list[str]]:  # fmt: skip
    """Resolve the fields of a request, with a prompt unless it mixes texts and images."""
    kinds = registry.get(fields["model"]).kinds if "model" in fields else ()
    mixes = fields.get("kind", Kind.MIX2IMG if "mix" in fields or kinds == (Kind.MIX2IMG,) else "") == Kind.MIX2IMG
    measured = Measured(image_size, video_s)
    return generation.resolve(registry, {**({} if mixes else {"prompt": "x"}), **fields}, settings, measured)
