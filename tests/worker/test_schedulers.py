"""Names of schedulers: spellings, meanings, and the classes that diffusers has for them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from jobs.models.schedulers import SAMPLERS, SCHEDULES, names_of, parse


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Euler a", "Euler a"),
        ("euler_ancestral", "Euler a"),
        ("k_euler_a", "Euler a"),
        ("EulerAncestralDiscreteScheduler", "Euler a"),
        ("DPM++ 2M Karras", "DPM++ 2M Karras"),
        ("dpmpp_2m", "DPM++ 2M"),
        ("k_dpmpp_2m_ka", "DPM++ 2M Karras"),
        ("dpm++ 2m sde exponential", "DPM++ 2M SDE Exponential"),
        ("DPM++ SDE Karras", "DPM++ SDE Karras"),
        ("DPM++ 2M SGM Uniform", "DPM++ 2M SGM Uniform"),
        ("DPMSolverMultistepScheduler", "DPM++ 2M"),
        ("Euler Normal", "Euler"),
        ("ddim", "DDIM"),
        ("UniPC", "UniPC"),
        ("LMS Karras", "LMS Karras"),
        ("heun", "Heun"),
        ("PNDMScheduler", "PLMS"),
        ("FlowMatchEulerDiscreteScheduler", "Euler"),
        ("Euler a Karras", None),  # that sampler has no such schedule
        ("Karras", None),
        ("DPM++ 2M Karras Karras", None),
        ("best", None),
        ("", None),
    ],
)
def test_a_name(written: str, meant: str | None) -> None:
    found = parse(written)
    assert (str(found) if found else None) == meant


def test_canonical_names_mean_themselves_and_are_unique() -> None:
    names = names_of("diffusion")
    assert len(names) == len(set(names)) > 60
    assert [str(parse(name)) for name in names] == list(names)
    assert set(names_of("flow")) == {name for name, sampler in SAMPLERS.items() if sampler.flow}


def classes() -> Iterator[tuple[str, str, str]]:
    for name, sampler in SAMPLERS.items():
        for family in ("diffusion", "flow"):
            if class_name := sampler.class_in(family):
                yield name, family, class_name


@pytest.mark.parametrize(("name", "family", "class_name"), [*classes()])
def test_diffusers_has_the_class_and_takes_the_options(name: str, family: str, class_name: str) -> None:
    import diffusers

    sampler = SAMPLERS[name]
    taken = inspect.signature(getattr(diffusers, class_name).__init__).parameters
    assert sampler.options.keys() <= taken.keys()
    if family == "diffusion":
        for schedule, options in SCHEDULES.items():
            assert sampler.supports(schedule) == (options.keys() <= taken.keys())
