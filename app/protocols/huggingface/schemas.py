"""The body of a request: ``inputs``, ``parameters`` and the ``options`` of older clients."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, fields

from app.fields import Flag, Number, PictureText, Text, TextSchema, Whole


def _doc(text: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"description": text, **more}, "allow_none": True}


#: The types of :class:`Texts` in JSON, besides null.
_TEXTS: dict[str, Any] = {"type": ["string", "array"], "items": {"type": "string"}}


class Texts(Text):
    """A text, or a list of texts, which are joined: videos take several negative prompts."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, list) and all(isinstance(text, str) for text in value):
            value = ", ".join(value)
        return super()._deserialize(value, attr, data, **kwargs)


class HuggingFaceSizeSchema(TextSchema):
    """The size of the output."""

    class Meta:
        unknown = INCLUDE

    width = Whole(**_doc("Pixels."))
    height = Whole(**_doc("Pixels."))


class HuggingFaceParametersSchema(TextSchema):
    """What is generated, and how. Others are ignored, with a warning."""

    class Meta:
        unknown = INCLUDE

    prompt = Text(**_doc("What to show, if `inputs` is an image."))
    negative_prompt = Texts(**_doc("What not to show; a list of texts is joined.", **_TEXTS))
    num_inference_steps = Whole(**_doc("Denoising steps."))
    guidance_scale = Number(**_doc("How closely the output follows the prompt."))
    width = Whole(**_doc("Pixels."))
    height = Whole(**_doc("Pixels."))
    target_size = fields.Nested(
        HuggingFaceSizeSchema, allow_none=True, metadata={"description": "Width and height in one field."}
    )
    seed = Whole(**_doc("The same seed gives the same output. Random unless it is sent."))
    scheduler = Text(**_doc("A sampler of the model, as in the native API."))
    num_frames = Whole(**_doc("Frames of a video."))
    fps = Number(**_doc("Frames per second of a video."))
    strength = Number(**_doc("How far an image is changed, 0 to 1."))
    mask_image = PictureText(**_doc("Mask of the region to repaint: base64, a data URL or a link."))
    clip_skip = Whole(**_doc("Layers of the text encoder to skip, for models that offer it."))


class HuggingFaceOptionsSchema(TextSchema):
    """Options of older clients; headers precede them."""

    class Meta:
        unknown = INCLUDE

    wait_for_model = Flag(**_doc("As the header `X-Wait-For-Model`."))
    use_cache = Flag(**_doc("No effect: nothing is cached."))


class HuggingFaceSchema(TextSchema):
    """A request."""

    class Meta:
        unknown = INCLUDE

    inputs = PictureText(
        required=True,
        metadata={"description": "The prompt; or an image as base64, data URL or link, with the prompt in parameters."},
    )
    parameters = fields.Nested(HuggingFaceParametersSchema, allow_none=True)
    options = fields.Nested(HuggingFaceOptionsSchema, allow_none=True)


REQUEST = HuggingFaceSchema()
