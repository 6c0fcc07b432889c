"""The models of this server, by name.

The API validates requests from them without torch; the workers load pipelines from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jobs import models_file
from jobs.errors import ModelNotFound
from jobs.model_spec import Kind, ModelSpec, Range

__all__ = ["Kind", "ModelRegistry", "ModelSpec", "Range"]


class ModelRegistry:
    """All models, by name; the first one of a kind is that kind's default."""

    def __init__(self, specs: list[ModelSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}

    @classmethod
    def from_file(cls, path: Path) -> ModelRegistry:
        """Raises: BadSetting: see :func:`jobs.models_file.read`."""
        return cls(models_file.read(path))

    def __iter__(self) -> Iterator[ModelSpec]:
        return iter(self._specs.values())

    def names(self) -> list[str]:
        return list(self._specs)

    def get(self, name: str) -> ModelSpec:
        """Raises: ModelNotFound."""
        try:
            return self._specs[name]
        except KeyError:
            raise ModelNotFound(f"there is no model {name!r}; known: {', '.join(self._specs) or 'none'}") from None

    def default_for(self, kind: Kind) -> ModelSpec | None:
        return next((spec for spec in self if kind in spec.kinds), None)

    def for_slot(self, slot: str) -> list[ModelSpec]:
        """The models that this slot may run."""
        return [spec for spec in self if not spec.slots or slot in spec.slots]
