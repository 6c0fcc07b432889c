"""The error tree. Each class has a stable ``code``; its docstring is its default message.

::

    FramemillError
    ├── BadSetting           bad_setting          a setting or a key of a configuration file is wrong (at start)
    ├── InvalidRequest       invalid_request      fields of the request are wrong; names each field and rule
    │   ├── MalformedBody    malformed_body       the body does not match its content type
    │   │   └── TooLarge     too_large            the body exceeds a limit
    │   └── ModerationRefused  moderation_refused  moderation refuses the prompt or the outputs
    ├── Unauthorized         unauthorized         the API key is missing or unknown
    ├── Forbidden            forbidden            the API key does not permit this
    │   ├── LinkExpired      link_expired         a signed link is older than its lifetime
    │   ├── HostRefused      host_not_allowed     a server without keys is called by an unknown host name
    │   └── OriginRefused    origin_not_allowed   a page of another origin sent the request
    ├── NotFound             not_found
    │   ├── JobNotFound      job_not_found
    │   ├── ModelNotFound    model_not_found
    │   ├── KeyNotFound      key_not_found
    │   ├── ObjectNotFound   object_not_found
    │   ├── NoPreview        no_preview           the job has no preview
    │   └── ResultExpired    result_expired       the files were removed when their retention ended
    ├── Conflict             conflict
    │   ├── DuplicateJob     duplicate_job        the id that the client chose is in use
    │   ├── IdempotencyMismatch  idempotency_mismatch  the key was used for another request
    │   └── NotReady         not_ready            the job has no result (yet)
    ├── QueueFull            queue_full           too many waiting jobs; try again later
    │   └── RateLimited      rate_limited         the key submits too fast; try again later
    ├── ServiceBusy          service_busy         a service without a queue is busy
    ├── Unavailable          unavailable          Redis or the object store does not respond
    │   ├── StoreRefuses     unavailable          Redis responds, but refuses this command for the moment
    │   ├── ObjectStoreAway  unavailable          the object store does not respond, or refuses
    │   │   ├── ObjectStoreMisset  unavailable    … until an operator corrects its set-up
    │   │   └── ObjectRefused  unavailable        … this one file
    │   └── DecodingBusy     decoding_busy        too many pictures are being decoded; try again later
    ├── JobError             (the job's code)     raised by ``AsyncResult(job_id).get()`` of a failed job
    └── ExecutionError       execution_failed     the model code failed
        ├── OutOfMemory      out_of_memory
        ├── RunTimeout       run_timeout          the run exceeded its limit
        ├── BackendFailed    backend_failed       a remote back end reported a failure
        └── ModelLoadFailed  model_load_failed
    RunCancelled, RunInterrupted (each a BaseException, so that library code that catches Exception does not swallow it)

``app/errors.py`` maps the codes to HTTP status codes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


class FramemillError(Exception):
    """An internal error occurred."""

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


#: Words that a rule may begin with to continue a sentence whose subject is the field.
_PREDICATES = ("must ", "is ", "are ", "was ", "has ", "have ", "needs ", "does ", "cannot ", "could ", "requires ")
#: Longer texts are not repeated in messages, characters.
_MAX_SHOWN_CHARS = 40


@dataclass(frozen=True)
class Problem:
    """A refused field: its name, the rule that it breaks, and the value that was sent.

    ``rule`` completes the sentence that begins with the field's name: "must be between 1 and 100", "is required".
    """

    field: str
    rule: str
    value: Any = None

    @property
    def message(self) -> str:
        """The problem as a sentence, such as "`steps` must be between 1 and 100 (got 500)"."""
        separator = " " if self.rule.startswith(_PREDICATES) else ": "
        shown = isinstance(self.value, bool | int | float) or (
            isinstance(self.value, str) and 0 < len(self.value) <= _MAX_SHOWN_CHARS
        )
        got = f" (got {json.dumps(_exact(self.value), ensure_ascii=False)})" if shown else ""
        return f"`{self.field}`{separator}{self.rule}{got}"

    def to_dict(self) -> dict[str, Any]:
        """Return field, rule and value; a long text is cut."""
        value = self.value
        if isinstance(value, str) and len(value) > 80:
            value = value[:77] + "..."
        return {"field": self.field, "rule": self.rule, "value": value}


def _exact(value: Any) -> Any:
    """Return a value as it is to be printed: whole numbers without an exponent."""
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e20
    return int(value) if is_whole else value


class InvalidRequest(FramemillError):
    """Fields of the request are invalid."""

    code = "invalid_request"

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("; ".join(problem.message for problem in problems))


class MalformedBody(InvalidRequest):
    """The body cannot be read."""

    code = "malformed_body"


class TooLarge(MalformedBody):
    """The body is too large."""

    code = "too_large"


class ModerationRefused(InvalidRequest):
    """Moderation refused this."""

    code = "moderation_refused"


class Unauthorized(FramemillError):
    """An API key is required: Authorization: Bearer <key>."""

    code = "unauthorized"


class Forbidden(FramemillError):
    """This API key does not permit this."""

    code = "forbidden"


class LinkExpired(Forbidden):
    """This link has expired: read the job again for a new one."""

    code = "link_expired"


class HostRefused(Forbidden):
    """This server is not served under this host name."""

    code = "host_not_allowed"


class OriginRefused(Forbidden):
    """Pages of this origin may not use this server."""

    code = "origin_not_allowed"


class NotFound(FramemillError):
    """Nothing has this name."""

    code = "not_found"


class JobNotFound(NotFound):
    """No job has this id."""

    code = "job_not_found"


class ModelNotFound(NotFound):
    """No model has this name."""

    code = "model_not_found"


class KeyNotFound(NotFound):
    """This service has no API key."""

    code = "key_not_found"


class ObjectNotFound(NotFound):
    """The file is not in the object store."""

    code = "object_not_found"


class ResultExpired(NotFound):
    """The files of this job were removed when their retention ended."""

    code = "result_expired"


class Conflict(FramemillError):
    """The state of the job does not allow this."""

    code = "conflict"


class DuplicateJob(Conflict):
    """A job with this id already exists."""

    code = "duplicate_job"


class IdempotencyMismatch(Conflict):
    """This idempotency key was already used for a different request."""

    code = "idempotency_mismatch"


class NotReady(Conflict):
    """The job has no result."""

    code = "not_ready"


class NoPreview(NotFound):
    """The job has no preview."""

    code = "no_preview"


class QueueFull(FramemillError):
    """Too many jobs are waiting."""

    code = "queue_full"
    retryable = True

    def __init__(self, message: str = "", *, retry_after_s: int = 10, limit: int = 0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        #: The number of waiting jobs that was reached; 0 if it is another limit.
        self.limit = limit


class RateLimited(QueueFull):
    """This key submits more jobs per minute than it may."""

    code = "rate_limited"


class ServiceBusy(FramemillError):
    """Service busy"""

    code = "service_busy"
    retryable = True


class Unavailable(FramemillError):
    """A service that Framemill depends on does not respond."""

    code = "unavailable"
    retryable = True


class Overloaded(Unavailable):
    """The server answers as many requests as it may."""

    code = "overloaded"


class StoreBusy(Unavailable):
    """All of this process's connections to the job store are in use. It says nothing about the store."""


