"""What callers send, checked for type and shape. Limits of the model are checked by ``jobs.requests.generation``."""

from __future__ import annotations

import json
from typing import Any

from marshmallow import INCLUDE, Schema, fields, validate

from app.fields import Number, Text, Whole
from jobs.callers import CLASSES
from jobs.models.spec import Kind
from jobs.outbound.webhook import EVENTS
from jobs.requests.inpaint import AREAS, FILLS, RESIZES
from jobs.requests.schedulers_loras_mix import MAX_LORAS, MAX_MIXED
from jobs.settings import RETENTION_CLASSES
from jobs.states import JobState
from jobs.submission import MAX_PRIORITY

#: Longest value a problem report repeats is cut in ``Problem``; longest text accepted at all, characters.
MAX_TEXT_CHARS = 100_000


#: Longest time a caller can ask for, seconds: 30 days.
MAX_SECONDS = 30 * 24 * 3600


class Part(fields.Nested):
    """An object; in a form, JSON as text."""

    default_error_messages = {"type": "must be an object"}

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise self.make_error("type") from None
        return super()._deserialize(value, *args, **kwargs)


class Parts(fields.List):
    """A list of objects; in a form, JSON as text."""

    default_error_messages = {"invalid": "must be a list"}

    def __init__(self, schema: type[Schema], longest: int, **kwargs: Any) -> None:
        length = validate.Length(max=longest, error="must be at most {max}")
        super().__init__(fields.Nested(schema), validate=length, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise self.make_error("invalid") from None
        parts: list[Any] = super()._deserialize(value, attr, data, **kwargs)
        return parts


class TextList(fields.List):
    """Texts as a JSON list; in a form, or where there is only one, as one text, comma separated."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(Text(), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        return super()._deserialize(value, attr, data, **kwargs)


def _doc(text: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"description": text, **more}, "allow_none": True}


class LoraSchema(Schema):
    """A LoRA of the model."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    name = Text(
        required=True,
        error_messages={"required": "is needed"},
        metadata={"description": "Name of a file in the model's LoRA folder, see /v1/models."},
    )
    weight = Number(**_doc("How much of it. Left out: the model's default for it, or 1."))


class MixSchema(Schema):
    """A text or an image that mix2img mixes; one of both."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    text = Text(validate=validate.Length(max=MAX_TEXT_CHARS), **_doc("What to show."))
    image = Text(**_doc("As the field `image`; in a form also the name of one of its files."))
    weight = Number(**_doc("Its share. Left out: 1."))


class VariationSchema(Schema):
    """Noise of another seed."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    seed = Whole(**_doc("The other seed. Left out or negative: random, and reported. Image i has this seed + i."))
    strength = Number(**_doc("How much of its noise: 0 gives the picture of `seed`, 1 that of the other seed."))


class HiresSchema(Schema):
    """A second, larger pass."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    width = Whole(**_doc("Pixels of the output. Left out: in proportion to the height."))
    height = Whole(**_doc("Pixels of the output. Left out: in proportion to the width."))
    scale = Number(**_doc("How much larger, instead of width and height. Left out: 2."))
    steps = Whole(**_doc("Left out: those of the job."))
    strength = Number(**_doc("How far the enlarged picture is changed, 0 to 1. Left out: 0.7."))


class PriorSchema(Schema):
    """Settings of a model's prior; left out: the model's."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    steps = Whole(**_doc("Steps of the prior."))
    guidance_scale = Number(**_doc("How closely the prior follows the prompt."))
    negative_prompt = Text(validate=validate.Length(max=MAX_TEXT_CHARS), **_doc("What not to show, for the prior."))


