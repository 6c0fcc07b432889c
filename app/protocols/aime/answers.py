"""Schemas of the responses to clients and workers of the AIME protocol."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from app.openapi.answers import Answer, OpenAnswer, doc, texts
from app.protocols.aime.clients.states import STATES

_VERSION: dict[str, Any] = doc("Version of the endpoint.", null=True)
_STATES = sorted({*STATES.values()})


# ---- clients


class AimeErrorAnswer(Answer):
    """A refused request."""

    success = fields.Boolean(**doc(enum=[False]))
    error = fields.Raw(
        **doc("One text for each problem; a single text when the endpoint accepts no job at all.",
              type=["array", "string"], items={"type": "string"})
    )  # fmt: skip
    ep_version = fields.Integer(**{**_VERSION, "required": False})


class AimeNumbersAnswer(Answer):
    """The progress of a job."""

    progress = fields.Float(**doc("Percent."))
    progress_data = fields.Dict(**doc("Outputs of the progress, such as previews."))
    queue_position = fields.Integer(**doc("0 once it is computed."))
    estimate = fields.Float(**doc("Expected seconds; -1 without a worker."))
    num_workers_online = fields.Integer(**doc())


class AimeEndedAnswer(AimeErrorAnswer):
    """A job that ended without a result."""

    error = fields.Raw(**doc("Why.", type="string"))
    job_id = fields.String(**doc())
    job_state = fields.String(**doc(enum=_STATES))
    progress = fields.Nested(AimeNumbersAnswer, **doc())


class AimeMethodAnswer(Answer):
    """A method that the endpoint does not allow."""

    description = fields.String(**doc())
    status = fields.Integer(**doc())
    message = fields.String(**doc())


class AimeAcceptedAnswer(Answer):
    """A job that was accepted."""

    success = fields.Boolean(**doc(enum=[True]))
    job_id = fields.String(**doc())
    ep_version = fields.Integer(**_VERSION)


class AimeProgressAnswer(AimeAcceptedAnswer):
    """The progress of a job that has not finished."""

    job_state = fields.String(**doc(enum=_STATES))
    progress = fields.Nested(AimeNumbersAnswer, **doc())


class AimeCancelledAnswer(Answer):
    """A job after a call that cancels it."""

    success = fields.Boolean(**doc("False if it had finished before."))
    job_id = fields.String(**doc())
    job_state = fields.String(**doc(enum=_STATES))


class AimeSessionAnswer(Answer):
    """A session, or why there is none."""

    success = fields.Boolean(**doc())
    error = fields.String(**doc(optional=True))
    ep_version = fields.Integer(**{**_VERSION, "required": False})
    client_session_auth_key = fields.String(**doc("The key of the session.", optional=True))
    key = fields.String(**doc("As it was sent.", null=True, optional=True))
    user = fields.String(**doc("As it was sent.", null=True, optional=True))


class AimeKeyAnswer(Answer):
    """Whether a key is valid."""

    success = fields.Boolean(**doc())
    error = fields.String(**doc(null=True))


class AimeTextErrorAnswer(Answer):
    """An error outside of an endpoint."""

    error = fields.String(**doc())


class AimeEndpointsAnswer(Answer):
    """The names of endpoints."""

    endpoints = texts()


class AimeWorkerAnswer(Answer):
    """A worker of an endpoint."""

    name = fields.String(**doc())
    state = fields.String(**doc(enum=["processing", "waiting"]))
    max_batch_size = fields.Integer(**doc())
    free_slots = fields.Integer(**doc())
    gpu_name = fields.Raw(**doc(null=True))
    num_gpus = fields.Raw(**doc(null=True))
    framework = fields.Raw(**doc(null=True))
    framework_version = fields.Raw(**doc(null=True))
    pytorch_version = fields.Raw(**doc(null=True))
    model = fields.Nested(OpenAnswer, **doc())


class AimeParametersAnswer(Answer):
    """Inputs and outputs as the configuration file declares them."""

    input = fields.Dict(**doc())
    output = fields.Dict(**doc())
    progress = fields.Dict(**doc())


class AimeEndpointAnswer(Answer):
    """An endpoint."""

    name = fields.String(**doc())
    title = fields.String(**doc())
    description = fields.String(**doc())
    http_methods = texts()
    version = fields.Integer(**_VERSION)
    category = fields.String(**doc(null=True))
    demo_url = fields.String(**doc())
    max_queue_length = fields.Integer(**doc())
    max_time_in_queue = fields.Float(**doc("Seconds."))
    free_queue_slots = fields.Integer(**doc())
    input_metering = texts()
    output_metering = texts()
    num_active_workers = fields.Integer(**doc())
    num_workers = fields.Integer(**doc())
    workers = fields.List(fields.Nested(AimeWorkerAnswer), **doc())
    parameter_description = fields.Nested(AimeParametersAnswer, **doc())


# ---- workers


class AimeServerStatusAnswer(Answer):
    """Whether a worker may serve."""

    cmd = fields.String(**doc(enum=["ok", "warning", "error"]))
    msg = fields.String(**doc(optional=True))
    logged_in = fields.Boolean(**doc())
    job_type_present = fields.Boolean(**doc())
    key_valid = fields.Boolean(**doc())


class AimeWorkerLoginAnswer(Answer):
    """Whether a worker is registered."""

    success = fields.Boolean(**doc())
    error_msg = fields.String(**doc(optional=True))
    request_timeout = fields.Integer(**doc("Seconds of a long poll.", optional=True))
    api_server_version = fields.String(**doc(optional=True))


class AimeJobsAnswer(Answer):
    """Jobs for a worker, or none."""

    cmd = fields.String(**doc(enum=["job", "no_job", "warning", "error"]))
    msg = fields.String(**doc(optional=True))
    api_server_version = fields.String(**doc())
    endpoint_name = fields.String(**doc(optional=True))
    job_data = fields.List(fields.Dict(), **doc("Inputs of each job, with its `job_id`.", optional=True))
    input_descriptions = fields.Dict(**doc(optional=True))
    progress_output_descriptions = fields.Dict(**doc(optional=True))
    final_output_descriptions = fields.Dict(**doc(optional=True))
    progress_descriptions = fields.Dict(**doc("For older workers.", optional=True))
    output_descriptions = fields.Dict(**doc("For older workers.", optional=True))


class AimeReportAnswer(Answer):
    """The response to a report of progress or a result."""

    success = fields.Boolean(**doc(optional=True))
    cmd = fields.String(**doc(optional=True, enum=["ok", "warning", "error"]))
    msg = fields.String(**doc(optional=True))
    error_msg = fields.String(**doc(optional=True))
    job_id = fields.String(**doc("A job that was canceled.", optional=True))
    canceled = fields.Boolean(**doc(optional=True))
