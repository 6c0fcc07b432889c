"""Submit the job of a request message."""

from __future__ import annotations

from app.access import auth
from app.extensions import models, settings
from app.payloads import a1111, kandinsky
from app.payloads.submitting import submit_mapped
from app.protocols.devoid.messages import Request
from jobs import moderation
from jobs.errors import Forbidden
from jobs.models.spec import Kind
from jobs.record import new_job_id
from jobs.submission import Subscriber

PROTOCOL = "devoid"


def submit(request: Request, queue: str) -> None:
    """Submit a job whose messages go to this subscriber queue.

    Raises:
        InvalidRequest, Forbidden, QueueFull, Unavailable: nothing was queued; the message says why.
    """
    caller = auth.caller()
    job_class = "premium" if request.settings.get("premium") else "general"
    if not caller.may_use_class(job_class):
        if job_class == "premium":
            raise Forbidden("this key has no premium class")
        job_class = caller.job_class
    payloads = kandinsky if request.executor == "kandinsky" else a1111
    kind = Kind(request.gen_type)
    # Nothing looks at the image then, and the example of the official client sends none.
    is_drawn_without_image = (
        kind is Kind.IMG2IMG and settings().devoid.test_mode and not request.payload.get("init_images")
    )
    if is_drawn_without_image:
        kind = Kind.TEXT2IMG
    mapped = payloads.map_body(request.payload, kind, models(), model_of(request.executor))
    if is_drawn_without_image:
        mapped.warnings.append("init_images is missing: TEST_MODE draws without it")
    # Each request produces one image, whatever the batch size of its payload.
    mapped.values.update(num_images=1, output_format="jpeg")
    job_id = new_job_id()
    is_synced = bool(request.settings.get("sync_with_s3", 1))
    submit_mapped(
        mapped,
        job_id,
        payloads.NAMES,
        protocol=PROTOCOL,
        job_class=job_class,
        moderate=_is_moderated(request),
        alias=f"{job_id}.jpg",
        subscriber=Subscriber(queue, request.correlation, request.final_correlation, synced=is_synced),
    )


def model_of(executor: str) -> str:
    """Return the model of jobs that name none.

    That is the model of the setting, else the model with the name of the executor, which back ends of this type have
    (``jobs.models.builtin``). '' stands for the first model that supports the kind.
    """
    setting: str = getattr(settings().devoid, f"{executor}_model")
    return setting or (executor if executor in models().names() else "")


def _is_moderated(request: Request) -> bool:
    """Return whether the job is moderated. A service can skip moderation only if its key is allowed to."""
    caller = auth.caller()
    is_requested = bool(request.settings.get("moderate", 1))
    may_skip = caller.is_admin or caller.may_skip_moderation
    return moderation.applies(None if is_requested or not may_skip else False, caller, settings())
