"""Bodies and queries of the native API: types and shapes. ``jobs.requests.generation`` checks the model's limits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import INCLUDE, Schema, fields, validate

from app.fields import Flag, Items, Number, PictureText, Text, Whole, load, parsed
from app.protocols.native.wire.times import StartTime
from jobs.errors import InvalidRequest, Problem
from jobs.models.spec import Kind
from jobs.outbound.webhook import EVENTS
from jobs.record import MAX_PRIORITY
from jobs.requests.hires_variation_prior import MAX_SEED
from jobs.requests.inpaint import AREAS, FILLS
from jobs.requests.inputs import MAX_IMAGES
from jobs.requests.pictures.controls import MAX_CONTROLS
from jobs.requests.pictures.preprocessing import PREPROCESSORS
from jobs.requests.pictures.resizes import RESIZES
from jobs.requests.schedulers_loras_mix import MAX_LORAS, MAX_MIXED
from jobs.settings import CLASSES, RETENTION_CLASSES
from jobs.suggestions import did_you_mean

#: Most texts of a list.
MAX_LISTED = 100
#: Longest time limit that a caller can set, seconds: 30 days.
MAX_SECONDS = 30 * 24 * 3600


class Part(fields.Nested):
    """An object; JSON as text in a form."""

    default_error_messages = {"type": "must be an object"}

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, str):
            try:
                value = parsed(value)
            except InvalidRequest:
                raise self.make_error("type") from None
        return super()._deserialize(value, *args, **kwargs)


class Parts(Items):
    """A list of objects; JSON as text in a form."""

    def __init__(self, schema: type[Schema], longest: int, **kwargs: Any) -> None:
        super().__init__(fields.Nested(schema), longest, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, str):
            try:
                value = parsed(value)
            except InvalidRequest:
                raise self.make_error("invalid") from None
        parts: list[Any] = super()._deserialize(value, attr, data, **kwargs)
        return parts


class TextList(Items):
    """A list of texts: a JSON list, or one text with commas (in a form, or for a single value)."""

    def __init__(self, values: Sequence[str], **kwargs: Any) -> None:
        value = "|".join(map(re.escape, values))
        described = {"type": ["array", "string"], "pattern": f"^ *({value}) *(, *({value}) *)*$"}
        metadata = {**kwargs.pop("metadata", {}), **described}
        super().__init__(Text(metadata={"enum": [*values]}), MAX_LISTED, metadata=metadata, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        return super()._deserialize(value, attr, data, **kwargs)


def _doc(text: str, **more: Any) -> dict[str, Any]:
    if "enum" in more:
        more["enum"] = [*more["enum"], None]
    return {"metadata": {"description": text, **more}, "allow_none": True}


class LoraSchema(Schema):
    """A LoRA of the model."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    name = Text(
        required=True,
        error_messages={"required": "is needed"},
        metadata={"description": "Name of a file in the model's LoRA folder, see /v1/models."},
    )
    weight = Number(**_doc("Weight of the LoRA. Default: the model's weight for it, or 1."))
    text_encoder_weight = Number(**_doc("Its weight in the text encoders. Default: `weight`."))


class MixSchema(Schema):
    """A text or an image that mix2img mixes; exactly one of the two."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    text = Text(**_doc("What to show."))
    image = PictureText(**_doc("As the field `image`; in a form also the name of an uploaded file."))
    weight = Number(**_doc("Weight in the mix. Default: 1."))


class ControlSchema(Schema):
    """An image that steers the output, and the control of the model that reads it."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    name = Text(
        required=True,
        error_messages={"required": "is needed"},
        metadata={"description": "Name of a control of the model, see /v1/models."},
    )
    image = PictureText(**_doc("As the field `image`; in a form also the name of an uploaded file."))
    scale = Number(**_doc("Weight of the control. Default: that of the control."))
    start = Number(**_doc("Share of the steps after which it begins, 0 to 1. Default: that of the control."))
    end = Number(**_doc("Share of the steps after which it ends, 0 to 1. Default: that of the control."))
    preprocess = Text(**_doc("What is made of the image first. Default: none.", enum=["none", *PREPROCESSORS]))
    low_threshold = Number(**_doc("canny: weakest gradient that continues an edge. Default: 100."))
    high_threshold = Number(**_doc("canny: weakest gradient that begins an edge. Default: 200."))
    resize = Text(**_doc("How the image is fitted to the output, unless it is a prompt. Default: crop.",
                         enum=[*RESIZES]))  # fmt: skip


