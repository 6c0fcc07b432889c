"""The results of finished jobs, as clients receive them."""

from __future__ import annotations

from typing import Any

from app.extensions import settings
from app.protocols.aime.clients.stored_files import StoredFile
from app.protocols.aime.endpoints.spec import Endpoint, LocalModel, Output
from app.protocols.aime.inputs import images
from app.protocols.aime.inputs.media import data_uri
from app.protocols.aime.workers.results import MEASURED
from jobs.errors import ObjectNotFound
from jobs.objects.base import ObjectStore
from jobs.record import Job
from jobs.requests.custom import EndpointRequest


def final_result(endpoint: Endpoint, job: Job, objects: ObjectStore) -> dict[str, Any]:
    """Return the result of a job that succeeded. Its files are read later, by :class:`JsonBody`.

    Raises:
        ObjectNotFound: its files were removed.
        Unavailable: the object store does not respond.
    """
    result: dict[str, Any] = {"success": True, "job_id": job.job_id, "ep_version": endpoint.version}
    if endpoint.local_model is None or isinstance(job.request, EndpointRequest):
        worker = job.result.get("_worker", {})
        result |= _outputs_of_worker(endpoint, job, objects)
        result |= {name: worker[name] for name in MEASURED if name in worker}
    else:
        worker = {"auth": job.slot, "interface_version": None}
        result |= _outputs_of_local_model(endpoint, endpoint.local_model, job, objects)
    if endpoint.worker_meta:
        result |= {"auth": worker.get("auth"), "worker_interface_version": worker.get("interface_version")}
    return result | _times(job)


def _times(job: Job) -> dict[str, float]:
    computed_s = (job.computed_at_ms or job.finished_at_ms or 0) / 1000
    created_s, started_s, finished_s = (
        (moment_ms or 0) / 1000 for moment_ms in (job.created_at_ms, job.started_at_ms, job.finished_at_ms)
    )
    return {
        "start_time": created_s,
        "start_time_compute": started_s,
        "result_received_time": finished_s,
        "compute_duration": round(computed_s - started_s, 3),
        "total_duration": round(finished_s - created_s, 3),
    }


def _outputs_of_worker(endpoint: Endpoint, job: Job, objects: ObjectStore) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    for name in endpoint.outputs:
        stored = job.result.get(name)
        if stored is None:
            continue
        if "value" in stored:
            outputs[name] = stored["value"]
        elif isinstance(stored["files"], list):
            outputs[name] = [_file(job, index, objects) for index in stored["files"]]
        else:
            outputs[name] = _file(job, stored["files"], objects)
    return outputs


def _outputs_of_local_model(
    endpoint: Endpoint, model: LocalModel, job: Job, objects: ObjectStore
) -> dict[str, Any]:  # fmt: skip
    """Return files for outputs of a media type, and fields of the request for the others."""
    request = job.request.to_dict()
    fields = {**{name: name for name in request}, **model.fields}
    outputs: dict[str, Any] = {}
    for name, spec in endpoint.outputs.items():
        if spec.type == "image_list":
            outputs[name] = [_file(job, index, objects, spec) for index in range(len(job.outputs))]
        elif spec.type in ("image", "video"):
            outputs[name] = _file(job, 0, objects, spec)
        elif (value := request.get(fields.get(name, name))) is not None:
            outputs[name] = value
    return outputs


def _file(job: Job, index: int, objects: ObjectStore, spec: Output | None = None) -> StoredFile | str:
    """Return a file of a job, or its data URI after a conversion to the image format that its output declares."""
    if index >= len(job.outputs):
        raise ObjectNotFound("the output was removed")
    output = job.outputs[index]
    image_format = spec.format.lower() if spec else ""
    if image_format == "jpg":
        image_format = "jpeg"
    is_image = output.media_type.startswith("image/")
    if image_format in images.FORMATS and is_image and output.media_type != f"image/{image_format}":
        content = images.as_format(b"".join(objects.read(output.key)), image_format, settings())
        return data_uri(content, f"image/{image_format}")
    return StoredFile(output.key, output.media_type, objects.stat(output.key).size_bytes)
