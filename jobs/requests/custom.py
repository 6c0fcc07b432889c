"""Requests with an endpoint's own inputs, which a worker over HTTP computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from jobs.requests.generation import GenerationRequest


class CustomKind(StrEnum):
    """The kind of a job whose meaning only its endpoint knows. No model of the models file has it."""

    CUSTOM = "custom"

    @property
    def is_video(self) -> bool:
        return False

    @property
    def has_strength(self) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class EndpointRequest(GenerationRequest):
    """The inputs of an endpoint. Of the common fields it has at most prompt and negative prompt.

    It counts as one unit of work, because all jobs of an endpoint are assumed to take the same time.
    """

    kind: Any = CustomKind.CUSTOM
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = 0
    steps: int = 100
    guidance_scale: float = 0.0
    width: int = 0
    height: int = 0
    endpoint: str
    params: Mapping[str, Any] = field(default_factory=dict)
    #: Name of an input → object-store key of its file.
    media: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: str, endpoint: str, params: Mapping[str, Any], media: Mapping[str, str]) -> EndpointRequest:
        """Return a request for an endpoint; its prompts are taken from ``params``, if they are there."""
        texts = {name: params[name] for name in ("prompt", "negative_prompt") if isinstance(params.get(name), str)}
        return cls(model=model, endpoint=endpoint, params=params, media=media, **texts)

    @property
    def named_inputs(self) -> dict[str, str]:
        return dict(self.media)

    @property
    def work(self) -> float:
        return 1.0

    def shown(self) -> dict[str, Any]:
        return {name: value for name, value in self.to_dict().items() if name != "media"}

    def to_dict(self) -> dict[str, Any]:
        return {"model": self.model, "endpoint": self.endpoint, "params": dict(self.params), "media": dict(self.media)}


def request_from(values: Mapping[str, Any]) -> GenerationRequest:
    """Return the request that a record stores."""
    return EndpointRequest.of(**values) if "endpoint" in values else GenerationRequest.from_dict(values)
