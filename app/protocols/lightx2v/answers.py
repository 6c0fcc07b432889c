"""Schemas of LightX2V's responses."""

from __future__ import annotations

from marshmallow import fields

from app.openapi.answers import Answer, doc, texts
from app.openapi.requests import RequestAnswer
from app.protocols.lightx2v.states import QUEUE_WORDS, SINGLE_WORDS
from jobs.states import JobState

_WORDS = sorted({*QUEUE_WORDS.values(), *SINGLE_WORDS.values()})


class LightX2VCreatedAnswer(Answer):
    """A new task."""

    task_id = fields.String(**doc())
    task_status = fields.String(**doc(enum=["pending", "processing"]))
    save_video_path = fields.String(**doc("Path of the output below `/v1/files/download/`; name in older versions."))
    save_result_path = fields.String(**doc("Path of the output below `/v1/files/download/`."))
    status = fields.String(**doc(enum=_WORDS))
    state = fields.String(**doc("State of the job.", enum=[*JobState]))
    model = fields.String(**doc())
    position = fields.Integer(**doc("1 is next, 0 has a slot, null is over.", null=True))
    waiting_for = fields.String(**doc("What keeps it from going on.", null=True))
    eta_s = fields.Float(**doc("Expected seconds until it is computed.", null=True))
    warnings = texts()


class LightX2VUploadedAnswer(Answer):
    """A task whose image was uploaded."""

    task_id = fields.String(**doc())
    task_status = fields.String(**doc(enum=["completed"]))
    uploaded_to_presigned_url = fields.Boolean(**doc())
    presigned_url = fields.String(**doc("The link, as it was sent."))
    warnings = texts()


class LightX2VSummaryAnswer(Answer):
    """What the status and the list of tasks have in common. Times are the server's, without a zone."""

    task_id = fields.String(**doc())
    status = fields.String(**doc(enum=_WORDS))
    success = fields.Boolean(**doc())
    start_time = fields.String(**doc())
    end_time = fields.String(**doc(null=True))
    completion_time = fields.String(**doc("Only of tasks that succeeded.", null=True))
    error = fields.String(**doc(null=True))
    error_type = fields.String(**doc("Stable name of the error; empty without one."))
    save_video_path = fields.String(**doc())
    save_result_path = fields.String(**doc())
    state = fields.String(**doc(enum=[*JobState]))
    model = fields.String(**doc())


class LightX2VStatusAnswer(LightX2VSummaryAnswer):
    """The status of a task."""

    stage = fields.String(**doc(null=True))
    step = fields.Integer(**doc())
    steps = fields.Integer(**doc())
    percent = fields.Integer(**doc())
    position = fields.Integer(**doc(null=True))
    waiting_for = fields.String(**doc("What keeps it from going on.", null=True))
    eta_s = fields.Float(**doc(null=True))
    slot = fields.String(**doc(null=True))
    device = fields.String(**doc(null=True))
    warnings = texts()
    request = fields.Nested(RequestAnswer, **doc())


class LightX2VUnknownTaskAnswer(Answer):
    """The status of an unknown task in profile `single`."""

    task_id = fields.String(**doc())
    status = fields.String(**doc(enum=["not_found"]))


class LightX2VRequestAnswer(Answer):
    """The request in LightX2V's words."""

    task_id = fields.String(**doc())
    prompt = fields.String(**doc())
    use_prompt_enhancer = fields.Boolean(**doc())
    negative_prompt = fields.String(**doc())
    image_path = fields.String(**doc())
    num_fragments = fields.Integer(**doc())
    save_video_path = fields.String(**doc())
    save_result_path = fields.String(**doc())
    infer_steps = fields.Integer(**doc())
    target_video_length = fields.Integer(**doc())
    seed = fields.Integer(**doc())
    audio_path = fields.String(**doc())
    video_duration = fields.Integer(**doc("Seconds."))
    target_fps = fields.Float(**doc())
    target_shape = fields.List(fields.Integer(), **doc("Height and width."))


class LightX2VListedAnswer(LightX2VSummaryAnswer):
    """A task in the list."""

    completion_time = fields.String(**doc("Absent in profile `single` if it failed.", null=True, optional=True))
    message = fields.Nested(LightX2VRequestAnswer, **doc())


class LightX2VServiceAnswer(Answer):
    """The state of the service."""

    service_status = fields.String(**doc(enum=["idle", "busy"]))
    task_id = fields.String(**doc(null=True))
    start_time = fields.String(**doc(null=True))
    current_task = fields.String(**doc(null=True))
    active_tasks = texts()
    pending_tasks = fields.Integer(**doc())
    queue_size = fields.Integer(**doc())
    total_tasks = fields.Integer(**doc())
    completed_tasks = fields.Integer(**doc())
    failed_tasks = fields.Integer(**doc())


class LightX2VQueueAnswer(Answer):
    """The counters of the queue."""

    is_processing = fields.Boolean(**doc())
    current_task = fields.String(**doc(null=True))
    pending_count = fields.Integer(**doc())
    active_count = fields.Integer(**doc())
    queue_size = fields.Integer(**doc())
    queue_available = fields.Integer(**doc())


class LightX2VMetadataAnswer(Answer):
    """What the service serves."""

    nproc_per_node = fields.Integer(**doc("Number of slots."))
    model_cls = fields.String(**doc())
    model_path = fields.String(**doc())
    models = texts()


class LightX2VCancelledAnswer(Answer):
    """The response to a stop of one task."""

    task_id = fields.String(**doc())
    state = fields.String(**doc(enum=[*JobState]))
    changed = fields.Boolean(**doc())
    stop_status = fields.String(**doc(enum=["success", "do_nothing"]))
    reason = fields.String(**doc())


class LightX2VStoppedAnswer(Answer):
    """The response to a stop of several tasks."""

    stop_status = fields.String(**doc(enum=["success", "do_nothing"]))
    reason = fields.String(**doc())
    cancelled = texts("Ids of the tasks that were stopped.")
