"""What the tools return, as schemas; the views build the values themselves."""

from __future__ import annotations

from marshmallow import fields, validate

from app.fields import Text
from app.openapi.answers import Answer, OpenAnswer, doc, texts
from jobs.states import JobState


class OutputAnswer(Answer):
    """An output of a job."""

    index = fields.Integer(**doc())
    url = fields.String(**doc("Where the whole file can be fetched; also an `image` of edit_image."))
    media_type = fields.String(**doc())
    bytes = fields.Integer(**doc())
    width = fields.Integer(**doc("Pixels."))
    height = fields.Integer(**doc("Pixels."))
    frames = fields.Integer(**doc("1 for an image."))
    fps = fields.Float(**doc("0 for an image."))
    seed = fields.Integer(**doc("Makes the same output again.", optional=True))


class FailureAnswer(Answer):
    """Why a job did not succeed."""

    code = fields.String(**doc())
    message = fields.String(**doc())


class JobAnswer(Answer):
    """A job."""

    job_id = fields.String(**doc("Of get_job, cancel_job, pause_job and resume_job; also an `image` of edit_image."))
    state = fields.String(**doc(enum=[*JobState]))
    model = fields.String(**doc())
    kind = fields.String(**doc(null=True))
    stage = fields.String(**doc("What a running job does.", null=True))
    step = fields.Integer(**doc("Denoising steps done."))
    steps = fields.Integer(**doc("Denoising steps in all."))
    percent = fields.Integer(**doc())
    position = fields.Integer(**doc("Place in the queue: 1 is next, 0 has a GPU; null when it is over.", null=True))
    seconds_left = fields.Float(**doc("Seconds until it is computed, if known.", null=True))
    waiting_for = fields.String(**doc("What must happen before any GPU can run it.", null=True))
    outputs = fields.List(fields.Nested(OutputAnswer), **doc("The files of a job that has succeeded."))
    error = fields.Nested(FailureAnswer, **doc("Why it failed.", null=True))
    warnings = texts("What was done otherwise than requested.")
    next = fields.String(**doc("What to do next.", null=True))


class ModelAnswer(OpenAnswer):
    """A model."""

    name = fields.String(**doc())
    description = fields.String(**doc())
    tools = texts("The tools that can use it.")
    kinds = texts()
    defaults = fields.Dict(**doc("Values of arguments that are not sent."))
    limits = fields.Dict(**doc("Smallest (`min`) and largest (`max`) values."))
    quality = fields.Dict(**doc("Values of each quality; empty if there is only one."))
    schedulers = texts()
    loras = texts()
    controls = fields.List(fields.Dict(), **doc("Controls: name, type, description, kinds, defaults and limits."))


class ModelsAnswer(Answer):
    """The models."""

    models = fields.List(fields.Nested(ModelAnswer), **doc())


class McpErrorAnswer(OpenAnswer):
    """A JSON-RPC error."""

    jsonrpc = fields.String(**doc(enum=["2.0"]))
    id = fields.Raw(**doc("Id of the request; null if it is unknown.", null=True))
    error = fields.Dict(**doc("`code`, `message` and, for some, `data`."))


class McpAnswer(OpenAnswer):
    """A JSON-RPC response: either `result` or `error`."""

    jsonrpc = fields.String(**doc(enum=["2.0"]))
    id = fields.Raw(**doc("Id of the request."))
    result = fields.Dict(**doc("The result, as the Model Context Protocol defines it.", optional=True))
    error = fields.Dict(**doc("`code`, `message` and, for some, `data`.", optional=True))


class McpRequestSchema(OpenAnswer):
    """A JSON-RPC request or notification."""

    jsonrpc = Text(validate=validate.OneOf(["2.0"]), **doc(enum=["2.0"]))
    method = Text(**doc("A method of the Model Context Protocol.", example="tools/list"))
    id = fields.Raw(**doc("Id of a request, text or a whole number.", optional=True, type=["string", "integer"]))
    params = fields.Dict(**doc("Parameters of the method.", optional=True))
