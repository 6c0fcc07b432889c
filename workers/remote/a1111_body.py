"""A request as the body of AUTOMATIC1111's ``txt2img`` and ``img2img``."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from jobs.models import schedulers
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from jobs.requests.inpaint import Inpaint

_RESIZES = {"stretch": 0, "crop": 1, "pad": 2}
_FILLS = {"blurred": 0, "original": 1, "noise": 2, "nothing": 3}
#: Enlarges the first picture itself, as our own models do; theirs without a name enlarges latents.
_UPSCALER = "Lanczos"


def path_of(request: GenerationRequest) -> str:
    return "/sdapi/v1/txt2img" if request.kind is Kind.TEXT2IMG else "/sdapi/v1/img2img"


def body_of(request: GenerationRequest, inputs: Mapping[str, bytes], checkpoint: str, task_id: str) -> dict[str, Any]:
    """What the sender passed on, and over it what the request says.

    Args:
        request: what to compute.
        inputs: content of the object-store keys that it names.
        checkpoint: loaded for the job unless the sender names one; '' for the one that is loaded.
        task_id: the job's name there.
    """
    body = dict(request.passthrough or {})
    body |= {
        "prompt": " ".join([request.prompt, *_loras(request)]),
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
        "steps": request.steps,
        "cfg_scale": request.guidance_scale,
        "width": request.width,
        "height": request.height,
        **_batch(body, request.num_images),
        **_passes(request),
        **_pictures(request, inputs),
        "send_images": True,
        "save_images": False,
        "force_task_id": task_id,
    }
    if choice := schedulers.parse(request.scheduler or ""):
        body |= {"sampler_name": choice.sampler, "scheduler": choice.schedule or "Automatic"}
    if settings := _settings(request, checkpoint):
        body["override_settings"] = settings
    else:
        body.pop("override_settings", None)
    return body


def _settings(request: GenerationRequest, checkpoint: str) -> dict[str, Any]:
    """Settings for this job alone. A sender may have named the model as it is called here; there it means nothing."""
    sent = dict((request.passthrough or {}).get("override_settings") or {})
    if sent.get("sd_model_checkpoint") == request.model:
        del sent["sd_model_checkpoint"]
    return {"sd_model_checkpoint": checkpoint, **sent} if checkpoint else sent


def _loras(request: GenerationRequest) -> list[str]:
    return [f"<lora:{lora['name']}:{lora['weight']:g}>" for lora in request.loras or ()]


def _batch(sent: Mapping[str, Any], images: int) -> dict[str, int]:
    """So many images: split as the sender wanted them, or all at once."""
    size, runs = sent.get("batch_size") or 1, sent.get("n_iter") or 1
    return {"batch_size": size, "n_iter": runs} if size * runs == images else {"batch_size": images, "n_iter": 1}


def _passes(request: GenerationRequest) -> dict[str, Any]:
    """Noise of a second seed, and a second pass."""
    found: dict[str, Any] = {}
    if part := request.variation:
        found |= {"subseed": part["seed"], "subseed_strength": part["strength"]}
    if part := request.hires:
        found |= {
            "enable_hr": True,
            "hr_resize_x": part["width"],
            "hr_resize_y": part["height"],
            "hr_second_pass_steps": part["steps"],
            "denoising_strength": part["strength"],
            "hr_upscaler": _UPSCALER,
        }
    return found


def _pictures(request: GenerationRequest, inputs: Mapping[str, bytes]) -> dict[str, Any]:
    """The input image and the mask, and how they are used: by the request, where the sender's own words say nothing."""
    found: dict[str, Any] = {}
    if request.strength is not None:
        found["denoising_strength"] = request.strength
    if request.image:
        found["init_images"] = [_text(inputs[request.image])]
    if request.mask:
        found["mask"] = _text(inputs[request.mask])
    if request.image and request.passthrough is None:
        found["resize_mode"] = _RESIZES[request.resize or "stretch"]
    if request.mask and request.passthrough is None:
        use = Inpaint.of(request.inpaint)
        found |= {
            "mask_blur": round(use.blur_px),
            "inpainting_fill": _FILLS[use.fill],
            "inpaint_full_res": use.area == "masked",
            "inpaint_full_res_padding": use.padding_px,
        }
    return found


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
