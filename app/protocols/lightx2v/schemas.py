"""The fields of a task in all of LightX2V's versions. Every field is optional.

The model's default applies to fields that are not sent, as in LightX2V's JSON routes. Some fields of the native API are
accepted as well.
"""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, fields, validate

from app.fields import Flag, Items, Number, PictureText, Text, TextSchema, Whole
from jobs.settings import RETENTION_CLASSES


def _doc(text: str) -> dict[str, Any]:
    return {"metadata": {"description": text}, "allow_none": True}


class LightX2VTaskSchema(TextSchema):
    """A task."""

    class Meta:
        unknown = INCLUDE

    task_id = Text(**_doc("Your own id; must be new."))
    prompt = Text(**_doc("What to show."))
    negative_prompt = Text(**_doc("What not to show."))
    image_path = PictureText(**_doc("Input image, or several with commas: link, data URL, base64 or path."))
    save_video_path = Text(**_doc("Name of the output below `/v1/files/download/`; name in older versions."))
    save_result_path = Text(**_doc("Name of the output below `/v1/files/download/`."))
    infer_steps = Whole(**_doc("Denoising steps."))
    target_video_length = Whole(**_doc("Frames of a video."))
    seed = Whole(**_doc("The same seed gives the same output."))
    target_fps = Number(**_doc("Frames per second of a video."))
    target_shape = Items(Whole(), 16, **_doc("Height and width, pixels."))
    aspect_ratio = Text(**_doc("Such as `16:9`: the model's default area in this shape."))
    i2i_denoise_strength = Number(**_doc("How far an input image is changed, 0 to 1."))
    audio_path = PictureText(**_doc("Sound that drives the video, given like `image_path`."))
    last_frame_path = PictureText(**_doc("Image that the video ends with, given like `image_path`."))
    video_path = PictureText(**_doc("Input video, given like `image_path`."))
    talk_objects = fields.Raw(**_doc("One speaker, `[{audio}]`: as `audio_path`. Several are refused."))
    presigned_url = Text(**_doc("Of `/v1/tasks/image/sync`: link that the image is uploaded to (PUT). Else refused."))
    # Ignored, with a warning.
    use_prompt_enhancer = Flag(**_doc("Let the server's prompt enhancer rewrite the prompt, if it has one."))
    num_fragments = Whole(**_doc("Ignored: a video is made in one piece."))
    video_duration = Number(**_doc("Ignored: seconds of audio-driven videos."))
    reuse = Flag(**_doc("Ignored: no request keeps state for the next one."))
    resize_mode = Text(**_doc("Ignored: a video has the shape of its image, or `target_shape`."))
    sr_ratio = Number(**_doc("Ignored: no model here enlarges videos."))
    data_bootstrap_room = fields.Raw(**_doc("Ignored."))
    disagg_phase1_receiver_engine_rank = fields.Raw(**_doc("Ignored."))
    disagg_bootstrap_room = fields.Raw(**_doc("Ignored."))
    disagg_decoder_bootstrap_room = fields.Raw(**_doc("Ignored."))
    image_mask_path = PictureText(**_doc("Images: mask of the region to repaint, given like image_path."))
    lora_name = Text(**_doc("A LoRA of the model, by its file's name."))
    lora_strength = Number(**_doc("Its weight."))
    # Fields of the native API.
    model = Text(**_doc("Name of a model, see /v1/models."))
    guidance_scale = Number(**_doc("How closely the output follows the prompt."))
    image = PictureText(**_doc("As `image_path`."))
    steps = Whole(**_doc("As `infer_steps`."))
    frames = Whole(**_doc("As `target_video_length`."))
    fps = Number(**_doc("As `target_fps`."))
    strength = Number(**_doc("As `i2i_denoise_strength`."))
    width = Whole(**_doc("Pixels."))
    height = Whole(**_doc("Pixels."))
    slot = Text(**_doc("Run only on this slot."))
    priority = Whole(**_doc("-100 to 100; higher values run first, among your own tasks."))
    start_within_s = Number(**_doc("The task fails unless it starts within this many seconds."))
    max_run_s = Number(**_doc("Longest run, seconds."))
    retention = Text(
        validate=validate.OneOf(RETENTION_CLASSES, error="must be one of {choices}"),
        **_doc("How long its files are kept."),
    )


class LightX2VFormSchema(LightX2VTaskSchema):
    """A task in a form."""

    image_file = fields.Raw(metadata={"type": "string", "format": "binary", "description": "Input image: an upload."})
    last_frame_file = fields.Raw(
        metadata={"type": "string", "format": "binary", "description": "Image that the video ends with: an upload."}
    )
    audio_file = fields.Raw(
        metadata={"type": "string", "format": "binary", "description": "Sound that drives the video: an upload."}
    )


TASK = LightX2VTaskSchema()

#: Fields that are refused when they are not empty, with the reason.
REFUSED = {
    "presigned_url": "is for POST /v1/tasks/image/sync only: fetch the result instead",
}

#: Fields that are ignored, with the value that needs no warning.
IGNORED: dict[str, Any] = {
    "use_prompt_enhancer": False, "num_fragments": 1, "video_duration": 5, "reuse": False, "resize_mode": "adaptive",
    "sr_ratio": 2.0, "data_bootstrap_room": None, "disagg_phase1_receiver_engine_rank": None,
    "disagg_bootstrap_room": None, "disagg_decoder_bootstrap_room": None,
}  # fmt: skip