class VariationSchema(Schema):
    """Noise of a second seed."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    seed = Whole(**_doc("Second seed. Default, or if negative: random, and reported. Image i has this seed + i."))
    strength = Number(**_doc("Share of the second noise: 0 gives the picture of `seed`, 1 that of the second seed."))


class HiresSchema(Schema):
    """A second, larger pass."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    width = Whole(**_doc("Output width, pixels. Default: in proportion to the height."))
    height = Whole(**_doc("Output height, pixels. Default: in proportion to the width."))
    scale = Number(**_doc("Enlargement, instead of width and height. Default: 2."))
    steps = Whole(**_doc("Denoising steps. Default: those of the job."))
    strength = Number(**_doc("How strongly the enlarged picture is changed, 0 to 1. Default: 0.7."))


class PriorSchema(Schema):
    """Settings of a model's prior. Default: the model's."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    steps = Whole(**_doc("Steps of the prior."))
    guidance_scale = Number(**_doc("How closely the prior follows the prompt."))
    negative_prompt = Text(**_doc("What the prior should not show."))


class InpaintSchema(Schema):
    """How the mask is used."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    area = Text(
        **_doc("`masked`: compute only the region around the mask; the output has the size of the image.",
               enum=[*AREAS])
    )  # fmt: skip
    padding_px = Whole(**_doc("With area `masked`: margin around the mask, 0 to 512 pixels."))
    blur_px = Number(**_doc("Softens the mask: standard deviation of a Gaussian, 0 to 256 pixels."))
    fill = Text(**_doc("Content under the mask when the run starts.", enum=[*FILLS]))


