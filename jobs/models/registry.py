"""The models of this server, by name.

The API validates requests from them without torch; the workers load pipelines from them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from jobs.errors import ModelNotFound
from jobs.models import file as models_file
from jobs.models.spec import Kind, ModelSpec, Range

__all__ = ["Kind", "ModelRegistry", "ModelSpec", "Range"]


class ModelRegistry:
    """All models, by name; the first one of a kind is that kind's default."""

    def __init__(self, specs: list[ModelSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}

    @classmethod
    def from_file(cls, path: Path) -> ModelRegistry:
        """Raises: BadSetting: see :func:`jobs.models.file.read`."""
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

    def for_slot(self, slot: str, only: Collection[str] | None = None) -> list[ModelSpec]:
        """The models that this slot may run; ``only``: what its back end has, None for a device of our own."""
        return [
            spec
            for spec in self
            if (not spec.slots or slot in spec.slots)
            and (spec.executor != "remote" if only is None else spec.name in only)
        ]
