"""The fields of requests: OpenAI's, and further ones that clients add (``extra_body`` of the SDK)."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, fields, validate

from app.fields import Flag, Number, PictureText, Text, TextSchema, Whole
from app.protocols.openai.wire.lora_lists import Loras
from jobs.requests.pictures.resizes import RESIZES
from jobs.settings import RETENTION_CLASSES

#: Most images of a request.
MAX_IMAGES = 10
MAX_PARTIAL_IMAGES = 3
#: Most input images that are read, to say which models take how many.
MAX_INPUT_IMAGES = 16
#: OpenAI's words for the quality of an image, and what the responses call it.
QUALITIES = {"auto": "auto", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max",
             "standard": "medium", "hd": "high", "lossless": "max", "draft": "low"}  # fmt: skip
#: What the responses call a quality → the model's quality.
MODEL_QUALITIES = {"low": "draft", "medium": "standard", "high": "high", "xhigh": "high", "max": "high"}
B64, URL = "b64_json", "url"


def _doc(text: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"description": text, **more}, "allow_none": True}


def _one_of(*choices: str) -> validate.OneOf:
    return validate.OneOf(choices, error=f"must be one of {', '.join(choices)}")


def _between(low: float, high: float) -> validate.Range:
    return validate.Range(low, high, error="must be between {min} and {max}")


class OpenAIExtraSchema(TextSchema):
    """Fields that OpenAI's API does not have."""

    class Meta:
        unknown = INCLUDE

    negative_prompt = Text(**_doc("What not to show."))
    enhance_prompt = Flag(**_doc("Let the server's prompt enhancer rewrite the prompt, if it has one."))
    seed = Whole(**_doc("The same seed gives the same output. Default, or if negative: random, and reported."))
    steps = Whole(**_doc("Denoising steps."))
    num_inference_steps = Whole(**_doc("As `steps`."))
    guidance_scale = Number(**_doc("How closely the output follows the prompt."))
    true_cfg_scale = Number(**_doc("As `guidance_scale`."))
    cfg_scale = Number(**_doc("As `guidance_scale`."))
    distilled_guidance_scale = Number(**_doc("Guidance of distilled models, if they offer it."))
    clip_skip = Whole(**_doc("Number of the text encoder's last layers to skip, for models that offer it."))
    strength = Number(**_doc("With an image: 0 keeps it, 1 ignores it."))
    i2i_denoise_strength = Number(**_doc("As `strength`; LightX2V's name."))
    width = Whole(**_doc("Pixels, instead of `size`."))
    height = Whole(**_doc("Pixels, instead of `size`."))
    resize = Text(**_doc(f"How an image is fitted to the size: {', '.join(RESIZES)}."))
    scheduler = Text(**_doc("Name of a scheduler that the model offers."))
    loras = Loras(**_doc("LoRAs: names, objects with `name` and `weight`, or an object of names and weights."))
    lora = Loras(**_doc("As `loras`."))
    slot = Text(**_doc("Run only on this slot."))
    priority = Whole(validate=_between(-100, 100), **_doc("Higher values run first, among your own jobs."))
    start_within_s = Number(validate=_between(0, 30 * 86_400), **_doc("Fail unless it starts in so many seconds."))
    max_run_s = Number(validate=_between(0, 30 * 86_400), **_doc("Longest run, seconds."))
    retention = Text(validate=_one_of(*RETENTION_CLASSES), **_doc("How long the files are kept."))
    moderate = Flag(**_doc("false: skip moderation, for keys that may."))
    audio_output = Flag(**_doc("Whether a video has sound, for models that make sound."))
    embed_metadata = Flag(**_doc("Store the request in the output file."))


