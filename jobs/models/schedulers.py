"""Schedulers by the names that people use for them.

A name is a sampler (``Euler a``, ``DPM++ 2M``) and, after it, at most one schedule of the noise (``Karras``). Names of
diffusers' classes and of k-diffusion (``dpmpp_2m``, ``k_euler_a``) mean the same samplers. Which class computes a
sampler depends on the model's family: ``diffusion`` predicts noise (or v), ``flow`` a velocity.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FAMILIES = ("diffusion", "flow")

#: Schedule → what the classes of the family ``diffusion`` take for it.
SCHEDULES: dict[str, dict[str, Any]] = {
    "Karras": {"use_karras_sigmas": True},
    "Exponential": {"use_exponential_sigmas": True},
    "Beta": {"use_beta_sigmas": True},
    "SGM Uniform": {"timestep_spacing": "trailing"},
}
_SCHEDULE_ALIASES = {"ka": "Karras", "normal": "", "automatic": "", "uniform": ""}


@dataclass(frozen=True)
class Sampler:
    """One sampler. A family without a class does not have it."""

    diffusion: str | None
    flow: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Whether Karras, exponential and beta schedules exist for it, and the even one from the end (SGM uniform).
    sigmas: bool = False
    trailing: bool = True
    aliases: tuple[str, ...] = ()

    def class_in(self, family: str) -> str | None:
        return self.flow if family == "flow" else self.diffusion

    def takes(self, schedule: str) -> bool:
        return not schedule or (self.trailing if schedule == "SGM Uniform" else self.sigmas)


#: Where two samplers are one class, the first of them is what the class's name means.
SAMPLERS: dict[str, Sampler] = {
    "Euler": Sampler("EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler", sigmas=True),
    "Euler a": Sampler("EulerAncestralDiscreteScheduler", aliases=("euler ancestral",)),
    "Heun": Sampler("HeunDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", sigmas=True),
    "LMS": Sampler("LMSDiscreteScheduler", sigmas=True),
    "DPM2": Sampler("KDPM2DiscreteScheduler", sigmas=True),
    "DPM2 a": Sampler("KDPM2AncestralDiscreteScheduler", sigmas=True, aliases=("dpm2 ancestral",)),
    "DPM++ 2M": Sampler(
        "DPMSolverMultistepScheduler", "DPMSolverMultistepScheduler", sigmas=True,
        options={"algorithm_type": "dpmsolver++", "solver_order": 2},
    ),
    "DPM++ 2M SDE": Sampler(
        "DPMSolverMultistepScheduler", "DPMSolverMultistepScheduler", sigmas=True,
        options={"algorithm_type": "sde-dpmsolver++", "solver_order": 2},
    ),
    "DPM++ 3M": Sampler(
        "DPMSolverMultistepScheduler", "DPMSolverMultistepScheduler", sigmas=True,
        options={"algorithm_type": "dpmsolver++", "solver_order": 3},
    ),
    "DPM++ 3M SDE": Sampler(
        "DPMSolverMultistepScheduler", "DPMSolverMultistepScheduler", sigmas=True,
        options={"algorithm_type": "sde-dpmsolver++", "solver_order": 3},
    ),
    "DPM++ 2S": Sampler(
        "DPMSolverSinglestepScheduler", sigmas=True, trailing=False,
        options={"algorithm_type": "dpmsolver++", "solver_order": 2, "lower_order_final": True},
    ),
    "DPM++ SDE": Sampler(
        "DPMSolverSinglestepScheduler", sigmas=True, trailing=False,
        options={"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "lower_order_final": True},
    ),
    "DEIS": Sampler("DEISMultistepScheduler", "DEISMultistepScheduler", sigmas=True),
    "UniPC": Sampler("UniPCMultistepScheduler", "UniPCMultistepScheduler", sigmas=True),
    "DDIM": Sampler("DDIMScheduler"),
    "DDPM": Sampler("DDPMScheduler"),
    "PLMS": Sampler("PNDMScheduler", options={"skip_prk_steps": True}, aliases=("pndm",)),
    "LCM": Sampler("LCMScheduler", "FlowMatchLCMScheduler"),
    "TCD": Sampler("TCDScheduler"),
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """A sampler with its schedule ('' for none)."""

    sampler: str
    schedule: str = ""

    def __str__(self) -> str:
        return f"{self.sampler} {self.schedule}".strip()


def parse(text: str) -> Choice | None:
    """What a name means; None if it means nothing here."""
    name = _normal(text)
    if name in _BY_ALIAS:
        return Choice(_BY_ALIAS[name])
    for alias, schedule in _BY_SCHEDULE.items():
        sampler = _BY_ALIAS.get(name.removesuffix(" " + alias))
        if sampler is not None and name.endswith(" " + alias) and SAMPLERS[sampler].takes(schedule):
            return Choice(sampler, schedule)
    return None


def names_of(family: str) -> tuple[str, ...]:
    """Every name that a family has, in canonical form."""
    found = []
    for name, sampler in SAMPLERS.items():
        if sampler.class_in(family) is None:
            continue
        schedules = ("", *SCHEDULES) if family == "diffusion" else ("",)
        found += [str(Choice(name, schedule)) for schedule in schedules if sampler.takes(schedule)]
    return tuple(found)


def _normal(text: str) -> str:
    """Lower case with single spaces; ``dpmpp`` as ``dpm++``, without the ``k`` of k-diffusion and ``Scheduler``."""
    name = re.sub(r"[\s_-]+", " ", text.strip().lower()).replace("dpmpp", "dpm++").replace("dpm2m", "dpm++ 2m")
    return name.removeprefix("k ").removesuffix("scheduler")


def _aliases() -> dict[str, str]:
    found: dict[str, str] = {}
    for name, sampler in SAMPLERS.items():
        for alias in (name, *sampler.aliases, sampler.diffusion, sampler.flow):
            if alias:
                found.setdefault(_normal(alias), name)
    return found


_BY_ALIAS = _aliases()
_BY_SCHEDULE = {**{_normal(name): name for name in SCHEDULES}, **_SCHEDULE_ALIASES}
