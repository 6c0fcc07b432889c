"""The bodies of requests, and the inputs of predictions."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, fields, validate

from app.fields import Flag, Items, Number, PictureText, Text, TextSchema, Whole
from jobs.requests.inputs import MAX_IMAGES

#: Events of a webhook in this protocol's words.
EVENTS = ("start", "output", "logs", "completed")


def _doc(text: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"description": text, **more}, "allow_none": True}


class ReplicateInputSchema(TextSchema):
    """The input of a prediction. What a model takes of it, its OpenAPI schema says. Other fields are ignored."""

    class Meta:
        unknown = INCLUDE

    prompt = Text(**_doc("What to show."))
    negative_prompt = Text(**_doc("What not to show."))
    image = PictureText(**_doc("Input image: the address of an uploaded file or another link, or a data URI."))
    input_image = PictureText(**_doc("The same."))
    images = Items(PictureText(), MAX_IMAGES, **_doc("Reference images in order, each like `image`."))
    input_images = Items(PictureText(), MAX_IMAGES, **_doc("The same."))
    image_input = Items(PictureText(), MAX_IMAGES, **_doc("The same."))
    last_image = PictureText(**_doc("Image that a video ends with, like `image`."))
    last_frame_image = PictureText(**_doc("The same."))
    end_image = PictureText(**_doc("The same."))
    last_frame = PictureText(**_doc("The same."))
    video = PictureText(**_doc("Input video, like `image`."))
    input_video = PictureText(**_doc("The same."))
    audio = PictureText(**_doc("Sound that drives a video, like `image`."))
    input_audio = PictureText(**_doc("The same."))
    mask = PictureText(**_doc("Mask of the region to repaint, like `image`."))
    control_image = PictureText(**_doc("Image for a control, like `image`, for models that have controls."))
    control_type = Text(**_doc("Name of the control. Default: the model's first ControlNet."))
    control_strength = Number(**_doc("Weight of the control."))
    prompt_strength = Number(**_doc("How far an image is changed, 0 to 1."))
    strength = Number(**_doc("The same."))
    seed = Whole(**_doc("The same seed gives the same output. Random unless it is sent."))
    quality = Text(**_doc("One of the model's qualities: values for the inputs that are not sent."))
    num_inference_steps = Whole(**_doc("Denoising steps."))
    steps = Whole(**_doc("The same."))
    guidance_scale = Number(**_doc("How closely the output follows the prompt."))
    guidance = Number(**_doc("The same."))
    width = Whole(**_doc("Pixels."))
    height = Whole(**_doc("Pixels."))
    size = Text(**_doc("Width and height, such as `1024x768`."))
    aspect_ratio = Text(**_doc("Such as `16:9`: the model's default area in this shape."))
    num_outputs = Whole(**_doc("Number of images."))
    scheduler = Text(**_doc("One of the model's samplers."))
    num_frames = Whole(**_doc("Frames of a video."))
    duration = Number(**_doc("Seconds of a video, instead of `num_frames`."))
    fps = Number(**_doc("Frames per second of a video."))
    frames_per_second = Number(**_doc("The same."))
    output_format = Text(**_doc("`png`, `jpg`, `webp`; `mp4`, `webm`, `gif`."))
    output_quality = Whole(**_doc("1 to 100, for lossy formats."))
    clip_skip = Whole(**_doc("Layers of the text encoder to skip, for models that offer it."))
    output_data_uri = Flag(**_doc("Whether small outputs are data URIs within the prediction, instead of addresses."))


class ReplicatePredictionSchema(TextSchema):
    """A prediction of a model that the path names."""

    class Meta:
        unknown = INCLUDE

    input = fields.Nested(ReplicateInputSchema, required=True)
    webhook = Text(**_doc("An address that is told what happens to the prediction."))
    webhook_events_filter = Items(
        Text(validate=validate.OneOf(EVENTS, error="must be one of {choices}")), 10,
        **_doc("Which events it is told; all unless it is sent."),
    )  # fmt: skip
    webhook_completed = Text(**_doc("An address that is told the end only, as older clients send it."))
    stream = Flag(**_doc("No effect: every prediction has a stream."))


class ReplicateVersionSchema(ReplicatePredictionSchema):
    """A prediction of a version."""

    version = Text(
        required=True,
        metadata={"description": "Id of the version, `owner/name:id`, `owner/name`, or the name of a model."},
    )


#: Longest name of an uploaded file, characters.
MAX_NAME_CHARS = 255


class ReplicateFileSchema(TextSchema):
    """An uploaded file, in a form."""

    class Meta:
        unknown = INCLUDE

    content = fields.Raw(metadata={"type": "string", "format": "binary", "description": "The file: an image."})
    filename = Text(
        validate=validate.Length(max=MAX_NAME_CHARS, error="must have at most {max} characters"), **_doc("Its name.")
    )
    metadata = fields.Raw(metadata={"type": "string", "description": "An object of your own, as JSON."})


FILE = ReplicateFileSchema()
PREDICTION, OF_VERSION, INPUT = ReplicatePredictionSchema(), ReplicateVersionSchema(), ReplicateInputSchema()