class InpaintSchema(Schema):
    """How a mask is used."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    area = Text(
        **_doc("`masked`: only the region around the mask is computed, and the output has the image's size.",
               enum=[*AREAS])
    )  # fmt: skip
    padding_px = Whole(**_doc("area masked: pixels around the mask that belong to the region, 0 to 512."))
    blur_px = Number(**_doc("Softens the mask: standard deviation of a Gaussian, 0 to 256 pixels."))
    fill = Text(**_doc("What lies under the mask at the start.", enum=[*FILLS]))


class SubmitSchema(Schema):
    """A job. Every field may be left out; the model's own default then applies."""

    class Meta:
        unknown = INCLUDE

    model = Text(**_doc("Name of a model, see /v1/models.", example="demo-image"))
    kind = Text(**_doc("What to do. Left out: follows from the model and the inputs.", enum=[*Kind]))
    prompt = Text(validate=validate.Length(max=MAX_TEXT_CHARS), **_doc("What to show.", example="a red circle"))
    negative_prompt = Text(validate=validate.Length(max=MAX_TEXT_CHARS), **_doc("What not to show."))
    seed = Whole(**_doc("The same seed gives the same output. Left out: random, and reported. Image i has seed + i."))
    steps = Whole(**_doc("Denoising steps."))
    guidance_scale = Number(**_doc("How closely the prompt is followed."))
    width = Whole(**_doc("Pixels; rounded to the model's multiple."))
    height = Whole(**_doc("Pixels; rounded to the model's multiple."))
    frames = Whole(**_doc("Frames of a video; rounded to the model's rule."))
    fps = Number(**_doc("Frames per second of a video."))
    image = Text(**_doc("Input image: base64, data URL or http(s) URL; in a form also a file."))
    mask = Text(**_doc("inpaint: as `image`, of any size; white is painted anew, black is kept."))
    strength = Number(**_doc("img2img, inpaint: 0 keeps the image, 1 ignores it."))
    resize = Text(**_doc("How `image` and `mask` get to width × height.", enum=[*RESIZES]))
    inpaint = Part(InpaintSchema, **_doc("inpaint: how the mask is used."))
    num_images = Whole(**_doc("Number of images."))
    scheduler = Text(**_doc("Name of a scheduler that the model offers.", example="DPM++ 2M Karras"))
    loras = Parts(LoraSchema, MAX_LORAS, **_doc("LoRAs to use; an empty list uses none, not even the model's own."))
    mix = Parts(MixSchema, MAX_MIXED, **_doc("mix2img: texts and images with their weights."))
    variation = Part(
        VariationSchema, **_doc("Mix in noise of another seed; image i then has `seed` and this seed + i.")
    )
    hires = Part(HiresSchema, **_doc("text2img: a second pass at a larger size, which the output has."))
    prior = Part(PriorSchema, **_doc("Settings of the prior, for models that have one."))
    output_format = Text(**_doc("Images: png, webp, jpeg. Videos: mp4, webm, gif, webp.", example="webp"))
    output_quality = Whole(**_doc("1 to 100, of formats that lose something."))
    embed_metadata = fields.Boolean(
        error_messages={"invalid": "must be true or false"},
        **_doc("Whether the output holds the request that made it."),
    )
    task_id = Text(**_doc("Your own id: letters, digits, '_' and '-'. A used one is refused with 409."))
    slot = Text(**_doc("Run only on this slot.", example="gpu0"))
    job_class = Text(
        data_key="class",
        validate=validate.OneOf(CLASSES, error="must be one of {choices}"),
        **_doc("Scheduling class; `premium` needs a premium key.", enum=[*CLASSES]),
    )
    priority = Whole(
        validate=validate.Range(-MAX_PRIORITY, MAX_PRIORITY, error="must be {min} to {max}"),
        **_doc("Higher goes first, among your own jobs."),
    )
    start_within_s = Number(
        validate=validate.Range(0, MAX_SECONDS, error="must be {min} to {max}"),
        **_doc("The job expires unless it starts within so many seconds. 0: no deadline."),
    )
    preview = fields.Boolean(
        error_messages={"invalid": "must be true or false"},
        **_doc("Make previews while it runs. Without it they are made while somebody looks at them."),
    )
    max_run_s = Number(
        validate=validate.Range(0, MAX_SECONDS, error="must be {min} to {max}"),
        **_doc("Longest run, seconds; then it fails. 0: no limit."),
    )
    retention = Text(
        validate=validate.OneOf(RETENTION_CLASSES, error="must be one of {choices}"),
        **_doc("How long its files are kept. Left out: the key's class, else the server's.", enum=[*RETENTION_CLASSES]),
    )
    webhook_url = Text(**_doc("Where the job's events go, instead of the key's webhook. Empty text: nowhere."))
    webhook_events = TextList(**_doc("Which events. Left out: the ends of a job.", enum=[*EVENTS]))
    moderate = fields.Boolean(**_doc("false: no moderation, for keys that may turn it off."))


class ListSchema(Schema):
    """Query of a list."""

    class Meta:
        unknown = INCLUDE

    state = fields.Enum(JobState, by_value=True, metadata={"description": "Only jobs in this state."})
    limit = Whole(load_default=50, validate=validate.Range(1, 500), metadata={"description": "Jobs per page."})
    after = Text(metadata={"description": "`next` of the page before."})


class DeleteSchema(Schema):
    """Query of a stop."""

    class Meta:
        unknown = INCLUDE

    purge = fields.Boolean(load_default=False, error_messages={"invalid": "must be true or false"})


#: Building a schema costs more than using it.
DELETE = DeleteSchema()
SUBMIT = SubmitSchema()
LIST = ListSchema()
