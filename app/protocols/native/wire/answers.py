"""Schemas of the responses about jobs, their outputs and their webhooks."""

from __future__ import annotations

from marshmallow import fields

from app.openapi.answers import Answer, OpenAnswer, doc, texts, time_of
from app.openapi.requests import KINDS, RequestAnswer
from jobs.outbound.webhook import EVENTS
from jobs.settings import CLASSES, RETENTION_CLASSES
from jobs.states import JobState


class ProgressAnswer(Answer):
    """How far a job is."""

    stage = fields.String(
        **doc("`loading`, `denoising`, `decoding`, `delivering`, or `waiting for` and what it waits for.", null=True)
    )
    stage_percent = fields.Integer(**doc("Progress of the stage, where it can be measured.", null=True))
    step = fields.Integer(**doc())
    steps = fields.Integer(**doc())
    percent = fields.Integer(**doc("100 only for a job that has succeeded.", minimum=0, maximum=100))


class JobErrorAnswer(Answer):
    """Why a job failed."""

    code = fields.String(**doc("Stable name of the error, for programs."))
    message = fields.String(**doc())
    cause = fields.String(**doc("What a library said. Only admins are shown it: it may name paths.", optional=True))


class PreviewAnswer(Answer):
    """The newest preview."""

    step = fields.Integer(**doc("The step that it shows."))
    url = fields.String(**doc("Its address, which changes with the step."))
    data = fields.String(**doc("The picture as a data URL, in event streams with `preview=data`.", optional=True))


class LinksAnswer(Answer):
    """Addresses of a job's resources. On a server with keys, those of result, events and preview are signed."""

    self = fields.String(**doc())
    result = fields.String(**doc())
    events = fields.String(**doc())
    preview = fields.String(**doc())
    cancel = fields.String(**doc())


class OutputAnswer(Answer):
    """A file of a finished job."""

    index = fields.Integer(**doc("Counts from 0."))
    url = fields.String(**doc("Where it can be downloaded; with keys a signed link, which needs none."))
    media_type = fields.String(**doc())
    bytes = fields.Integer(**doc())
    sha256 = fields.String(**doc())
    width = fields.Integer(**doc("Pixels."))
    height = fields.Integer(**doc("Pixels."))
    frames = fields.Integer(**doc())
    fps = fields.Float(**doc("Frames per second; 0 for an image."))
    has_audio = fields.Boolean(**doc("Whether it has a sound track."))
    audio_sample_rate_hz = fields.Integer(**doc("Samples per second of the sound; null without sound.", null=True))
    moderated = fields.Boolean(**doc("Whether moderation made it unrecognisable."))
    thumbnail_url = fields.String(**doc(null=True))
    poster_url = fields.String(**doc(null=True))
    seed = fields.Integer(**doc("The seed that made it."))
    variation_seed = fields.Integer(**doc("The second seed of a variation.", optional=True))


