"""Arguments of ``submit``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from os import PathLike
from typing import Any, TypedDict


class JobFields(TypedDict, total=False):
    """Fields of a job. Every field is optional; the server fills in the model's defaults."""

    model: str | None
    #: ``text2img``, ``img2img``, ``inpaint``, ``mix2img``, ``edit``, ``text2video``, ``img2video`` or ``video2video``.
    kind: str | None
    prompt: str | None
    negative_prompt: str | None
    #: Whether the server's prompt enhancer rewrites the prompt, if it has one.
    enhance_prompt: bool | None
    seed: int | None
    #: One of the model's qualities, such as ``draft``: values for the fields that are not sent.
    quality: str | None
    steps: int | None
    guidance_scale: float | None
    #: Number of the text encoder's last layers to skip, for models that offer it.
    clip_skip: int | None
    #: Guidance of distilled models beside ``guidance_scale``, for models that offer it.
    distilled_guidance_scale: float | None
    #: Size in pixels.
    width: int | None
    height: int | None
    frames: int | None
    #: Frames per second.
    fps: float | None
    #: Input image: a path (a str is one if the file exists), the contents of a file, or a str with an http(s) link, a
    #: data URL, base64 or the reference ``job:<id>``. Never pass text of strangers: it may name one of your files.
    image: str | bytes | PathLike[str] | None
    #: Reference images of edit, in order, each given like ``image``.
    images: Sequence[str | bytes | PathLike[str]] | None
    #: Image that the video of img2video ends with, input video of video2video, and sound that drives a video; each
    #: given like ``image``.
    last_image: str | bytes | PathLike[str] | None
    video: str | bytes | PathLike[str] | None
    audio: str | bytes | PathLike[str] | None
    #: Mask, given like ``image``. White regions are repainted.
    mask: str | bytes | PathLike[str] | None
    #: How image and mask are fitted to width × height: ``stretch``, ``crop`` or ``pad``.
    resize: str | None
    #: ``{"area", "padding_px", "blur_px", "fill"}``: how the mask is used.
    inpaint: Mapping[str, Any] | None
    #: How strongly the input image is changed, 0 to 1.
    strength: float | None
    #: Number of images. Image i has the seed + i.
    num_images: int | None
    #: Name of a scheduler that the model offers, such as ``DPM++ 2M Karras``.
    scheduler: str | None
    #: ``{"name", "weight", "text_encoder_weight"}`` for each LoRA. An empty list uses none, not even the model's
    #: default LoRAs.
    loras: Sequence[Mapping[str, Any]] | None
    #: ``{"text" or "image", "weight"}`` for each text or image to mix (mix2img). Images are given like ``image``.
    mix: Sequence[Mapping[str, Any]] | None
    #: ``{"name", "image", "scale", "start", "end", "preprocess", "resize"}`` for each control of the model (ControlNet,
    #: T2I-Adapter or IP-Adapter) with its image, which is given like ``image``.
    controls: Sequence[Mapping[str, Any]] | None
    #: ``{"seed", "strength"}``: mix in noise of a second seed. Image i has ``seed`` and this seed + i.
    variation: Mapping[str, Any] | None
    #: ``{"width", "height" or "scale", "steps", "strength"}``: second pass of text2img at a larger size.
    hires: Mapping[str, Any] | None
    #: ``{"steps", "guidance_scale", "negative_prompt"}``: settings of the prior, for models that have one.
    prior: Mapping[str, Any] | None
    #: Answer with an earlier job of the same key whose request was equal, also in its seed, if there is one.
    reuse: bool | None
    #: Images: ``png``, ``webp``, ``jpeg``. Videos: ``mp4``, ``webm``, ``gif``, ``webp``.
    output_format: str | None
    #: 1 to 100, for lossy formats.
    output_quality: int | None
    #: Whether a video has sound, for models that make sound. Default: the model's.
    audio_output: bool | None
    #: False: do not store the request in the output file.
    embed_metadata: bool | None
    #: Id of the job, chosen by the caller.
    id: str | None
    #: Run on this slot only.
    slot: str | None
    #: -100 to 100; higher values run first among the caller's own jobs.
    priority: int | None
    #: Scheduling class: ``premium``, ``general``, or ``off-peak``, which runs only while nothing else waits.
    #: Default: the class of the API key.
    job_class: str | None
    #: Start no earlier: a datetime, a text such as ``2026-01-31T18:00:00Z``, or seconds since 1970.
    not_before: datetime | str | float | None
    #: The job expires unless it starts within this many seconds (after ``not_before``); 0: no deadline.
    start_within_s: float | None
    #: Maximum run time in seconds, after which the job fails; 0: no limit.
    max_run_s: float | None
    #: Pause the job after this many of its steps, with a draft as its preview, until it is resumed.
    pause_at_step: int | None
    #: Seconds between two checkpoints of a run, from which it goes on if it is lost; 0: only when it is interrupted.
    checkpoint_interval_s: float | None
    #: Make previews during the whole run. By default they are made only while somebody requests them.
    preview: bool | None
    #: How long the job's files are kept: ``keep``, ``days`` or ``hours``. Default: the setting of the API key.
    retention: str | None
    #: Webhook for this job's events, instead of the key's webhook; "": no webhook. Default events: when it finishes.
    webhook_url: str | None
    webhook_events: Sequence[str] | None
    #: False: skip moderation, if the API key permits it.
    moderate: bool | None
    #: Any printable ASCII text, different for every job. A repeated request with the same key within a day returns
    #: the first job, so the client may safely send it again.
    idempotency_key: str | None
    #: Respond when the job has finished, or after this many seconds (at most 60).
    wait_s: float | None
