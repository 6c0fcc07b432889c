"""Settings of classes: their weights, and which of them preempt which."""

from __future__ import annotations

import pytest

from jobs.errors import BadSetting
from jobs.settings import Settings
from jobs.settings.without_effect import without_effect


def test_no_class_preempts_another_by_default() -> None:
    assert Settings().scheduling.preempts == {}


def test_the_lowest_class_is_preempted_first() -> None:
    assert Settings.of(preempt_after_s=1.0).scheduling.preempts == {
        "premium": ["off-peak", "general"], "general": ["off-peak"],
    }  # fmt: skip
    assert Settings.of(
        preempt_after_s=1.0, class_preempts="premium:general premium:off-peak"
    ).scheduling.preempts == {"premium": ["off-peak", "general"]}
    chosen = Settings.of(preempt_after_s=1.0, class_preempts="premium:general").scheduling.preempts
    assert chosen == {"premium": ["general"]}


@pytest.mark.parametrize("value", ["premium", "premium:", ":general", "general:premium", "premium:premium",
                                   "gold:general", "premium:general,", "premium:general general:silver"])  # fmt: skip
def test_only_lower_classes_can_be_preempted(value: str) -> None:
    with pytest.raises(BadSetting, match="CLASS_PREEMPTS must be entries such as premium:general,off-peak"):
        Settings.of(class_preempts=value)


def test_classes_without_weight_get_what_the_others_leave() -> None:
    assert Settings.of(general_premium_ratio="2 5").scheduling.class_weights == {
        "general": 2, "premium": 5, "off-peak": 0,
    }  # fmt: skip


def test_bounds_of_preemption_without_preemption_have_no_effect() -> None:
    assert without_effect(Settings.of(preempt_max=5)) == [
        "PREEMPT_MAX has no effect: PREEMPT_AFTER_S is 0: no job takes the slot of another"
    ]