class JobAnswer(Answer):
    """A job."""

    id = fields.String(**doc())
    key = fields.String(**doc("Name of the key that it belongs to. Only admins are shown it.", optional=True))
    reused = fields.Boolean(
        **doc("true in the answer to a request for which an earlier, equal one was found.", optional=True)
    )
    state = fields.String(**doc("The last four are final.", enum=[*JobState]))
    pausing = fields.Boolean(**doc("Whether it will be paused after the present step of its run."))
    model = fields.String(**doc())
    kind = fields.String(**doc(enum=KINDS))
    progress = fields.Nested(ProgressAnswer, **doc())
    position = fields.Integer(**doc("1 is next, 0 has a slot, null is paused, over, or waits for its time.", null=True))
    eta_s = fields.Float(**doc("Expected seconds until it is computed.", null=True))
    waiting_for = fields.String(**doc("What must happen before any slot can run it.", null=True))
    job_class = fields.String(**doc(enum=[*CLASSES]), data_key="class")
    priority = fields.Integer(**doc())
    pause_at_step = fields.Integer(**doc("The steps after which it is paused, once.", null=True))
    retention = fields.String(**doc(enum=[*RETENTION_CLASSES]))
    command = fields.String(**doc("The model command that it carries out.", null=True))
    slot = fields.String(**doc(null=True))
    device = fields.String(**doc(null=True))
    error = fields.Nested(JobErrorAnswer, **doc(null=True))
    report = fields.Nested(OpenAnswer, **doc("Result of a model command.", null=True))
    attempt = fields.Integer(**doc("Number of runs that began. Those that were interrupted are not counted."))
    resumed_from_step = fields.Integer(
        **doc("The step after which its last run went on from a checkpoint; null: it began anew.", null=True)
    )
    preemptions = fields.Integer(**doc("Number of runs that gave their slot to a job of a higher class."))
    batch_size = fields.Integer(**doc("Number of jobs that shared its last run; null: it ran alone.", null=True))
    warnings = texts()
    request = fields.Nested(RequestAnswer, **doc())
    preview = fields.Nested(PreviewAnswer, **doc(null=True))
    created_at = time_of()
    not_before = time_of("The time before which it does not start.")
    started_at = time_of()
    computed_at = time_of()
    finished_at = time_of()
    resume_by = time_of("When a paused job expires unless it is resumed.")
    expires_at = time_of("When its files will be removed.")
    outputs = fields.List(fields.Nested(OutputAnswer), **doc())
    links = fields.Nested(LinksAnswer, **doc())


class JobPageAnswer(Answer):
    """One page of jobs."""

    jobs = fields.List(fields.Nested(JobAnswer), **doc("Newest first."))
    total = fields.Integer(**doc("Number of jobs in the whole list; null with `model` or `text`.", null=True))
    next = fields.String(**doc("`after` of the next page; null on the last one.", null=True))


class CancelledJobAnswer(JobAnswer):
    """A job after a call that stops it."""

    cancelled = fields.Boolean(**doc("False if it had finished before."))


class CancelledJobsAnswer(Answer):
    """The jobs that a call has stopped."""

    cancelled = texts("Their ids.")


class DeletedJobAnswer(Answer):
    """A job that is deleted."""

    id = fields.String(**doc())
    deleted = fields.Boolean(**doc("False while its worker stops."))
    changed = fields.Boolean(**doc("False if it was deleted before."))


class TryAnswer(OpenAnswer):
    """One attempt of a delivery."""

    at = time_of()


class DeliveryAnswer(Answer):
    """The delivery of one event."""

    webhook_id = fields.String(**doc("The same in all attempts."))
    event = fields.String(**doc(enum=[*EVENTS]))
    state = fields.String(**doc("`pending`, `delivered`, `failed` or `gone`."))
    written_at = time_of()
    next_try_at = time_of("Null: there is none.")
    tries = fields.List(fields.Nested(TryAnswer), **doc("The newest attempts."))


class TriedDeliveryAnswer(Answer):
    """The delivery of one event of one job."""

    job_id = fields.String(**doc())
    key = fields.String(**doc("Name of the job's key."))
    event = fields.String(**doc(enum=[*EVENTS]))
    receiver = fields.String(**doc("Its host and port."))
    state = fields.String(**doc("`pending`, `delivered`, `failed` or `gone`."))
    attempts = fields.Integer(**doc("Number of tries; of many, those that are kept."))
    status = fields.Integer(**doc("HTTP status of the last try; null without a response.", null=True))
    error = fields.String(**doc("What went wrong in the last try.", null=True))
    tried_at = time_of("The last try.")
    next_try_at = time_of("Null: there is none.")


class NewestDeliveriesAnswer(Answer):
    """The newest webhook deliveries of all jobs."""

    deliveries = fields.List(fields.Nested(TriedDeliveryAnswer), **doc("Newest try first."))


class DeliveriesAnswer(Answer):
    """The webhook deliveries of a job."""

    job_id = fields.String(**doc())
    url = fields.String(**doc("The receiver; null without one.", null=True))
    events = texts()
    deliveries = fields.List(fields.Nested(DeliveryAnswer), **doc())
