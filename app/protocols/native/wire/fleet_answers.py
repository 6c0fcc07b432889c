"""Schemas of the responses about slots, the queue, models and API keys."""

from __future__ import annotations

from marshmallow import fields

from app.openapi.answers import Answer, OpenAnswer, doc, numbers_by_name, texts, time_of
from app.openapi.requests import LoraAnswer
from app.payloads.openai_models import ModelEntryAnswer
from app.protocols.native.wire.answers import JobErrorAnswer, LinksAnswer
from jobs.callers import Role
from jobs.models.controls import ControlType
from jobs.models.spec import Kind
from jobs.outbound.webhook import EVENTS
from jobs.settings import CLASSES, RETENTION_CLASSES
from jobs.slots.residency import Place

_PLACES = [*Place]


class LoadedModelAnswer(Answer):
    """A model in a slot's memory."""

    model = fields.String(**doc())
    place = fields.String(**doc(enum=_PLACES))
    bytes = fields.Integer(**doc("Size of its weights."))
    pinned = fields.Boolean(**doc())


class DeviceAnswer(Answer):
    """What a device reports; values that cannot be measured are absent."""

    name = fields.String(**doc(optional=True))
    memory_total_bytes = fields.Integer(**doc(optional=True))
    memory_used_bytes = fields.Integer(**doc(optional=True))
    memory_free_bytes = fields.Integer(**doc(optional=True))
    utilization_percent = fields.Float(**doc(optional=True))
    temperature_c = fields.Float(**doc(optional=True))
    load_1min = fields.Float(**doc(optional=True))
    cores = fields.Integer(**doc(optional=True))


class SlotAnswer(Answer):
    """A slot."""

    name = fields.String(**doc())
    node = fields.String(**doc())
    device = fields.String(**doc())
    device_name = fields.String(**doc())
    state = fields.String(**doc(enum=["idle", "busy", "paused", "waiting", "draining", "lost"]))
    job_id = fields.String(**doc("Your job that it computes.", null=True))
    models = texts("Models that it may run.")
    resident = texts("Models in its memory with which a job starts at once.")
    load_count = fields.Integer(**doc("Models read from disk since it started."), data_key="loads")
    waiting_for = fields.String(**doc("Why it gets no job now.", null=True))
    out_of_memory = fields.Integer(**doc())
    held = fields.List(fields.Nested(LoadedModelAnswer), **doc("All models in its memory."))
    device_facts = fields.Nested(DeviceAnswer, **doc())


class FleetAnswer(Answer):
    """The slots and the delivery workers."""

    slots = fields.List(fields.Nested(SlotAnswer), **doc())
    delivery = texts("Hosts with a delivery worker.")
    object_store_away = texts("Hosts whose deliveries wait for the object store.")
    version = fields.String(**doc("Version of the server."))


class SampleAnswer(Answer):
    """Means of a minute; values that cannot be measured are absent."""

    at = time_of()
    memory_total_bytes = fields.Integer(**doc(optional=True))
    memory_used_bytes = fields.Integer(**doc(optional=True))
    utilization_percent = fields.Float(**doc(optional=True))
    temperature_c = fields.Float(**doc(optional=True))
    load_1min = fields.Float(**doc(optional=True))
    cores = fields.Integer(**doc(optional=True))


class SlotHistoryAnswer(Answer):
    """The last hour of a slot's device."""

    name = fields.String(**doc())
    samples = fields.List(fields.Nested(SampleAnswer), **doc("Oldest first; empty for back ends."))


class FleetHistoryAnswer(Answer):
    """The last hour of all slots."""

    interval_s = fields.Integer(**doc("Seconds between two samples."))
    slots = fields.List(fields.Nested(SlotHistoryAnswer), **doc())


class WaitingAnswer(Answer):
    """Waiting jobs."""

    total = fields.Integer(**doc())
    by_model = numbers_by_name()
    by_class = numbers_by_name()


class EtaAnswer(Answer):
    """Accuracy of the expected times."""

    jobs = fields.Integer(**doc())
    mean_error_s = fields.Float(**doc())
    mean_actual_s = fields.Float(**doc())


