"""Fields of the models file whose values are schedulers."""

from __future__ import annotations

from typing import Any

from jobs.models import schedulers
from jobs.models.toml_fields import TypedField
from jobs.suggestions import did_you_mean


class SchedulerField(TypedField):
    """A scheduler under any of its names; loaded as its canonical name."""

    types = (str,)
    default_error_messages = {
        "invalid": "must be the name of a scheduler",
        "unknown": f"unknown scheduler{{hint}} known: {', '.join(schedulers.SAMPLERS)}, some followed by a schedule",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        choice = schedulers.parse(text)
        if choice is None:
            raise self.make_error("unknown", hint=did_you_mean(text, schedulers.names_of("diffusion")) or ";")
        return str(choice)


class SchedulersField(TypedField):
    """A list of schedulers, or the name of a family for all that it has."""

    types = (list, str)
    default_error_messages = {"invalid": f"must be one of {', '.join(schedulers.FAMILIES)}, or a list of schedulers"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:
        value = super()._deserialize(value, attr, data, **kwargs)
        if isinstance(value, list):
            return tuple(str(SchedulerField().deserialize(name)) for name in value)
        if value not in schedulers.FAMILIES:
            raise self.make_error("invalid")
        return schedulers.names_of(value)