class SubmitSchema(Schema):
    """A job. Every field is optional; the model's default applies to those that are not sent."""

    class Meta:
        unknown = INCLUDE

    model = Text(**_doc("Name of a model, see /v1/models.", example="demo-image"))
    kind = Text(**_doc("What to do. Default: follows from the model and the inputs.", enum=[*Kind]))
    prompt = Text(**_doc("What to show.", example="a red circle"))
    negative_prompt = Text(**_doc("What not to show."))
    enhance_prompt = Flag(**_doc("Let the server's prompt enhancer rewrite the prompt, if it has one."))
    seed = Whole(**_doc("The same seed gives the same output. Default, or if negative: random, and reported."))
    quality = Text(**_doc("One of the model's qualities: values for the fields that are not sent.", example="draft"))
    steps = Whole(**_doc("Denoising steps."))
    guidance_scale = Number(**_doc("How closely the output follows the prompt."))
    clip_skip = Whole(**_doc("Number of the text encoder's last layers to skip, for models that offer it."))
    distilled_guidance_scale = Number(**_doc("Guidance of distilled models beside `guidance_scale`, if they offer it."))
    width = Whole(**_doc("Pixels; rounded to the model's multiple."))
    height = Whole(**_doc("Pixels; rounded to the model's multiple."))
    frames = Whole(**_doc("Frames of a video; rounded to the model's rule."))
    fps = Number(**_doc("Frames per second of a video."))
    image = PictureText(**_doc("Input image: base64, data URL, URL or `job:<id>`; in a form also an uploaded file."))
    images = Items(
        PictureText(), MAX_IMAGES, **_doc("edit: reference images in order, each like `image`; in a form, repeated.")
    )
    last_image = PictureText(**_doc("img2video: the image that the video ends with, for models that take one."))
    video = PictureText(**_doc("video2video: MP4, WebM or GIF, given like `image`."))
    audio = PictureText(**_doc("Sound that drives a video, for models that take it: WAV, MP3, OGG, M4A or WebM."))
    mask = PictureText(**_doc("inpaint: mask, given like `image`, of any size. White is repainted, black is kept."))
    strength = Number(**_doc("img2img, inpaint: 0 keeps the image, 1 ignores it."))
    resize = Text(**_doc("How `image` and `mask` are fitted to width × height.", enum=[*RESIZES]))
    inpaint = Part(InpaintSchema, **_doc("inpaint: how the mask is used."))
    num_images = Whole(**_doc("Number of images."))
    scheduler = Text(**_doc("Name of a scheduler that the model offers.", example="DPM++ 2M Karras"))
    loras = Parts(
        LoraSchema, MAX_LORAS, **_doc("LoRAs to use. An empty list uses none, not even the model's default LoRAs.")
    )
    mix = Parts(MixSchema, MAX_MIXED, **_doc("mix2img: texts and images with their weights."))
    controls = Parts(
        ControlSchema, MAX_CONTROLS,
        **_doc("Images that steer the output, by the model's controls: ControlNets, T2I-Adapters, IP-Adapters."),
    )  # fmt: skip
    variation = Part(
        VariationSchema, **_doc("Mix in noise of a second seed. Image i then has `seed` and the second seed + i.")
    )
    hires = Part(HiresSchema, **_doc("text2img: second pass at a larger size, which is the size of the output."))
    prior = Part(PriorSchema, **_doc("Settings of the prior, for models that have one."))
    output_format = Text(**_doc("Images: png, webp, jpeg. Videos: mp4, webm, gif, webp.", example="webp"))
    output_quality = Whole(**_doc("1 to 100, for lossy formats."))
    audio_output = Flag(**_doc("Whether a video has sound, for models that make sound. Default: the model's."))
    embed_metadata = Flag(
        **_doc("Store the request in the output file."),
    )
    reuse = Flag(
        **_doc("Answer with an earlier job of the same key whose request was equal, also in its seed, if there is one.")
    )
    id = Text(**_doc("Your own id: letters, digits, '_' and '-'. An id that exists is refused with 409."))
    slot = Text(**_doc("Run only on this slot.", example="gpu0"))
    job_class = Text(
        data_key="class",
        validate=validate.OneOf(CLASSES, error="must be one of {choices}"),
        **_doc(
            "Scheduling class: the key's or a lower one. `off-peak`: only while nothing else waits.", enum=[*CLASSES]
        ),
    )
    priority = Whole(
        validate=validate.Range(-MAX_PRIORITY, MAX_PRIORITY, error="must be {min} to {max}"),
        **_doc("Higher values run first, among your own jobs."),
    )
    not_before_ms = StartTime(
        data_key="not_before",
        **_doc(
            "Start no earlier: a time with its offset, or seconds since 1970.",
            type=["string", "number"],
            example="2026-01-31T18:00:00Z",
        ),
    )
    start_within_s = Number(
        validate=validate.Range(0, MAX_SECONDS, error="must be {min} to {max}"),
        **_doc("The job expires unless it starts within this many seconds (after `not_before`). 0: no deadline."),
    )
    preview = Flag(
        **_doc("Make previews during the whole run. Default: only while somebody requests them."),
    )
    max_run_s = Number(
        validate=validate.Range(0, MAX_SECONDS, error="must be {min} to {max}"),
        **_doc("Longest run, seconds, after which the job fails. 0: no limit."),
    )
    pause_at_step = Whole(
        validate=validate.Range(1, error="must be at least {min}"),
        **_doc("Pause the job after this many of its steps, with a draft as its preview, until it is resumed."),
    )
    checkpoint_interval_s = Number(
        validate=validate.Range(0, MAX_SECONDS, error="must be {min} to {max}"),
        **_doc("Seconds between two checkpoints of a run. 0: only when it is interrupted. Default: the model's."),
    )
    retention = Text(
        validate=validate.OneOf(RETENTION_CLASSES, error="must be one of {choices}"),
        **_doc("How long the files are kept. Default: the key's class, else the server's.", enum=[*RETENTION_CLASSES]),
    )
    webhook_url = Text(**_doc("Receiver of the job's events, instead of the key's webhook. Empty text: none."))
    webhook_events = TextList(EVENTS, **_doc("Events to send. Default: those of the final states."))
    moderate = Flag(**_doc("false: skip moderation, for keys that may."))


class CancelAllSchema(Schema):
    """Which jobs to stop."""

    waiting = Flag(
        load_default=False,
        error_messages={"invalid": "must be true or false"},
        metadata={"description": "Also stop jobs that wait or are being delivered."},
    )


class RepeatSchema(Schema):
    """What differs from the job that is repeated."""

    seed = Whole(
        validate=validate.Range(-1, MAX_SEED, error="must be {min} to {max}"),
        load_default=None,
        **_doc("Default: the same; -1: random."),
    )


#: Instances, because building a schema costs more than using it.
CANCEL_ALL = CancelAllSchema(unknown=INCLUDE)
REPEAT = RepeatSchema(unknown=INCLUDE)
SUBMIT = SubmitSchema()
#: Names of the fields of a job in a request.
SUBMIT_NAMES = tuple(field.data_key or name for name, field in SUBMIT.fields.items())


def strict(schema: Schema, body: Mapping[str, Any]) -> dict[str, Any]:
    """Load a body that must not have unknown fields. Raises: InvalidRequest."""
    values, unknown = load(schema, body)
    if unknown:
        raise InvalidRequest(*(Problem(name, "is unknown" + did_you_mean(name, schema.fields)) for name in unknown))
    return values