class QueueAnswer(Answer):
    """The queue."""

    idle = fields.Boolean(**doc("Whether a job that is submitted now would start at once."))
    active = texts("Your jobs that are computed or delivered.")
    counts = numbers_by_name("Jobs by state.")
    submitted = fields.Integer(**doc())
    waiting = fields.Nested(WaitingAnswer, **doc())
    waiting_for = texts("Models that no live worker has.")
    max_waiting = fields.Integer(**doc())
    paused = texts("Paused slots; `*` is the whole queue.")
    eta = fields.Nested(EtaAnswer, **doc())


class LimitAnswer(Answer):
    """A range of allowed values."""

    min = fields.Float(**doc())
    max = fields.Float(**doc())


class CopyAnswer(Answer):
    """Where a model is in memory."""

    slot = fields.String(**doc())
    place = fields.String(**doc(enum=_PLACES))
    bytes = fields.Integer(**doc())


class DefaultsAnswer(OpenAnswer):
    """Values of fields that a request omits."""

    scheduler = fields.String(**doc(null=True))
    loras = fields.List(fields.Nested(LoraAnswer), **doc())
    audio_output = fields.Boolean(**doc("Whether videos have sound; absent if the model makes none.", optional=True))


class ControlDefaultsAnswer(Answer):
    """Values of requests that name none."""

    scale = fields.Float(**doc())
    start = fields.Float(**doc())
    end = fields.Float(**doc())


class ControlEntryAnswer(Answer):
    """A control of a model."""

    name = fields.String(**doc())
    type = fields.String(**doc(enum=[*ControlType]))
    description = fields.String(**doc())
    kinds = fields.List(fields.String(metadata={"enum": [*Kind]}), **doc("Kinds of jobs that may have it."))
    defaults = fields.Nested(ControlDefaultsAnswer, **doc())
    limits = fields.Dict(values=fields.Nested(LimitAnswer), **doc("By field."))


class ModelAnswer(Answer):
    """A model."""

    name = fields.String(**doc())
    description = fields.String(**doc())
    aliases = texts("Other names of it for clients of OpenAI's API.")
    kinds = fields.List(fields.String(metadata={"enum": [*Kind]}), **doc())
    defaults = fields.Nested(DefaultsAnswer, **doc())
    limits = fields.Dict(values=fields.Nested(LimitAnswer), **doc("By field."))
    quality = fields.Dict(
        values=fields.Dict(), **doc("Values of each quality that a request may have; empty if there is only one.")
    )
    clamp = fields.Boolean(**doc("Whether values outside the limits are changed, with a warning, not refused."))
    size_multiple_px = fields.Integer(**doc())
    frames_step = fields.Integer(**doc())
    schedulers = texts()
    loras = texts()
    controls = fields.List(fields.Nested(ControlEntryAnswer), **doc("Controls that a request may name."))
    slots = texts("Slots that may run it; empty: all.")
    inputs = fields.Dict(
        keys=fields.String(), values=fields.List(fields.String()), **doc("Input files that each kind takes.")
    )
    loadable = fields.Boolean(**doc("Whether it has weights, which can be loaded, pinned and checked."))
    warm = fields.Boolean(**doc())
    pinned = texts("Slots that keep it; null while Redis does not respond.", null=True)
    memory = fields.List(fields.Nested(CopyAnswer), **doc(null=True))


class ModelsAnswer(Answer):
    """All models."""

    models = fields.List(fields.Nested(ModelAnswer), **doc())
    object = fields.String(**doc("`list`."))
    data = fields.List(fields.Nested(ModelEntryAnswer), **doc("The models that the key may use, as OpenAI's API."))


class CommandOnSlotAnswer(Answer):
    """What a model command does on a slot."""

    slot = fields.String(**doc())
    will = fields.String(**doc())
    job_id = fields.String(**doc("The job that does it; absent if there is nothing to do.", optional=True))
    position = fields.Integer(**doc(optional=True, null=True))
    links = fields.Nested(LinksAnswer, **doc(optional=True))


class ModelCommandAnswer(Answer):
    """The response to a model command."""

    model = fields.String(**doc())
    command = fields.String(**doc(enum=["load", "unload", "check", "profile", "unpin"]))
    slots = fields.List(fields.Nested(CommandOnSlotAnswer), **doc())


class KeyWebhookAnswer(Answer):
    """The webhook of a key's jobs."""

    url = fields.String(**doc())
    events = fields.List(fields.String(metadata={"enum": [*EVENTS]}), **doc())
    gone_at = time_of("When the receiver answered 410 and was given up.")


