"""Build the body of AUTOMATIC1111's ``txt2img`` and ``img2img`` from a request."""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jobs.errors import BackendFailed
from jobs.models import schedulers
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from jobs.requests.inpaint import Inpaint
from jobs.requests.pictures.controls import DEFAULT_RESIZE
from jobs.requests.pictures.preprocessing import THRESHOLDS
from jobs.requests.prompts.tags import with_loras

_RESIZES = {"stretch": 0, "crop": 1, "pad": 2}
_RESIZES_OF_UNITS = {"stretch": "Just Resize", "crop": "Crop and Resize", "pad": "Resize and Fill"}
_FILLS = {"blurred": 0, "original": 1, "noise": 2, "nothing": 3}
#: Enlarges the first picture, as local models do; without a name AUTOMATIC1111 enlarges latents instead.
_UPSCALER = "Lanczos"


def path_of(request: GenerationRequest) -> str:
    return "/sdapi/v1/txt2img" if request.kind is Kind.TEXT2IMG else "/sdapi/v1/img2img"


def body_of(
    request: GenerationRequest, inputs: Mapping[str, bytes], checkpoint: str, task_id: str,
    controls: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:  # fmt: skip
    """Return the pass-through body, overridden by the request.

    Args:
        request: what to compute.
        inputs: content of the object-store keys that the request names.
        checkpoint: checkpoint to load unless the client named one; '' keeps the loaded one.
        task_id: id of the job on the server.
        controls: name of each control → name of its model on the server.

    Raises:
        BackendFailed: the server has no model for a control.
    """
    body = _passed(request, inputs)
    body |= {
        "prompt": with_loras(request.prompt, request.loras),
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
        body |= {"sampler_name": choice.sampler, "scheduler": choice.schedule_type}
    if request.distilled_guidance_scale is not None:
        body["distilled_cfg_scale"] = request.distilled_guidance_scale
    if request.controls:
        units = [_unit(control, inputs[control["image"]], controls) for control in request.controls]
        body["alwayson_scripts"] = {"ControlNet": {"args": units}}
    if settings := _settings(request, checkpoint):
        body["override_settings"] = settings
    else:
        body.pop("override_settings", None)
    return body


def _passed(request: GenerationRequest, inputs: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the pass-through body with its images in their places."""
    body = copy.deepcopy(request.passthrough or {})
    for image in request.passed_images or ():
        *path, last = image["at"]
        place: Any = body
        for step in path:
            place = place[step]
        place[last] = _base64(inputs[image["image"]])
    return body


def _settings(request: GenerationRequest, checkpoint: str) -> dict[str, Any]:
    """Return the settings for this job alone, without the model's name of this server, which is unknown there."""
    settings = dict((request.passthrough or {}).get("override_settings") or {})
    if settings.get("sd_model_checkpoint") == request.model:
        del settings["sd_model_checkpoint"]
    if request.clip_skip:
        settings["CLIP_stop_at_last_layers"] = request.clip_skip + 1
    return {"sd_model_checkpoint": checkpoint, **settings} if checkpoint else settings


def _batch(body: Mapping[str, Any], num_images: int) -> dict[str, int]:
    """Split the images into batches as the client asked for, else compute all in one batch."""
    size, runs = body.get("batch_size") or 1, body.get("n_iter") or 1
    if size * runs == num_images:
        return {"batch_size": size, "n_iter": runs}
    return {"batch_size": num_images, "n_iter": 1}


def _passes(request: GenerationRequest) -> dict[str, Any]:
    """Return the fields of the variation and of the second pass."""
    fields: dict[str, Any] = {}
    if variation := request.variation:
        fields |= {"subseed": variation["seed"], "subseed_strength": variation["strength"]}
    if hires := request.hires:
        fields |= {
            "enable_hr": True,
            "hr_resize_x": hires["width"],
            "hr_resize_y": hires["height"],
            "hr_second_pass_steps": hires["steps"],
            "denoising_strength": hires["strength"],
            "hr_upscaler": _UPSCALER,
        }
    return fields


def _pictures(request: GenerationRequest, inputs: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the input image, the mask and how to use them; a pass-through body has its own fields for the latter."""
    fields: dict[str, Any] = {}
    if request.strength is not None:
        fields["denoising_strength"] = request.strength
    if images := request.images or ([request.image] if request.image else []):
        fields["init_images"] = [_base64(inputs[key]) for key in images]
    if request.mask:
        fields["mask"] = _base64(inputs[request.mask])
    if request.image and request.passthrough is None:
        fields["resize_mode"] = _RESIZES[request.resize or "stretch"]
    if request.mask and request.passthrough is None:
        use = Inpaint.of(request.inpaint)
        fields |= {
            "mask_blur": round(use.blur_px),
            "inpainting_fill": _FILLS[use.fill],
            "inpaint_full_res": use.area == "masked",
            "inpaint_full_res_padding": use.padding_px,
        }
    return fields


def _unit(control: Mapping[str, Any], image: bytes, models: Mapping[str, str]) -> dict[str, Any]:
    """Return a control as a unit of the ControlNet extension. Raises: BackendFailed."""
    if control["name"] not in models:
        raise BackendFailed(f"the back end has no model for control {control['name']}")
    unit = {
        "enabled": True,
        "model": models[control["name"]],
        "module": control.get("preprocess", "none"),
        "image": _base64(image),
        "weight": control["scale"],
        "guidance_start": control["start"],
        "guidance_end": control["end"],
        "resize_mode": _RESIZES_OF_UNITS[control.get("resize", DEFAULT_RESIZE)],
        "pixel_perfect": True,  # edges are found in the size of the output, as on GPUs of this server
        "save_detected_map": False,
    }
    thresholds = zip(("threshold_a", "threshold_b"), THRESHOLDS, strict=True)
    return unit | {name: control[key] for name, key in thresholds if key in control}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
