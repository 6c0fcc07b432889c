"""The models of this server, by name.

The API validates requests against them, without torch; workers load pipelines from them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from jobs.errors import ModelNotFound
from jobs.models import file as models_file
from jobs.models.spec import Kind, ModelSpec, Range
from jobs.suggestions import did_you_mean

__all__ = ["Kind", "ModelRegistry", "ModelSpec", "Range"]


class ModelRegistry:
    """All models by name. The first model that offers a kind is the default of that kind."""

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
            hint = did_you_mean(name, self._specs)
            known = ", ".join(self._specs) or "none"
            raise ModelNotFound(f"model {name!r} does not exist{hint or ';'} known: {known}") from None

    def called(self, name: str, kind: Kind) -> ModelSpec:
        """Return the model of this name, else the first one with this alias: one that offers the kind if there is one.

        Raises: ModelNotFound.
        """
        if name in self._specs:
            return self._specs[name]
        called = [spec for spec in self if spec.is_called(name)]
        return next((spec for spec in called if spec.kind_for(kind)), called[0]) if called else self.get(name)

    def default_for(self, kind: Kind, inputs: Collection[str] = ()) -> ModelSpec | None:
        """Return the first model of a kind that takes these inputs, else the first of the kind; None: there is none."""
        of_kind = [spec for spec in self if kind in spec.kinds] or [spec for spec in self if spec.kind_for(kind)]
        takes_all = (spec for spec in of_kind if all(spec.takes(name, kind) for name in inputs))
        return next(takes_all, None) or next(iter(of_kind), None)

    def first_for(self, *kinds: Kind) -> ModelSpec | None:
        """Return the default model of the first of these kinds that has one; None if none has."""
        return next((spec for kind in kinds if (spec := self.default_for(kind))), None)

    def drawing(self) -> ModelRegistry:
        """Return the models for ``TEST_MODE``, which draws: of any size, and all kinds of their medium.

        Models of back ends stay as they are, because the back ends do not draw.
        """
        return ModelRegistry([spec if spec.executor == "remote" else _drawn(spec) for spec in self])

    def for_slot(self, slot: str, only: Collection[str] | None = None) -> list[ModelSpec]:
        """Return the models that a slot may run.

        Args:
            slot: the slot's name.
            only: models that its back end offers; None for a GPU worker, which runs no remote models.
        """
        return [
            spec
            for spec in self
            if (not spec.slots or slot in spec.slots)
            and (spec.executor != "remote" if only is None else spec.name in only)
        ]


def _drawn(spec: ModelSpec) -> ModelSpec:
    media = {kind.is_video for kind in spec.kinds}
    kinds = tuple(dict.fromkeys([*spec.kinds, *(kind for kind in Kind if kind.is_video in media)]))
    limits = {name: limit for name, limit in spec.limits.items() if name not in ("width", "height", "frames", "fps")}
    return replace(spec, kinds=kinds, limits=limits, clamp=True, size_multiple_px=1, frames_step=1)