class KeyAnswer(Answer):
    """An API key without its secret."""

    service = fields.String(**doc())
    role = fields.String(**doc(enum=[*Role]))
    job_class = fields.String(**doc(enum=[*CLASSES]), data_key="class")
    retention = fields.String(**doc("Empty: the setting of the server."))
    max_waiting = fields.Integer(**doc("0: no limit."))
    max_running = fields.Integer(**doc("0: no limit."))
    max_per_minute = fields.Integer(**doc("0: no limit."))
    models = texts("Empty: all.")
    endpoints = texts("Paths that it may call; empty: all.")
    may_skip_moderation = fields.Boolean(**doc())
    webhook = fields.Nested(KeyWebhookAnswer, **doc(null=True))


class NewKeyAnswer(KeyAnswer):
    """A new API key."""

    secret = fields.String(**doc("Shown only this once."))
    webhook_secret = fields.String(**doc("Signs webhooks; shown only this once.", optional=True))


class KeysAnswer(Answer):
    """All API keys."""

    keys = fields.List(fields.Nested(KeyAnswer), **doc())


class RevokedKeyAnswer(Answer):
    """A revoked API key."""

    service = fields.String(**doc())
    revoked = fields.Boolean(**doc())


class ServiceWebhookAnswer(Answer):
    """The webhook of a service's key."""

    service = fields.String(**doc())
    webhook = fields.Nested(KeyWebhookAnswer, **doc(null=True))
    secret = fields.String(**doc("Only if it is new; shown only this once.", optional=True))


class PausedAnswer(Answer):
    """What is paused."""

    paused = texts("Slots; `*` is the whole queue.")


class DrainAnswer(Answer):
    """A slot that gets no new job."""

    slot = fields.String(**doc())
    drained = fields.Boolean(**doc("Whether it has no job any more."))
    job_id = fields.String(**doc("The job that it still runs.", null=True))


class YieldAnswer(Answer):
    """A slot that gets no new job and gives up the memory of its device."""

    slot = fields.String(**doc())
    yielded = fields.Boolean(**doc("Whether its worker holds no memory of the device any more."))
    job_id = fields.String(**doc("The job that it still runs.", null=True))
    memory_used_bytes = fields.Integer(
        **doc("Memory of the device that is used, by all processes, as it was measured last.", null=True)
    )
    memory_total_bytes = fields.Integer(**doc("All memory of the device.", null=True))


class DeadLetterAnswer(Answer):
    """A job whose workers died too often."""

    id = fields.String(**doc())
    model = fields.String(**doc())
    error = fields.Nested(JobErrorAnswer, **doc(null=True))


class DeadLettersAnswer(Answer):
    """The dead letters."""

    dead = fields.List(fields.Nested(DeadLetterAnswer), **doc("Newest first."))


class RetentionAnswer(Answer):
    """How long files are kept."""

    default = fields.String(**doc("Class of jobs that name none.", enum=[*RETENTION_CLASSES]))
    days = fields.Float(**doc("Class `days`: days after the end of the job."))
    hours = fields.Float(**doc("Class `hours`: hours after the end of the job."))


class DiskAnswer(Answer):
    """The disk of a folder on the host of the web server."""

    name = fields.String(**doc("What is in the folder: `outputs`, `spool` or `redis`."))
    free_bytes = fields.Integer(**doc())
    total_bytes = fields.Integer(**doc())


class AmountAnswer(Answer):
    """A number of files, and their size."""

    files = fields.Integer(**doc())
    bytes = fields.Integer(**doc())


class StoredAnswer(Answer):
    """What the object store has."""

    inputs = fields.Nested(AmountAnswer, **doc("Input images."))
    outputs = fields.Nested(AmountAnswer, **doc("Outputs with their thumbnails and posters."))
    checkpoints = fields.Nested(AmountAnswer, **doc("Checkpoints of runs."))
    counted_at = time_of("When they were counted.")


class StorageAnswer(Answer):
    """Where files are stored, how many, and for how long."""

    bucket = fields.String(**doc("Null: a local folder.", null=True))
    stored = fields.Nested(StoredAnswer, **doc("Null before they were counted for the first time.", null=True))
    retention = fields.Nested(RetentionAnswer, **doc())
    disks = fields.List(fields.Nested(DiskAnswer), **doc())
