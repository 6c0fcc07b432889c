"""The error tree. Each class has a stable ``code``; its docstring is its default message.

::

    FramemillError
    ├── BadSetting           bad_setting          a setting or a line of models.toml is wrong (at start)
    ├── InvalidRequest       invalid_request      the caller's fields are wrong; names each field and rule
    │   ├── MalformedBody    malformed_body       the body is not what its content type says
    │   └── ModerationRefused  moderation_refused  a check refuses the prompt, or the outputs
    ├── Unauthorized         unauthorized         no key, or an unknown one
    ├── Forbidden            forbidden            the key may not do this
    ├── NotFound             not_found
    │   ├── JobNotFound      job_not_found
    │   ├── ModelNotFound    model_not_found
    │   ├── KeyNotFound      key_not_found
    │   ├── ObjectNotFound   object_not_found
    │   └── ResultExpired    result_expired       the files were kept as long as they should be
    ├── Conflict             conflict
    │   ├── DuplicateJob     duplicate_job        the client's own id is taken
    │   ├── IdempotencyMismatch  idempotency_mismatch  the key was used for another request
    │   └── NotReady         not_ready            the job has no result (yet)
    ├── QueueFull            queue_full           try again later
    ├── ServiceBusy          service_busy         a service that does not queue has work
    ├── Unavailable          unavailable          Redis or the object store does not answer
    ├── JobFailed            (the job's code)     raised by ``AsyncResult(job_id).get()``
    └── ExecutionError       execution_failed     the model code failed
        ├── OutOfMemory      out_of_memory
        ├── RunTimeout       run_timeout          longer than its run limit
        ├── BackendFailed    backend_failed       the back end of others could not do it
        └── ModelLoadFailed  model_load_failed
    JobCancelled (a BaseException: library code that catches Exception lets it pass)

HTTP status codes live in ``app/errors.py``, nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class FramemillError(Exception):
    """Something went wrong."""

    code = "internal_error"
    #: Whether the same call may succeed later.
    retryable = False

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())

    @property
    def message(self) -> str:
        return str(self.args[0])


class BadSetting(FramemillError):
    """A setting is wrong."""

    code = "bad_setting"


@dataclass(frozen=True)
class Problem:
    """One refused field: its name, the rule it broke and the value sent (shortened)."""

    field: str
    rule: str
    value: Any = None

    def to_dict(self) -> dict[str, Any]:
        value = self.value
        if isinstance(value, str) and len(value) > 80:
            value = value[:77] + "..."
        return {"field": self.field, "rule": self.rule, "value": value}


class InvalidRequest(FramemillError):
    """The request has invalid fields."""

    code = "invalid_request"

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{p.field}: {p.rule}" for p in problems))


class MalformedBody(InvalidRequest):
    """The body cannot be read."""

    code = "malformed_body"


class ModerationRefused(InvalidRequest):
    """Moderation refuses this."""

    code = "moderation_refused"


class Unauthorized(FramemillError):
    """A key is needed: Authorization: Bearer <key>."""

    code = "unauthorized"


class Forbidden(FramemillError):
    """This key may not do that."""

    code = "forbidden"


class NotFound(FramemillError):
    """There is nothing under this name."""

    code = "not_found"


class JobNotFound(NotFound):
    """There is no job with this id."""

    code = "job_not_found"


class ModelNotFound(NotFound):
    """There is no model with this name."""

    code = "model_not_found"


class KeyNotFound(NotFound):
    """There is no key for this service."""

    code = "key_not_found"


class ObjectNotFound(NotFound):
    """The file is not in the object store."""

    code = "object_not_found"


class ResultExpired(NotFound):
    """The files of this job were removed when their time was over."""

    code = "result_expired"


class Conflict(FramemillError):
    """The job is not in a state that allows this."""

    code = "conflict"


class DuplicateJob(Conflict):
    """A job with this id exists."""

    code = "duplicate_job"


class IdempotencyMismatch(Conflict):
    """This idempotency key was used for another request."""

    code = "idempotency_mismatch"


class NotReady(Conflict):
    """The job has no result."""

    code = "not_ready"


class NoPreview(NotFound):
    """The job has no preview now."""

    code = "no_preview"


class QueueFull(FramemillError):
    """Too many jobs are waiting."""

    code = "queue_full"
    retryable = True

    def __init__(self, message: str = "", *, retry_after_s: int = 10) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServiceBusy(FramemillError):
    """Service busy"""

    code = "service_busy"
    retryable = True


class Unavailable(FramemillError):
    """A service that Framemill needs does not answer."""

    code = "unavailable"
    retryable = True


class JobFailed(FramemillError):
    """The job failed."""

    code = "job_failed"

    def __init__(self, message: str = "", code: str = "job_failed") -> None:
        super().__init__(message)
        self.code = code


class ExecutionError(FramemillError):
    """The model code failed."""

    code = "execution_failed"


class OutOfMemory(ExecutionError):
    """The device has too little memory for this request."""

    code = "out_of_memory"


class RunTimeout(ExecutionError):
    """The run took longer than its limit."""

    code = "run_timeout"


class ModelLoadFailed(ExecutionError):
    """The model could not be loaded."""

    code = "model_load_failed"


class BackendFailed(ExecutionError):
    """The back end reported a failure."""

    code = "backend_failed"


class JobCancelled(BaseException):
    """The running job was stopped. Control flow, not an error: nothing may catch it as an Exception."""
