"""The response of ``txt2img`` and ``img2img``: images, the used parameters, and an infotext for each image."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.extensions import objects, settings
from app.media.decoding import decode, to_base64
from app.media.pictures import BYTES_PER_PX
from app.protocols.a1111 import bodies
from jobs.models import schedulers
from jobs.models.spec import Kind
from jobs.record import Job
from jobs.requests import infotext
from jobs.requests.generation import GenerationRequest
from jobs.requests.prompts.tags import with_loras
from jobs.states import JobState
from jobs.strict_json import dumps

#: The program, as infotexts name it.
VERSION = "framemill"


def images_body(
    jobs: list[Job], stopped: Mapping[str, str], fields: Mapping[str, Any], kind: Kind
) -> dict[str, Any]:  # fmt: skip
    """Return the body of the response.

    Args:
        jobs: the finished jobs of the request in order, one for each batch.
        stopped: job id → last preview (base64), for jobs that were stopped while they ran.
        fields: the fields of the request's body.
        kind: text2img or img2img.
    """
    images: list[str] = []
    seeds: list[dict[str, int]] = []
    infotexts: list[str] = []
    sends_images = fields.get("send_images", True)
    for job in jobs:
        batch = _images(job, stopped.get(job.job_id, ""), include_outputs=sends_images)
        images += batch
        count = len(batch) if sends_images or job.state is not JobState.SUCCEEDED else len(job.outputs)
        batch_seeds = [job.request.seeds(index) for index in range(count)]
        seeds += batch_seeds
        infotexts += [infotext.write({**job.request.to_dict(), **image_seeds}) for image_seeds in batch_seeds]
    info = _info(jobs[0], seeds, infotexts, fields)
    return {
        "images": images if sends_images else [],
        "parameters": _parameters(jobs[0].request, fields, kind),
        "info": dumps(info),
    }


def _images(job: Job, preview: str, *, include_outputs: bool) -> list[str]:
    """Return the outputs of a batch in base64, or the last preview of a stopped one."""
    if job.state is JobState.SUCCEEDED:
        if not include_outputs:
            return []
        return [to_base64(b"".join(objects().read(output.key))) for output in job.outputs]
    if not preview:
        return []
    width, height = job.request.output_size
    need_bytes = width * height * BYTES_PER_PX["png"]
    return [to_base64(decode(need_bytes, lambda: _enlarged_preview(preview, job.request), settings()))]


def _enlarged_preview(preview: str, request: GenerationRequest) -> bytes:
    """Return a preview in the requested size, as a PNG with an infotext."""
    with Image.open(io.BytesIO(base64.b64decode(preview))) as small:
        picture = small.convert("RGB").resize(request.output_size, Image.Resampling.BICUBIC)
    notes, file = PngInfo(), io.BytesIO()
    notes.add_text("parameters", infotext.write({**request.to_dict(), **request.seeds(0)}))
    picture.save(file, "PNG", pnginfo=notes, compress_level=1)
    return file.getvalue()


def _parameters(request: GenerationRequest, fields: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Return every field of the body, those that change the image with the values that were used."""
    table = bodies.TXT2IMG if kind is Kind.TEXT2IMG else bodies.IMG2IMG
    values = {name: fields.get(name, default) for name, (_, default) in table.items()}
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
    """Return the sampler and its schedule; None for the default of the model."""
    choice = schedulers.parse(request.scheduler) if request.scheduler else None
    if choice is None:
        return {"sampler_name": request.scheduler, "scheduler": None}
    return {"sampler_name": choice.sampler, "scheduler": choice.schedule_type}


def _info(job: Job, seeds: list[dict[str, int]], infotexts: list[str], fields: Mapping[str, Any]) -> dict[str, Any]:
    request = job.request
    prompt = with_loras(request.prompt, request.loras)
    started = datetime.fromtimestamp((job.started_at_ms or job.created_at_ms) / 1000).astimezone()
    return {
        "prompt": prompt, "all_prompts": [prompt] * len(seeds),
        "negative_prompt": request.negative_prompt, "all_negative_prompts": [request.negative_prompt] * len(seeds),
        "seed": request.seed, "all_seeds": [image_seeds["seed"] for image_seeds in seeds], **_variation(request, seeds),
        "width": request.width, "height": request.height,
        "sampler_name": _sampler(request)["sampler_name"] or "model's own", "cfg_scale": request.guidance_scale,
        "steps": request.steps, "batch_size": request.num_images, "restore_faces": False,
        "face_restoration_model": None, "sd_model_name": request.model, "sd_model_hash": None, "sd_vae_name": None,
        "sd_vae_hash": None, "seed_resize_from_w": -1, "seed_resize_from_h": -1,
        "denoising_strength": _strength(request),
        "extra_generation_params": {"Warnings": "; ".join(job.warnings)} if job.warnings else {},
        "index_of_first_image": 0, "infotexts": infotexts, "styles": fields.get("styles") or [],
        "job_timestamp": started.strftime("%Y%m%d%H%M%S"), "clip_skip": (request.clip_skip or 0) + 1,
        "is_using_inpainting_conditioning": False, "version": VERSION,
    }  # fmt: skip


def _strength(request: GenerationRequest) -> float | None:
    """Return the denoising strength: of the hires pass if there is one, else of the input image."""
    return request.hires["strength"] if request.hires else request.strength


def _variation(request: GenerationRequest, seeds: list[dict[str, int]]) -> dict[str, Any]:
    """Return the subseeds of all images; without a variation they equal the seed."""
    variation = request.variation or {}
    subseed = variation.get("seed", request.seed)
    subseeds = [image_seeds.get("variation_seed", subseed) for image_seeds in seeds]
    return {"subseed": subseed, "all_subseeds": subseeds, "subseed_strength": variation.get("strength", 0)}