class OpenAIImageSchema(OpenAIExtraSchema):
    """Images to generate."""

    prompt = Text(**_doc("What to show."))
    model = Text(**_doc("Name or alias of a model. Default: the first that does this."))
    n = Whole(validate=_between(1, MAX_IMAGES), **_doc("Number of images, 1 to 10. Default: 1."))
    size = Text(**_doc("Width and height, such as `1024x1024`; `auto`: the model's, or the shape of the image."))
    quality = Text(validate=_one_of(*QUALITIES), **_doc("Chooses one of the model's qualities, if it has them."))
    background = Text(
        validate=validate.OneOf(("auto", "opaque"), error="must be auto or opaque: no model here makes transparency"),
        **_doc("`auto` or `opaque`."),
    )
    moderation = Text(validate=_one_of("auto", "low"), **_doc("Without effect."))
    style = Text(**_doc("Without effect."))
    input_fidelity = Text(**_doc("Without effect; see `strength`."))
    user = Text(**_doc("Without effect."))
    safety_identifier = Text(**_doc("Without effect."))
    output_format = Text(validate=_one_of("png", "jpeg", "jpg", "webp"), **_doc("Default: png."))
    output_compression = Whole(validate=_between(0, 100), **_doc("Quality of JPEG and WebP, 0 to 100."))
    response_format = Text(validate=_one_of(B64, URL), **_doc("`b64_json` (the default) or `url`."))
    stream = Flag(**_doc("Respond with server-sent events."))
    partial_images = Whole(
        validate=_between(0, MAX_PARTIAL_IMAGES), **_doc("With `stream`: at most so many previews, 0 to 3.")
    )


def _file(text: str) -> fields.Field[Any]:
    return fields.Raw(metadata={"type": "string", "format": "binary", "description": text})


class OpenAIImageEditSchema(OpenAIImageSchema):
    """An image to edit, in JSON."""

    image = PictureText(**_doc("The image: base64, data URL, link or `job:<id>`."))
    images = fields.List(
        fields.Raw(),
        validate=validate.Length(max=MAX_INPUT_IMAGES, error="must have at most {max} images"),
        **_doc("Images, each a text like `image` or an object with `image_url`."),
    )
    mask = PictureText(**_doc("Its transparent part is repainted; without transparency, its white part."))


class OpenAIImageEditForm(OpenAIImageSchema):
    """An image to edit, in a form."""

    image = _file("The image; repeated for several, also as `image[]`.")
    mask = _file("Its transparent part is repainted; without transparency, its white part.")


class OpenAIVariationForm(OpenAIImageSchema):
    """An image to vary, in a form."""

    image = _file("The image.")


class OpenAIVideoSchema(OpenAIExtraSchema):
    """A video to generate, in JSON."""

    prompt = Text(**_doc("What to show."))
    model = Text(**_doc("Name or alias of a model. Default: the first that does this."))
    seconds = Number(
        validate=validate.Range(0, 3600, min_inclusive=False, error="must be more than 0 and at most {max}"),
        **_doc("Length. Default: the model's."),
    )
    size = Text(**_doc("Width and height, such as `1280x720`; default: the model's, or the shape of the image."))
    frames = Whole(**_doc("Number of frames, instead of `seconds`."))
    num_frames = Whole(**_doc("As `frames`."))
    fps = Number(**_doc("Frames per second."))
    user = Text(**_doc("Without effect."))
    input_reference: fields.Field[Any] = fields.Raw(
        **_doc("First image, or the video to change: an object with `image_url`, or a text with a link or base64.")
    )
    last_image: fields.Field[Any] = fields.Raw(**_doc("Image that the video ends with, given like the first one."))
    audio: fields.Field[Any] = fields.Raw(**_doc("Sound that drives the video: a link, data URL or base64."))


class OpenAIVideoForm(OpenAIVideoSchema):
    """A video to generate, in a form."""

    input_reference = _file("The first image, or the video to change.")
    last_image = _file("Image that the video ends with.")
    audio = _file("Sound that drives the video.")


class OpenAIRemixSchema(TextSchema):
    """What differs from the video that is remixed."""

    class Meta:
        unknown = INCLUDE

    prompt = Text(
        required=True, validate=validate.Length(min=1, error="is required"), metadata={"description": "What to show."}
    )
    seed = Whole(**_doc("Default: the same; negative: random."))


IMAGE, VIDEO, REMIX = OpenAIImageSchema(), OpenAIVideoSchema(), OpenAIRemixSchema()
