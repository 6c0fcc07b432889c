"""The two ways in which LightX2V's versions behave, and how busy the service is (``LIGHTX2V_PROFILE``)."""

from __future__ import annotations

from app.extensions import models, settings, store
from jobs.models.spec import Kind
from jobs.store.jobs import Capacity


def is_single() -> bool:
    """Return whether the service behaves as LightX2V's documents describe it: one task at a time, no queue."""
    return settings().lightx2v.profile == "single"


def capacity() -> Capacity:
    """Return what the service works on, and whether it could start another task at once.

    In profile ``single`` that is a video from text; otherwise any task.
    """
    video = models().default_for(Kind.TEXT2VIDEO) if is_single() else None
    return store().capacity(settings().web.service_slot, video.name if video else "")
