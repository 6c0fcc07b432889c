"""The fields of OpenAI's images and videos, made from a request."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from jobs.errors import BackendFailed
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest

#: Names of OpenAI's own models begin so. Their server refuses every field that it does not know.
_OPENAIS_OWN = ("gpt-image", "chatgpt-image", "dall-e", "sora")
#: They answer with base64, and refuse to be asked for it.
_BASE64_ONLY = ("gpt-image", "chatgpt-image")
#: Fields of a request that change the picture and that such a server does not have.
_UNSUPPORTED = (
    "variation", "hires", "prior", "loras", "clip_skip", "inpaint", "last_image", "video", "audio", "controls",
    "passed_images",
)  # fmt: skip

#: A part of a form as httpx2 takes it: file name (None for a text), content, media type.
Part = tuple[str | None, bytes | str] | tuple[str | None, bytes | str, str]


def check_supported(request: GenerationRequest) -> None:
    """Check that such a server can compute a request. Raises: BackendFailed."""
    missing = [name for name in _UNSUPPORTED if getattr(request, name)]
    if request.kind is Kind.MIX2IMG:
        missing.append("mix")
    if request.images and request.kind is not Kind.EDIT:
        missing.append("images")
    if missing:
        raise BackendFailed(f"an OpenAI server cannot do this: {', '.join(missing)}")


def image_fields(request: GenerationRequest, model: str) -> dict[str, Any]:
    """Return the fields of an image, generated or edited; files are sent beside them."""
    fields: dict[str, Any] = {
        "model": model, "prompt": request.prompt, "n": request.num_images, "size": f"{request.width}x{request.height}"
    }  # fmt: skip
    if not model.startswith(_BASE64_ONLY):
        fields["response_format"] = "b64_json"
    if request.strength is not None:
        fields["strength"] = request.strength
    return fields | _extras(request) if takes_extras(model) else _without(fields, "strength")


def video_fields(request: GenerationRequest, model: str) -> dict[str, Any]:
    """Return the fields of a video; the input image is sent beside them."""
    seconds = request.frames / request.fps if request.fps else 0
    fields: dict[str, Any] = {
        "model": model, "prompt": request.prompt, "size": f"{request.width}x{request.height}",
        "seconds": str(max(1, round(seconds))),
    }  # fmt: skip
    if not takes_extras(model):
        return fields
    return {**fields, **_extras(request), "num_frames": request.frames, "fps": f"{request.fps:g}"}


def takes_extras(model: str) -> bool:
    """Return whether the server of a model takes seed, steps and guidance scale: every one but OpenAI's own does."""
    return not model.startswith(_OPENAIS_OWN)


def form(fields: Mapping[str, Any]) -> dict[str, Part]:
    """Return fields as parts of a form."""
    return {name: (None, value if isinstance(value, str) else f"{value}") for name, value in fields.items()}


def picture_part(content: bytes, name: str) -> Part:
    """Return an image file as a part of a form."""
    image_format = (Image.open(io.BytesIO(content)).format or "PNG").lower()
    return f"{name}.{image_format}", content, f"image/{image_format}"


def mask_part(mask: bytes, image: bytes) -> Part:
    """Return a mask (white is repainted) in OpenAI's way: as large as the image, transparent where it is repainted."""
    with Image.open(io.BytesIO(image)) as picture:
        size = picture.size
    with Image.open(io.BytesIO(mask)) as opened:
        repainted = opened.convert("L").resize(size)
    result = Image.new("RGBA", size)
    result.putalpha(repainted.point(lambda value: 255 - value))
    file = io.BytesIO()
    result.save(file, "PNG")
    return "mask.png", file.getvalue(), "image/png"


def _extras(request: GenerationRequest) -> dict[str, Any]:
    """Return the fields that all servers but OpenAI's own know."""
    fields = {
        "seed": request.seed, "num_inference_steps": request.steps, "guidance_scale": request.guidance_scale,
        "negative_prompt": request.negative_prompt,
    }  # fmt: skip
    return {name: value for name, value in fields.items() if value != ""}


def _without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}
