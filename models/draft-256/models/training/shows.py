"""The options that the models are scored with, and the captions of contact sheet and film strip."""

from __future__ import annotations

IMAGE_OPTIONS: dict[str, object] = {"num_inference_steps": 20, "guidance_scale": 3.0}
VIDEO_OPTIONS: dict[str, object] = {
    "num_inference_steps": 20,
    "guidance_scale": 3.0,
    "height": 64,
    "width": 64,
    "frames": 9,
    "use_resolution_binning": False,  # which would take the size for that of a large model
    "complex_human_instruction": [],  # a long text for large text encoders, by default put before the prompt
}

CONTACT_SHEET: dict[str, object] = {
    **IMAGE_OPTIONS,
    "captions": [
        "a red circle on a blue background",
        "two green squares on a white background",
        "a yellow star above a white triangle on a purple background",
        "three pink hearts on a black background",
        "four orange diamonds on a green background",
        "a big cyan triangle on a red background",
        "a small white star in the top right on a blue background",
        "a purple heart in the bottom left on a yellow background",
        "a black square to the left of a red circle on a white background",
        "a green diamond below a yellow circle on a black background",
        "an orange circle at the top on a cyan background",
        "a pink square to the right of a blue star on an orange background",
        "two black stars",
        "a large yellow heart",
        "three white circles on a red background",
        "a blue diamond above a green heart",
        "a cat in a forest",
        "a dragon over the city at night",
    ],
}

FILM_STRIP: dict[str, object] = {
    **VIDEO_OPTIONS,
    "captions": [
        "a red circle moving left to right on a white background",
        "a yellow star moving right to left on a blue background",
        "a green square moving up on a black background",
        "a white heart moving down on a purple background",
        "an orange triangle growing on a cyan background",
        "a pink diamond shrinking on a green background",
        "a blue circle moving to the right",
        "a cat in a forest",
    ],
}
