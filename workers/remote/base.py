"""The interface of executors for back ends, its values and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jobs.requests.generation import GenerationRequest


class BackendAway(Exception):
    """The back end does not answer and may come back. The text says more, without addresses."""


class BackendBusy(BackendAway):
    """The back end works for another client."""


class TaskGone(BackendAway):
    """The back end does not know the job that it was given, because it was restarted."""


class HandBack(Exception):
    """The job must run elsewhere or later; the text says why.

    Attributes:
        counted: whether the back end had begun, so that this run counts towards ``MAX_ATTEMPTS``.
    """

    def __init__(self, why: str, *, counted: bool) -> None:
        super().__init__(why)
        self.counted = counted


@dataclass(frozen=True)
class RemoteProgress:
    """The progress of a job as its back end reports it."""

    #: Whether the output can be fetched.
    done: bool = False
    #: Finished steps and number of steps; None if the back end does not report them.
    step: int | None = None
    steps: int | None = None
    #: The picture so far (an image file in base64), if it was asked for and has changed.
    preview: str | None = None


@dataclass(frozen=True)
class RemoteFile:
    """An output as the back end encoded it."""

    path: Path
    media_type: str


class RemoteExecutor(Protocol):
    """One back end, used for one job at a time.

    Every method raises :class:`BackendAway` if the server cannot be reached or answers with a server error.
    """

    #: Whether :meth:`poll` has more to tell, between two returns of :meth:`wait`, than whether the job is over. It may
    #: then be called by another thread meanwhile.
    tells_progress: bool

    def health(self) -> str | None:
        """Return None if the back end could take a job now, else the reason. Stops a job of an earlier, lost run."""

    def submit(self, request: GenerationRequest, inputs: Mapping[str, bytes], run_id: str) -> None:
        """Submit a job.

        Args:
            request: what to compute.
            inputs: content of the object-store keys that the request names.
            run_id: unique to this run; letters, digits and ``-``.

        Raises:
            BackendBusy: it works for another client.
            ExecutionError: it refuses the job.
        """

    def wait(self, seconds: float) -> bool:
        """Wait until :meth:`poll` may tell the end of the job, at most ``seconds``; return whether it may."""

    def poll(self, *, preview: bool = False) -> RemoteProgress:
        """Return the progress of the job.

        Args:
            preview: whether to ask for the picture so far.

        Raises:
            ExecutionError: the job failed there; the text is the back end's.
            HandBack: the job was lost there.
        """

    def stop(self) -> None:
        """Stop the job there, and wait (within bounds) until it has stopped. Does nothing if the job is over."""

    def fetch(self, folder: Path) -> list[RemoteFile]:
        """Write the outputs into ``folder``, named ``0.mp4``, ``1.mp4`` and so on.

        Raises:
            ExecutionError: the job failed there or was refused.
            HandBack: the response is not a valid output.
        """

    def close(self) -> None:
        """Close the connections; a call that is still under way breaks off."""
