"""The answer of ``txt2img`` and ``img2img``: images, the request as it was used, and how each image was made."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import json
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.extensions import objects
from app.inputs import off_the_hub
from app.protocols.a1111 import bodies
from jobs.models import schedulers
from jobs.models.spec import Kind
from jobs.record import Job
from jobs.requests import infotext
from jobs.requests.generation import GenerationRequest
from jobs.states import JobState

#: Who made it, as its own infotexts say.
VERSION = "framemill"


def answer(jobs: list[Job], stopped: Mapping[str, str], sent: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """What a call is told.

    Args:
        jobs: its batches, in order, all over.
        stopped: the last preview (base64) of those that were stopped in their run.
        sent: the fields of its body.
        kind: txt2img or img2img.
    """
    images: list[str] = []
    seeds: list[dict[str, int]] = []
    texts: list[str] = []
    wanted = sent.get("send_images", True)
    for job in jobs:
        made = _pictures(job, stopped.get(job.job_id, ""), wanted=wanted)
        images += made
        count = len(made) if wanted or job.state is not JobState.SUCCEEDED else len(job.outputs)
        own = [job.request.seeds(index) for index in range(count)]
        seeds += own
        texts += [infotext.write({**job.request.to_dict(), **seed}) for seed in own]
    info = _info(jobs[0], seeds, texts, sent)
    return {
        "images": images if wanted else [],
        "parameters": _parameters(jobs[0].request, sent, kind),
        "info": json.dumps(info),
    }


def _pictures(job: Job, preview: str, *, wanted: bool) -> list[str]:
    """The images of a batch, base64: all, or the last preview of one that was stopped."""
    if job.state is JobState.SUCCEEDED:
        if not wanted:
            return []
        return [base64.b64encode(b"".join(objects().read(output.key))).decode() for output in job.outputs]
    return [off_the_hub(lambda: _drawn(preview, job.request))] if preview else []


def _drawn(preview: str, request: GenerationRequest) -> str:
    """A preview in the size that was asked for, as a file of the original's kind."""
    with Image.open(io.BytesIO(base64.b64decode(preview))) as small:
        picture = small.convert("RGB").resize(request.output_size, Image.Resampling.BICUBIC)
    notes, file = PngInfo(), io.BytesIO()
    notes.add_text("parameters", infotext.write({**request.to_dict(), **request.seeds(0)}))
    picture.save(file, "PNG", pnginfo=notes, compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def _parameters(request: GenerationRequest, sent: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Every field of the body with its value; those that the image depends on as they were used."""
    table = bodies.TXT2IMG if kind is Kind.TEXT2IMG else bodies.IMG2IMG
    values = {name: sent.get(name, default) for name, (_, default) in table.items()}
    values |= {
        "seed": request.seed, "steps": request.steps, "cfg_scale": request.guidance_scale, "width": request.width,
        "height": request.height, **_sampler(request),
    }  # fmt: skip
    if (strength := _strength(request)) is not None:
        values["denoising_strength"] = strength
    if request.variation:
        values["subseed"] = request.variation["seed"]
    if kind is Kind.IMG2IMG and not values["include_init_images"]:
        values |= {"init_images": None, "mask": None}
    return values


def _sampler(request: GenerationRequest) -> dict[str, Any]:
    """Its two names; null for the one in the model's own folder."""
    choice = schedulers.parse(request.scheduler) if request.scheduler else None
    if choice is None:
        return {"sampler_name": request.scheduler, "scheduler": None}
    return {"sampler_name": choice.sampler, "scheduler": choice.schedule or None}


def _info(job: Job, seeds: list[dict[str, int]], texts: list[str], sent: Mapping[str, Any]) -> dict[str, Any]:
    request = job.request
    started = datetime.fromtimestamp((job.started_at_ms or job.created_at_ms) / 1000).astimezone()
    return {
        "prompt": request.prompt, "all_prompts": [request.prompt] * len(seeds),
        "negative_prompt": request.negative_prompt, "all_negative_prompts": [request.negative_prompt] * len(seeds),
        "seed": request.seed, "all_seeds": [own["seed"] for own in seeds], **_variation(request, seeds),
        "width": request.width, "height": request.height,
        "sampler_name": _sampler(request)["sampler_name"] or "model's own", "cfg_scale": request.guidance_scale,
        "steps": request.steps, "batch_size": request.num_images, "restore_faces": False,
        "face_restoration_model": None, "sd_model_name": request.model, "sd_model_hash": None, "sd_vae_name": None,
        "sd_vae_hash": None, "seed_resize_from_w": -1, "seed_resize_from_h": -1,
        "denoising_strength": _strength(request),
        "extra_generation_params": {"Warnings": "; ".join(job.warnings)} if job.warnings else {},
        "index_of_first_image": 0, "infotexts": texts, "styles": sent.get("styles") or [],
        "job_timestamp": started.strftime("%Y%m%d%H%M%S"), "clip_skip": 1,
        "is_using_inpainting_conditioning": False, "version": VERSION,
    }  # fmt: skip


def _strength(request: GenerationRequest) -> float | None:
    """How far a picture is changed: the one that was sent, or that of the first pass."""
    return request.hires["strength"] if request.hires else request.strength


def _variation(request: GenerationRequest, seeds: list[dict[str, int]]) -> dict[str, Any]:
    """The second seed of the first image and of each, if one was mixed in."""
    used = request.variation or {}
    seed = used.get("seed", request.seed)
    own = [one.get("variation_seed", seed) for one in seeds]
    return {"subseed": seed, "all_subseeds": own, "subseed_strength": used.get("strength", 0)}
