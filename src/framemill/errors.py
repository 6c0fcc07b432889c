"""What the client raises.

::

    FramemillError
    ├── ApiError             the server refused the request
    │   └── ServerUnavailable    no answer, or 502, 503, 504: the same call may succeed later
    ├── JobFailed            the job ended as failed or expired
    ├── JobCancelled         the job was cancelled
    ├── WaitTimeout          the job had not ended within the time given to wait()
    ├── NoMetadata           a file does not say how it was made
    └── WrongSignature       a webhook is not the server's, or too old
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framemill.records import Status


class FramemillError(Exception):
    """Base of everything the client raises on purpose."""


class ApiError(FramemillError):
    """The server answered with an error.

    Attributes:
        code: stable word to decide on, such as ``invalid_request`` or ``queue_full``.
        message: one sentence for people.
        status: HTTP status; None when there was no answer at all.
        fields: one ``{"field", "rule", "value"}`` for each refused field.
        retry_after_s: seconds the server asks to wait before the next try; None when it does not say.
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
    """The server cannot be reached or cannot work at the moment.

    Attributes:
        maybe_received: the request may have arrived, although no answer did. Calls that change something are
            sent a second time in this case only if that does no harm (``submit`` with an idempotency key); ask for
            the state before you repeat one.
    """

    def __init__(self, *args: Any, maybe_received: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.maybe_received = maybe_received


class JobFailed(FramemillError):
    """The job ended without a result.

    Attributes:
        code: why, such as ``out_of_memory`` or ``worker_lost``; ``expired`` for a job that did not start in time.
        status: the last status.
    """

    def __init__(self, status: Status) -> None:
        self.code = status.error_code or str(status.state)
        self.message = status.error_message or f"the job is {status.state}"
        self.status = status
        super().__init__(f"job {status.task_id}: {self.message} ({self.code})")


class JobCancelled(FramemillError):
    """The job was cancelled, by this caller or another one. ``status`` is the last status."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(f"job {status.task_id} was cancelled")


class WaitTimeout(FramemillError, TimeoutError):
    """The job goes on, only the waiting ended. ``status`` is the last status, None when none was received."""

    def __init__(self, task_id: str, timeout_s: float, status: Status | None) -> None:
        self.status = status
        super().__init__(f"job {task_id} has not ended after {timeout_s:g} s")


class NoMetadata(FramemillError):
    """A file does not say how it was made, or is of no known format."""


class WrongSignature(FramemillError):
    """A webhook is not the server's, or too old."""
