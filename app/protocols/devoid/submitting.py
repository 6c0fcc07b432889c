"""From a request message to a job."""

from __future__ import annotations

from app import auth
from app.extensions import models, settings
from app.payloads import a1111, kandinsky, sending
from app.protocols.devoid.messages import Request
from jobs import moderation
from jobs.errors import Forbidden
from jobs.models.spec import Kind
from jobs.record import new_job_id
from jobs.submission import Subscriber

PROTOCOL = "devoid"


def submit(request: Request, queue: str) -> None:
    """Queue a job whose messages go to this subscriber queue.

    Raises:
        InvalidRequest, Forbidden, QueueFull, Unavailable: nothing was queued; the message says why.
    """
    caller = auth.caller()
    premium = bool(request.settings.get("premium"))
    if premium and not (caller.is_admin or caller.job_class == "premium"):
        raise Forbidden("this key has no premium class")
    kind, body = Kind(request.gen_type), request.payload
    payloads = kandinsky if request.executor == "kandinsky" else a1111
    wanted = payloads.wanted(body, kind, models(), model_of(request.executor))
    # One image for each request, whatever the size of the batch.
    wanted.values.update(num_images=1, output_format="jpeg")
    job_id = new_job_id()
    sending.submit(
        wanted,
        job_id,
        payloads.NAMES,
        protocol=PROTOCOL,
        job_class="premium" if premium else "general",
        moderate=_moderate(request),
        alias=f"{job_id}.jpg",
        subscriber=Subscriber(
            queue, request.correlation, request.final_correlation, synced=bool(request.settings.get("sync_with_s3", 1))
        ),
    )


def model_of(executor: str) -> str:
    """The model of jobs that name none: the setting, else the one that is called like the executor, as that of its
    servers is (``jobs.models.builtin``). '': the first that offers the kind.
    """
    setting: str = getattr(settings().devoid, f"{executor}_model")
    return setting or (executor if executor in models().names() else "")


def _moderate(request: Request) -> bool:
    """Whether it is moderated: where the server does so, and the service does not say no or may not."""
    own, caller = settings(), auth.caller()
    asked = bool(request.settings.get("moderate", 1))
    may_skip = caller.is_admin or caller.may_skip_moderation
    return moderation.applies(None if asked or not may_skip else False, caller, own)
