"""Connect to a back end: choose the executor of its type."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from jobs.models.backends import Backend
from jobs.settings import Settings
from workers.remote.automatic1111 import Automatic1111Executor
from workers.remote.base import RemoteExecutor
from workers.remote.kandinsky import KandinskyExecutor
from workers.remote.lightx2v import LightX2VExecutor
from workers.remote.openai import OpenAIExecutor

#: Back end type → its executor.
EXECUTORS: dict[str, Callable[[Backend, str], RemoteExecutor]] = {
    "automatic1111": Automatic1111Executor,
    "kandinsky": KandinskyExecutor,
    "lightx2v": LightX2VExecutor,
    "openai": OpenAIExecutor,
}


def namespace_of(settings: Settings, slot: str) -> str:
    """Return the prefix of this slot's run ids on the back end: stable over restarts, unique to the installation."""
    identity = f"{settings.store_url}|{settings.node}|{slot}"
    return "fm" + hashlib.sha256(identity.encode()).hexdigest()[:8]


def connect(backend: Backend, namespace: str) -> RemoteExecutor:
    """Return the executor of a back end.

    Args:
        backend: its entry in the back ends file.
        namespace: see :func:`namespace_of`; tells the runs of this slot from those of all other clients.
    """
    return EXECUTORS[backend.type](backend, namespace)
