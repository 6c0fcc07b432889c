"""The states of random generators, and of generators that consist of several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from workers.checkpoints.contract import CheckpointRefused


def state_of(generator: torch.Generator) -> dict[str, Any]:
    """Return the state of a generator and of its attributes, which may be generators too."""
    attributes = getattr(generator, "__dict__", {})
    return {"state": generator.get_state(), "attributes": {name: _of(value) for name, value in attributes.items()}}


def restore(generators: Sequence[torch.Generator], states: Sequence[dict[str, Any]]) -> None:
    """Restore the states. Raises: CheckpointRefused: there are more or fewer generators."""
    if len(generators) != len(states):
        raise CheckpointRefused(f"the run has {len(generators)} random generators, not {len(states)}")
    for generator, state in zip(generators, states, strict=True):
        _restore(generator, state)


def others(values: Iterable[Any], known: Sequence[torch.Generator]) -> list[torch.Generator]:
    """Return the generators among some values, also in lists, that are not among the known ones."""
    found: list[torch.Generator] = []
    for value in values:
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, torch.Generator) and not any(item is one for one in (*known, *found)):
                found.append(item)
    return found


def _of(value: Any) -> Any:
    return state_of(value) if isinstance(value, torch.Generator) else value


def _restore(generator: torch.Generator, state: dict[str, Any]) -> None:
    generator.set_state(state["state"].cpu())
    for name, value in state["attributes"].items():
        own = getattr(generator, name)
        if isinstance(own, torch.Generator):
            _restore(own, value)
        else:
            setattr(generator, name, value)
