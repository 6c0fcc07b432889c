"""From jobs to responses with images."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.access import addresses, auth
from app.extensions import objects
from app.media.decoding import to_base64
from app.protocols.openai.wire.schemas import QUALITIES, URL
from jobs.forecast import OVER
from jobs.job_view import job_view
from jobs.record import Job, Output
from jobs.store.previews import Preview

#: Nothing here counts tokens.
USAGE = {
    "input_tokens": 0, "output_tokens": 0, "total_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}  # fmt: skip
_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}


def images_body(jobs: Sequence[Job], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response with the images of finished jobs.

    Args:
        jobs: the jobs, in the order of their images.
        fields: the fields of the request.
    """
    quality, outputs = _quality(fields), jobs[0].outputs
    body: dict[str, Any] = {"created": int(time.time()), "data": [one for job in jobs for one in _data(job, fields)]}
    body |= {"background": "opaque", "output_format": _format(outputs[0]), "size": _size(outputs[0]), "usage": USAGE}
    if quality != "auto":
        body["quality"] = quality
    told = [*dict.fromkeys(text for job in jobs for text in job.warnings)]
    return {**body, "warnings": told} if told else body


def _data(job: Job, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if fields.get("response_format") == URL:
        for output in job_view(job, OVER, objects(), auth.signer(), addresses.base_url())["outputs"]:
            yield {"url": output["url"], "seed": output["seed"], **_revised(job)}
        return
    for index, output in enumerate(job.outputs):
        yield {"b64_json": picture_of(output), "seed": job.request.seeds(index)["seed"], **_revised(job)}


def _revised(job: Job) -> dict[str, str]:
    """Return the prompt that was used, if the server's enhancer rewrote it, by OpenAI's name."""
    return {} if job.request.original_prompt is None else {"revised_prompt": job.request.prompt}


def picture_of(output: Output) -> str:
    """Return the file of an output in base64."""
    return to_base64(b"".join(objects().read(output.key)))


def partial_image(kind: str, fields: Mapping[str, Any], index: int, job: Job, preview: Preview) -> dict[str, Any]:
    """Return the event with a preview.

    Args:
        kind: ``image_generation`` or ``image_edit``.
        fields: the fields of the request.
        index: number of the preview.
        job: the job.
        preview: the preview.
    """
    return {
        "type": f"{kind}.partial_image",
        "partial_image_index": index,
        "step": preview.step,
        "b64_json": preview.base64,
        "output_format": _FORMATS.get(preview.media_type, "jpeg"),
        "size": "{}x{}".format(*job.request.output_size),
        **_common(fields),
    }


def completed_image(kind: str, fields: Mapping[str, Any], job: Job, index: int) -> dict[str, Any]:
    """Return the event with an output; arguments as for :func:`partial_image`."""
    output = job.outputs[index]
    return {
        "type": f"{kind}.completed",
        "b64_json": picture_of(output),
        "output_format": _format(output),
        "size": _size(output),
        "seed": job.request.seeds(index)["seed"],
        "usage": USAGE,
        **_common(fields),
    }


def _common(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"created_at": int(time.time()), "background": "opaque", "quality": _quality(fields)}


def _quality(fields: Mapping[str, Any]) -> str:
    return QUALITIES[fields.get("quality", "auto")]


def _format(output: Output) -> str:
    return _FORMATS.get(output.media_type, "png")


def _size(output: Output) -> str:
    return f"{output.width}x{output.height}"
