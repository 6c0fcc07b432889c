"""When the models in a slot's memory were used last."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.slots.residency import loaded_models_from

#: Fields of a slot in Redis from which this is known.
USE_FACTS = ("held", "used_at", "since", "idle_since", "job")


@dataclass(frozen=True)
class ModelUse:
    """The models in a slot's memory and their use. Times are seconds since 1970."""

    models: tuple[str, ...]
    #: When its worker took the slot.
    since_s: float
    #: Since when it has no job; None while it has one.
    idle_since_s: float | None
    #: When each model was used last, as far as the slot has told.
    used_at: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_hash(cls, values: Mapping[str, str]) -> ModelUse:
        idle_since = None if values.get("job") else values.get("idle_since")
        return cls(
            models=tuple(loaded.model for loaded in loaded_models_from(values)),
            since_s=int(values.get("since") or 0) / 1000,
            idle_since_s=int(idle_since) / 1000 if idle_since else None,
            used_at=json.loads(values.get("used_at") or "{}"),
        )

    def unused_s(self, model: str) -> float:
        """Return how long a model was not used; 0 while it may be in use.

        A slot tells of the end of a use with the next job that it starts, so the model that it used last may have
        been in use until the slot became idle.
        """
        used_at, newest_at = self.used_at.get(model, self.since_s), max(self.used_at.values(), default=0.0)
        if used_at >= newest_at:
            if self.idle_since_s is None:
                return 0.0
            used_at = max(used_at, self.idle_since_s)
        return max(0.0, time.time() - used_at)
