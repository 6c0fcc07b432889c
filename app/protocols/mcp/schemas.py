"""Arguments of the tools. ``jobs.requests.generation`` checks the model's limits."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, Schema, fields, validate

from app.fields import Items, Number, PictureText, Text, TextSchema, Whole
from jobs.formats import IMAGE_FORMATS, VIDEO_FORMATS
from jobs.requests.inputs import MAX_IMAGES
from jobs.requests.pictures.controls import MAX_CONTROLS
from jobs.requests.schedulers_loras_mix import MAX_LORAS

#: Longest time that a call waits for its job, seconds: many clients give up after a minute.
MAX_WAIT_S = 45.0
_PICTURE = "Id of an earlier job, the url of one of its outputs, an http(s) link, a data URL or base64."


def _doc(text: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"description": text, **more}, "allow_none": True}


def _needed(text: str) -> dict[str, Any]:
    return {"metadata": {"description": text}, "required": True, "error_messages": {"required": "is required"}}


class Arguments(TextSchema):
    """Arguments of a tool. Models that write them put numbers into quotes now and then."""

    class Meta:
        unknown = INCLUDE


class WaitArguments(Arguments):
    """Arguments of a tool that waits for a job."""

    wait_s = Number(
        validate=validate.Range(0, MAX_WAIT_S, error="must be between {min:g} and {max:g}"),
        **_doc(
            "Longest time to wait for the result, seconds. 0 returns the job at once; get_job looks after it then.",
            minimum=0, maximum=MAX_WAIT_S, default=MAX_WAIT_S,
        ),
    )  # fmt: skip


class LoraArguments(Schema):
    """A LoRA of the model."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    name = Text(**_needed("Its name, see list_models."))
    weight = Number(**_doc("Its weight. Default: the model's weight for it, or 1."))


class ControlArguments(Schema):
    """An image that steers the output, and the control of the model that reads it."""

    error_messages = {"type": "must be an object", "unknown": "is unknown"}

    name = Text(**_needed("Name of the control, see list_models."))
    image = PictureText(**_needed(_PICTURE))
    scale = Number(**_doc("Its weight. Default: that of the control."))


class GenerationArguments(WaitArguments):
    """What all kinds of generation have in common."""

    prompt = Text(**_needed("What to show."))
    negative_prompt = Text(**_doc("What not to show."))
    model = Text(**_doc("Name of the model. Default: the first one that can do this."))
    width = Whole(**_doc("Pixels; rounded to the model's multiple."))
    height = Whole(**_doc("Pixels; rounded to the model's multiple."))
    quality = Text(**_doc("One of the model's qualities, see list_models: sets what you do not send."))
    steps = Whole(**_doc("Denoising steps: more take longer and show more detail."))
    guidance_scale = Number(**_doc("How closely the output follows the prompt."))
    seed = Whole(**_doc("The same seed gives the same output. Default: random, and reported."))
    scheduler = Text(**_doc("Name of a scheduler of the model, see list_models."))
    loras = Items(fields.Nested(LoraArguments), MAX_LORAS, **_doc("LoRAs of the model to use."))


class ImageArguments(GenerationArguments):
    """Arguments of ``generate_image``."""

    num_images = Whole(**_doc("Number of images."))
    controls = Items(
        fields.Nested(ControlArguments), MAX_CONTROLS,
        **_doc("Images that steer the output by the model's controls (edges, depth, style), see list_models."),
    )  # fmt: skip
    output_format = Text(**_doc("Format of the file.", enum=[*IMAGE_FORMATS]))


class EditArguments(ImageArguments):
    """Arguments of ``edit_image``."""

    image = PictureText(**_needed(f"The image to edit. {_PICTURE}"))
    images = Items(
        PictureText(), MAX_IMAGES,
        **_doc(f"Further reference images in order, for models of the kind edit that take several. {_PICTURE}"),
    )  # fmt: skip
    mask = PictureText(**_doc(f"What to repaint: white is repainted, black is kept. {_PICTURE}"))
    strength = Number(**_doc("0 keeps the image, 1 ignores it."))


class VideoArguments(GenerationArguments):
    """Arguments of ``generate_video``."""

    image = PictureText(**_doc(f"The image that the video begins with. {_PICTURE}"))
    last_image = PictureText(**_doc(f"The image that the video ends with, for models that take one. {_PICTURE}"))
    video = PictureText(**_doc(f"The video to change, for models of the kind video2video. {_PICTURE}"))
    audio = PictureText(**_doc(f"Sound that drives the video, for models that take it. {_PICTURE}"))
    strength = Number(**_doc("How far the video is changed: 0 keeps it, 1 ignores it."))
    frames = Whole(**_doc("Number of frames; rounded to the model's rule."))
    fps = Number(**_doc("Frames per second."))
    output_format = Text(**_doc("Format of the file.", enum=[*VIDEO_FORMATS]))


class GetJobArguments(WaitArguments):
    """Arguments of ``get_job``."""

    job_id = Text(**_needed("Id of the job."))


class JobArguments(Arguments):
    """Arguments of ``cancel_job``, ``pause_job`` and ``resume_job``."""

    job_id = Text(**_needed("Id of the job."))


class NoArguments(Arguments):
    """Arguments of a tool that has none."""