class StoreRefuses(Unavailable):
    """The job store refuses this for the moment."""


class ObjectStoreAway(Unavailable):
    """The object store does not respond."""


class ObjectStoreMisset(ObjectStoreAway):
    """The object store refuses until an operator corrects its set-up: bucket, credentials, permissions."""


class ObjectRefused(ObjectStoreAway):
    """The object store refuses this file, and may take others."""


class DecodingBusy(Unavailable):
    """Too many pictures or sounds are being decoded; try again in a few seconds."""

    code = "decoding_busy"


class JobError(FramemillError):
    """The job failed."""

    code = "job_failed"

    def __init__(self, message: str = "", code: str = "job_failed") -> None:
        super().__init__(message)
        self.code = code


class ExecutionError(FramemillError):
    """The code of the model failed."""

    code = "execution_failed"


class OutOfMemory(ExecutionError):
    """The device has too little memory for this request."""

    code = "out_of_memory"


class RunTimeout(ExecutionError):
    """The run exceeded its time limit."""

    code = "run_timeout"


class ModelLoadFailed(ExecutionError):
    """The model could not be loaded."""

    code = "model_load_failed"


class BackendFailed(ExecutionError):
    """The back end reported a failure."""

    code = "backend_failed"


class RunCancelled(BaseException):
    """The running job was cancelled. Control flow instead of an error, so it is not an Exception."""


class RunInterrupted(BaseException):
    """The run gives its slot back: its checkpoint is stored, or it has computed nothing. As :class:`RunCancelled`."""

    def __init__(self, step: int = 0, *, pauses: bool = False) -> None:
        super().__init__(step)
        #: Finished steps of the whole run.
        self.step = step
        #: Whether the job is to be paused, whatever interrupted the run.
        self.pauses = pauses
