"""How long a model in a slot's memory was not used."""

from __future__ import annotations

import time

import pytest

from jobs.slots.model_use import ModelUse

NOW = 1_000_000.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def use(idle_s: float | None, **ago_s: float) -> ModelUse:
    """A slot of 1,000 seconds that is idle for so long, and its models with the seconds since their use."""
    idle_since_s = None if idle_s is None else NOW - idle_s
    return ModelUse(("a", "b"), NOW - 1000, idle_since_s, {model: NOW - since_s for model, since_s in ago_s.items()})


def test_the_model_that_was_used_last_was_in_use_until_the_slot_became_idle() -> None:
    assert use(20, a=300, b=500).unused_s("a") == 20
    assert use(300, a=20, b=500).unused_s("a") == 20  # another job than the model's, such as an unload


def test_it_may_be_in_use_while_the_slot_has_a_job() -> None:
    assert use(None, a=300, b=500).unused_s("a") == 0


def test_other_models_count_from_their_last_use() -> None:
    assert use(20, a=300, b=500).unused_s("b") == 500
    assert use(None, a=300, b=500).unused_s("b") == 500


def test_a_model_without_a_use_counts_from_the_start_of_the_worker() -> None:
    assert use(20, a=300).unused_s("b") == 1000
    assert use(20).unused_s("b") == 20
    assert use(None).unused_s("b") == 0


def test_facts_are_read_from_the_slot() -> None:
    facts = {"held": '[{"model":"a","place":"device","bytes":3,"pinned":false,"of_a_newer_version":1}]',
             "used_at": '{"a":999990}', "since": "999000000", "idle_since": "999970000"}  # fmt: skip
    assert ModelUse.from_hash(facts) == ModelUse(("a",), 999_000, 999_970, {"a": 999_990})
    assert ModelUse.from_hash({**facts, "job": "x"}).idle_since_s is None
    assert ModelUse.from_hash({}) == ModelUse((), 0, None)
