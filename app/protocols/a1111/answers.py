"""Schemas of the responses of AUTOMATIC1111's API."""

from __future__ import annotations

from marshmallow import fields

from app.openapi.answers import Answer, OpenAnswer, doc, texts


class A1111ErrorAnswer(Answer):
    """An error as the original renders its exceptions."""

    error = fields.String(**doc("Name of the exception."))
    detail = fields.String(**doc("The text that clients compare."))
    body = fields.String(**doc())
    errors = fields.String(**doc("What is wrong, the rule, and what to do."))


class A1111ProblemAnswer(Answer):
    """A refused field."""

    loc = texts("`body`, and its name.")
    msg = fields.String(**doc("The rule that it breaks."))
    type = fields.String(**doc())


class A1111ProblemsAnswer(Answer):
    """Refused fields, as the original renders them."""

    detail = fields.List(fields.Nested(A1111ProblemAnswer), **doc())


class A1111ImagesAnswer(Answer):
    """Images and how they were made."""

    images = texts("The images in base64.")
    parameters = fields.Nested(OpenAnswer, **doc("Every field of the request with the value that was used."))
    info = fields.String(**doc("JSON with all seeds and infotexts."))


class A1111StateAnswer(Answer):
    """The state of a request."""

    skipped = fields.Boolean(**doc())
    interrupted = fields.Boolean(**doc())
    stopping_generation = fields.Boolean(**doc())
    job = fields.String(**doc())
    job_count = fields.Integer(**doc())
    job_timestamp = fields.String(**doc())
    job_no = fields.Integer(**doc())
    sampling_step = fields.Integer(**doc())
    sampling_steps = fields.Integer(**doc())


class A1111ProgressAnswer(Answer):
    """The progress of the oldest request."""

    progress = fields.Float(**doc("0 to 1."))
    eta_relative = fields.Float(**doc("Seconds."))
    state = fields.Nested(A1111StateAnswer, **doc())
    current_image = fields.String(**doc("The newest preview in base64.", null=True))
    textinfo = fields.String(**doc(null=True))


class A1111TaskProgressAnswer(Answer):
    """The progress of one request."""

    active = fields.Boolean(**doc())
    queued = fields.Boolean(**doc())
    completed = fields.Boolean(**doc())
    progress = fields.Float(**doc("0 to 1.", null=True))
    eta = fields.Float(**doc("Seconds.", null=True))
    live_preview = fields.String(**doc("The newest preview as a data URL.", null=True))
    id_live_preview = fields.Integer(**doc())
    textinfo = fields.String(**doc(null=True))


class A1111PendingAnswer(Answer):
    """Requests that have not started."""

    size = fields.Integer(**doc())
    tasks = texts()


class A1111PngInfoAnswer(Answer):
    """What an image file says of its making."""

    info = fields.String(**doc("The infotext; empty if there is none."))
    items = fields.Dict(values=fields.String(), **doc("Other texts of the file."))
    parameters = fields.Dict(values=fields.String(), **doc("The values of the infotext."))


class A1111ImageAnswer(Answer):
    """An enlarged image."""

    image = fields.String(**doc("PNG in base64."))
    html_info = fields.String(**doc())


class A1111ImageListAnswer(Answer):
    """Enlarged images."""

    images = texts("PNG in base64.")
    html_info = fields.String(**doc())


class A1111ModelAnswer(Answer):
    """A model."""

    title = fields.String(**doc())
    model_name = fields.String(**doc())
    hash = fields.String(**doc(null=True))
    sha256 = fields.String(**doc(null=True))
    filename = fields.String(**doc())
    config = fields.String(**doc(null=True))


class A1111SamplerAnswer(Answer):
    """A sampler."""

    name = fields.String(**doc())
    aliases = texts()
    options = fields.Dict(**doc())


class A1111ScheduleAnswer(Answer):
    """A noise schedule."""

    name = fields.String(**doc())
    label = fields.String(**doc())
    aliases = texts(null=True)
    default_rho = fields.Float(**doc())
    need_inner_model = fields.Boolean(**doc())


class A1111UpscalerAnswer(Answer):
    """An upscaler."""

    name = fields.String(**doc())
    model_name = fields.String(**doc(null=True))
    model_path = fields.String(**doc(null=True))
    model_url = fields.String(**doc(null=True))
    scale = fields.Float(**doc())


class A1111LatentUpscalerAnswer(Answer):
    """An upscaler of latents."""

    name = fields.String(**doc())


class A1111LoraAnswer(Answer):
    """A LoRA."""

    name = fields.String(**doc())
    alias = fields.String(**doc())
    path = fields.String(**doc())
    metadata = fields.Dict(**doc())


class A1111RamAnswer(Answer):
    """RAM of this machine, bytes."""

    free = fields.Integer(**doc())
    used = fields.Integer(**doc())
    total = fields.Integer(**doc())


class A1111MemoryAnswer(Answer):
    """Memory of this machine and its GPUs."""

    ram = fields.Nested(A1111RamAnswer, **doc())
    cuda = fields.Nested(OpenAnswer, **doc("Bytes, or `error`."))


class A1111EmbeddingsAnswer(Answer):
    """Embeddings."""

    loaded = fields.Dict(**doc())
    skipped = fields.Dict(**doc())


class A1111ScriptsAnswer(Answer):
    """Scripts."""

    txt2img = texts()
    img2img = texts()
