"""The lists that clients show in their menus: models, samplers, schedules, upscalers, LoRAs."""

from __future__ import annotations

from typing import Any

from app import fleet
from app.extensions import settings
from app.payloads import a1111
from app.protocols.a1111 import options
from jobs.models import schedulers
from jobs.slots.host import ram_bytes

#: Upscalers that need no model.
UPSCALERS = ("None", "Lanczos", "Nearest")


def models() -> list[dict[str, Any]]:
    return [
        {
            "title": a1111.title(spec), "model_name": spec.name, "hash": None, "sha256": None, "filename": spec.name,
            "config": None,
        }
        for spec in options.usable_models()
    ]  # fmt: skip


def _choices() -> list[schedulers.Choice]:
    """Return the samplers with their schedules that at least one model supports."""
    names = {name for spec in options.usable_models() for name in (*spec.schedulers, spec.scheduler) if name}
    return [choice for choice in map(schedulers.parse, sorted(names)) if choice]


def samplers() -> list[dict[str, Any]]:
    """List the supported samplers. If no model has any, one entry keeps menus from being empty."""
    names = sorted({choice.sampler for choice in _choices()}) or ["Euler"]
    return [
        {
            "name": name, "aliases": ["k_" + name.lower().replace("++", "pp").replace(" ", "_")],
            "options": {"scheduler": automatic.lower()} if (automatic := schedulers.SAMPLERS[name].automatic) else {},
        }
        for name in names
    ]  # fmt: skip


def noise_schedules() -> list[dict[str, Any]]:
    """List Automatic, Uniform (the plain schedule) and the supported schedules."""
    names = sorted({choice.schedule for choice in _choices() if choice.schedule})
    return [
        {
            "name": name.lower().replace(" ", "_"), "label": name,
            "aliases": ["SGMUniform"] if name == "SGM Uniform" else None,
            "default_rho": 7.0 if name == "Karras" else -1.0, "need_inner_model": False,
        }
        for name in ("Automatic", "Uniform", *names)
    ]  # fmt: skip


def upscalers() -> list[dict[str, Any]]:
    return [
        {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": 4.0} for name in UPSCALERS
    ]


def loras() -> list[dict[str, Any]]:
    names = sorted({name for spec in options.usable_models() for name in spec.lora_names()})
    return [{"name": name, "alias": name.rpartition("/")[2], "path": name, "metadata": {}} for name in names]


def memory() -> dict[str, Any]:
    """Return the RAM of this machine and the device memory of all GPUs, in bytes."""
    total, available = ram_bytes()
    return {"ram": {"free": available, "used": total - available, "total": total}, "cuda": _devices()}


def _devices() -> dict[str, Any]:
    slots = fleet.now(settings().web.service_slot).slots
    facts = [slot.device_facts for slot in slots if slot.device.startswith("cuda") and slot.device_facts]
    if not facts:
        return {"error": "no slot is a GPU"}

    def sum_of(name: str) -> int:
        return sum(int(device.get(f"memory_{name}_bytes") or 0) for device in facts)

    used = {"current": sum_of("used"), "peak": sum_of("used")}
    return {
        "system": {name: sum_of(name) for name in ("free", "used", "total")},
        "active": used, "allocated": used, "reserved": used, "inactive": {"current": 0, "peak": 0},
        "events": {"retries": 0, "oom": sum(slot.ooms for slot in slots)},
    }  # fmt: skip
