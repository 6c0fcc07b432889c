"""Exceptions that the client raises.

::

    ClientError
    ├── ApiError             the server refused the request
    │   └── ServerUnavailable    no answer, or 502, 503, 504: the same call may succeed later
    ├── JobFailed            the job failed or expired
    ├── ChecksFailed         models of a check do not work
    ├── JobCancelled         the job was cancelled
    ├── WaitTimeout          the job did not finish within the time given to wait()
    ├── NoMetadata           a file holds no record of how it was made
    ├── MissingPackage       an optional package is not installed
    └── WrongSignature       a webhook was not signed by the server, or is too old
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from framemill.records import Job


class ClientError(Exception):
    """Base class of all exceptions that the client raises on purpose."""


class ApiError(ClientError):
    """The server answered with an error.

    Attributes:
        code: stable identifier for programs, such as ``invalid_request`` or ``queue_full``.
        message: one sentence for people.
        status: HTTP status; None if there was no answer at all.
        fields: one ``{"field", "rule", "value"}`` for each rejected field.
        retry_after_s: seconds to wait before the next try, as the server asks; None if it does not say.
    """

    def __init__(
        self,
        code: str,
        message: str,
        status: int | None = None,
        fields: Sequence[Mapping[str, Any]] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.fields = tuple(fields)
        self.retry_after_s = retry_after_s


class ServerUnavailable(ApiError):
    """The server cannot be reached, or cannot work at the moment.

    Attributes:
        maybe_received: True if the server may have received the request although no answer arrived. The client repeats
            a call that changes something only if a second execution does no harm (``submit`` with an idempotency key).
            Query the state before you repeat such a call yourself.
    """

    def __init__(self, *args: Any, maybe_received: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.maybe_received = maybe_received


class JobFailed(ClientError):
    """The job finished without a result.

    Attributes:
        code: the reason, such as ``out_of_memory`` or ``worker_lost``; ``expired`` if the job did not start in time.
        job: the job.
    """

    def __init__(self, job: Job) -> None:
        self.code = job.error_code or job.state
        self.message = job.error_message or f"the job is {job.state}"
        self.job = job
        super().__init__(f"job {job.id}: {self.message} ({self.code})")


class JobCancelled(ClientError):
    """The job was cancelled, by this caller or another one. ``job`` is the job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(f"job {job.id} was cancelled")


class WaitTimeout(ClientError, TimeoutError):
    """The wait timed out; the job continues. ``job`` is its last known state, None if none was received."""

    def __init__(self, job_id: str, timeout_s: float, job: Job | None) -> None:
        self.job = job
        super().__init__(f"job {job_id} has not finished after {timeout_s:g} s")


class ChecksFailed(ClientError):
    """Checks of models have failed; each was reported on its own."""


class NoMetadata(ClientError):
    """A file holds no record of how it was made, or has an unknown format."""


class MissingPackage(ClientError, ImportError):
    """An optional package is not installed; the message says how to install it."""


class WrongSignature(ClientError):
    """A webhook was not signed by the server, or is too old."""
