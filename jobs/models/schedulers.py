"""Schedulers by their common names.

A name is a sampler (``Euler a``, ``DPM++ 2M``), optionally followed by a noise schedule (``Karras``). Names of
diffusers' classes and of k-diffusion (``dpmpp_2m``, ``k_euler_a``) are aliases. The class that implements a sampler
depends on the model's family: models of ``diffusion`` predict noise (or v), models of ``flow`` a velocity.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FAMILIES = ("diffusion", "flow")

#: Noise schedule → the options that select it in schedulers of the family ``diffusion``.
SCHEDULES: dict[str, dict[str, Any]] = {
    "Karras": {"use_karras_sigmas": True},
    "Exponential": {"use_exponential_sigmas": True},
    "Beta": {"use_beta_sigmas": True},
    "SGM Uniform": {"timestep_spacing": "trailing"},
}
#: Other names of schedules. A polyexponential schedule is by default the exponential one, ``simple`` has the timesteps
#: of SGM Uniform, and '' is the plain schedule of the model.
_SCHEDULE_ALIASES = {
    "ka": "Karras", "polyexponential": "Exponential", "sgmuniform": "SGM Uniform", "simple": "SGM Uniform",
    "normal": "", "uniform": "", "automatic": "",
}  # fmt: skip


@dataclass(frozen=True)
class Sampler:
    """A sampler and the class that implements it in each family; None where a family has none."""

    diffusion: str | None
    flow: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Whether it supports the schedules Karras, Exponential and Beta.
    sigmas: bool = False
    #: Whether it supports the schedule SGM Uniform (trailing timesteps).
    trailing: bool = True
    #: Schedule that AUTOMATIC1111 uses for this sampler where a request leaves the choice to it; '' for the plain one.
    automatic: str = ""
    aliases: tuple[str, ...] = ()

    def class_in(self, family: str) -> str | None:
        return self.flow if family == "flow" else self.diffusion

    def supports(self, schedule: str) -> bool:
        """Whether it can be combined with a schedule; '' is no schedule."""
        return not schedule or (self.trailing if schedule == "SGM Uniform" else self.sigmas)


#: If several samplers share a class, the name of the class is an alias of the first of them.
SAMPLERS: dict[str, Sampler] = {
    "Euler": Sampler("EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler", sigmas=True),
    "Euler a": Sampler("EulerAncestralDiscreteScheduler", aliases=("euler ancestral",)),
    "Heun": Sampler("HeunDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", sigmas=True),
    "LMS": Sampler("LMSDiscreteScheduler", sigmas=True),
    "DPM2": Sampler("KDPM2DiscreteScheduler", sigmas=True, automatic="Karras"),
    "DPM2 a": Sampler(
        "KDPM2AncestralDiscreteScheduler", sigmas=True, automatic="Karras", aliases=("dpm2 ancestral",)
    ),
    "DPM++ 2M": Sampler(
        "DPMSolverMultistepScheduler", "DPMSolverMultistepScheduler", sigmas=True, automatic="Karras",
        options={"algorithm_type": "dpmsolver++", "solver_order": 2},
    ),
    "DPM++ 2M SDE": Sampler(
        "DPMSolverMultistepScheduler", "DPMSolverMultistepScheduler", sigmas=True, automatic="Exponential",
        options={"algorithm_type": "sde-dpmsolver++", "solver_order": 2},
    ),
    "DPM++ 2M SDE Heun": Sampler(
        "DPMSolverMultistepScheduler", "DPMSolverMultistepScheduler", sigmas=True, automatic="Exponential",
        options={"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "solver_type": "heun"},
    ),
    "DPM++ 3M": Sampler(
        "DPMSolverMultistepScheduler", "DPMSolverMultistepScheduler", sigmas=True,
        options={"algorithm_type": "dpmsolver++", "solver_order": 3},
    ),
    "DPM++ 3M SDE": Sampler(
        "DPMSolverMultistepScheduler", "DPMSolverMultistepScheduler", sigmas=True, automatic="Exponential",
        options={"algorithm_type": "sde-dpmsolver++", "solver_order": 3},
    ),
    "DPM++ 2S": Sampler(
        "DPMSolverSinglestepScheduler", sigmas=True, trailing=False,
        options={"algorithm_type": "dpmsolver++", "solver_order": 2, "lower_order_final": True},
    ),
    "DPM++ SDE": Sampler(
        "DPMSolverSinglestepScheduler", sigmas=True, automatic="Karras", trailing=False,
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
    """A sampler with a noise schedule ('' for none)."""

    sampler: str
    schedule: str = ""

    def __str__(self) -> str:
        return f"{self.sampler} {self.schedule}".strip()

    @property
    def schedule_type(self) -> str:
        """The schedule as AUTOMATIC1111 names it. There ``Automatic`` means another one than the plain one for some."""
        return self.schedule or ("Uniform" if SAMPLERS[self.sampler].automatic else "Automatic")


def parse(text: str) -> Choice | None:
    """Return the sampler and schedule of a name; None for an unknown name, and for a pair that does not exist."""
    sampler, schedule = split(text)
    if sampler is None or not SAMPLERS[sampler].supports(schedule_of(schedule) or ""):
        return None
    return Choice(sampler, schedule_of(schedule) or "")


def split(text: str) -> tuple[str | None, str]:
    """Return the sampler of a name (None: unknown), and what the name calls its schedule ('' for nothing)."""
    name = _normal(text)
    if name in _BY_ALIAS:
        return _BY_ALIAS[name], ""
    for alias in _BY_SCHEDULE:
        sampler = _BY_ALIAS.get(name.removesuffix(" " + alias))
        if sampler is not None and name.endswith(" " + alias):
            return sampler, alias
    return None, ""


def schedule_of(text: str) -> str | None:
    """Return the schedule of a name ('' for the plain one); None for an unknown name."""
    return _BY_SCHEDULE.get(_normal(text))


def names_of(family: str) -> tuple[str, ...]:
    """Return all canonical names that a family supports."""
    names = []
    for name, sampler in SAMPLERS.items():
        if sampler.class_in(family) is None:
            continue
        schedules = ("", *SCHEDULES) if family == "diffusion" else ("",)
        names += [str(Choice(name, schedule)) for schedule in schedules if sampler.supports(schedule)]
    return tuple(names)


def _normal(text: str) -> str:
    """Return a name in lower case with single spaces, ``dpm++`` for ``dpmpp``, without ``k_`` and ``Scheduler``."""
    name = re.sub(r"[\s_-]+", " ", text.strip().lower()).replace("dpmpp", "dpm++").replace("dpm2m", "dpm++ 2m")
    return name.removeprefix("k ").removesuffix("scheduler")


def _aliases() -> dict[str, str]:
    by_alias: dict[str, str] = {}
    for name, sampler in SAMPLERS.items():
        for alias in (name, *sampler.aliases, sampler.diffusion, sampler.flow):
            if alias:
                by_alias.setdefault(_normal(alias), name)
    return by_alias


_BY_ALIAS = _aliases()
_BY_SCHEDULE = {**{_normal(name): name for name in SCHEDULES}, **_SCHEDULE_ALIASES}
