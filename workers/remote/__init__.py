"""Back ends of others: servers that compute a job for us over HTTP. One module for each type of server.

No torch here: the workers of back ends, and the keepers that look after them, stay small.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jobs.models.backends import Backend
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings


class BackendAway(Exception):
    """The back end does not answer; it may come back. The text says more, without addresses."""


class BackendBusy(BackendAway):
    """The back end works for somebody else."""


class TaskGone(BackendAway):
    """The back end knows nothing of the job it was given: it was started again."""


class HandBack(Exception):
    """The job must run elsewhere, or later; the text says why.

    Attributes:
        counted: whether the back end had begun, so that this run counts towards ``MAX_ATTEMPTS``.
    """

    def __init__(self, why: str, *, counted: bool) -> None:
        super().__init__(why)
        self.counted = counted


@dataclass(frozen=True)
class Progress:
    """What a back end says of a job."""

    #: Whether its output can be fetched.
    done: bool = False
    #: Steps done and in all; None where the back end does not tell.
    step: int | None = None
    steps: int | None = None
    #: What the picture looks like so far (base64 of an image file), if that was asked for and has changed.
    preview: str | None = None


@dataclass(frozen=True)
class RemoteFile:
    """An output as the back end encoded it."""

    path: Path
    media_type: str


class RemoteExecutor(Protocol):
    """One back end, used for one job at a time.

    Every method raises :class:`BackendAway` when the server cannot be reached or answers with a fault of its own.
    """

    def health(self) -> str | None:
        """None when it could take a job now, else why not. Stops what an earlier, lost run of ours left behind."""

    def submit(self, request: GenerationRequest, inputs: Mapping[str, bytes], run_id: str) -> None:
        """Begin a job.

        Args:
            request: what to compute.
            inputs: content of the object-store keys that the request names.
            run_id: unique to this run; letters, digits and ``-``.

        Raises:
            BackendBusy: it has other work.
            ExecutionError: it refuses the job.
        """

    def poll(self, *, preview: bool = False) -> Progress:
        """How far it is.

        Args:
            preview: whether somebody wants to see the picture so far.

        Raises:
            ExecutionError: it failed there; the text is the back end's.
            HandBack: the job was lost there.
        """

    def stop(self) -> None:
        """Have it stop the job, and wait (within bounds) until it has; nothing happens if the job is over."""

    def fetch(self, folder: Path) -> list[RemoteFile]:
        """Write the outputs into ``folder``, named ``0.mp4``, ``1.mp4`` ….

        Raises:
            ExecutionError: it failed there, or refused the job.
            HandBack: what it sent is no output.
        """

    def close(self) -> None:
        """Give connections back; a call that is still under way breaks off."""


def namespace_of(settings: Settings, slot: str) -> str:
    """How ids of this slot's runs begin on the back end: the same after a restart, another for every installation."""
    own = f"{settings.store_url}|{settings.node}|{slot}"
    return "fm" + hashlib.sha256(own.encode()).hexdigest()[:8]


def connect(backend: Backend, namespace: str) -> RemoteExecutor:
    """The executor of a back end's type.

    Args:
        backend: its table of the file.
        namespace: tells runs of this installation's slot from everybody else's.
    """
    module = importlib.import_module(f"workers.remote.{backend.type}")
    executor: RemoteExecutor = module.Executor(backend, namespace)
    return executor
