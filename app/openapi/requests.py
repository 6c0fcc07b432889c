"""Schema of a job's request as responses of several protocols show it."""

from __future__ import annotations

from marshmallow import fields

from app.openapi.answers import Answer, doc
from jobs.models.spec import Kind
from jobs.requests.custom import CustomKind

KINDS = [*Kind, *CustomKind]


class LoraAnswer(Answer):
    """A LoRA and its weight."""

    name = fields.String(**doc())
    weight = fields.Float(**doc())
    text_encoder_weight = fields.Float(**doc(optional=True))


class ControlAnswer(Answer):
    """A control and how it was used, without its image."""

    name = fields.String(**doc())
    scale = fields.Float(**doc())
    start = fields.Float(**doc())
    end = fields.Float(**doc())
    preprocess = fields.String(**doc(optional=True))
    low_threshold = fields.Float(**doc(optional=True))
    high_threshold = fields.Float(**doc(optional=True))
    resize = fields.String(**doc(optional=True))


class RequestAnswer(Answer):
    """The request with all values that were used. Fields that do not apply are absent."""

    model = fields.String(**doc())
    kind = fields.String(**doc(optional=True, enum=KINDS))
    prompt = fields.String(**doc(optional=True))
    original_prompt = fields.String(**doc("The caller's prompt, if it was enhanced.", optional=True))
    negative_prompt = fields.String(**doc(optional=True))
    seed = fields.Integer(**doc(optional=True))
    quality = fields.String(**doc(optional=True))
    steps = fields.Integer(**doc(optional=True))
    guidance_scale = fields.Float(**doc(optional=True))
    clip_skip = fields.Integer(**doc(optional=True))
    distilled_guidance_scale = fields.Float(**doc(optional=True))
    width = fields.Integer(**doc(optional=True))
    height = fields.Integer(**doc(optional=True))
    frames = fields.Integer(**doc(optional=True))
    fps = fields.Float(**doc(optional=True))
    num_images = fields.Integer(**doc(optional=True))
    scheduler = fields.String(**doc(optional=True))
    loras = fields.List(fields.Nested(LoraAnswer), **doc(optional=True))
    mix = fields.List(fields.Dict(), **doc("Texts and weights; images are left out.", optional=True))
    controls = fields.List(fields.Nested(ControlAnswer), **doc(optional=True))
    strength = fields.Float(**doc(optional=True))
    variation = fields.Dict(**doc(optional=True))
    hires = fields.Dict(**doc(optional=True))
    prior = fields.Dict(**doc(optional=True))
    resize = fields.String(**doc(optional=True))
    inpaint = fields.Dict(**doc(optional=True))
    output_format = fields.String(**doc(optional=True))
    output_quality = fields.Integer(**doc(optional=True))
    audio_output = fields.Boolean(**doc(optional=True))
    embed_metadata = fields.Boolean(**doc(optional=True))
    endpoint = fields.String(**doc("Of a job of an AIME endpoint.", optional=True))
    params = fields.Dict(**doc("Inputs of a job of an AIME endpoint.", optional=True))
