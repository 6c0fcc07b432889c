"""The results of jobs that workers over HTTP computed: stored like all outputs, and given out again."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import time
from collections.abc import Mapping
from typing import Any

from app.inputs import off_the_hub
from app.protocols.aime.endpoints.spec import Endpoint, Output
from app.protocols.aime.inputs import images
from app.protocols.aime.inputs.checking import data_uri
from jobs import record
from jobs.errors import ObjectNotFound
from jobs.objects.base import ObjectStore
from jobs.record import Job
from jobs.requests.custom import EndpointRequest

#: What a worker measured, told to the client as it is.
MEASURED = ("arrival_time", "finished_time", "pending_duration", "preprocessing_duration")

_DATA_URI = re.compile(r"data:((?:image|audio|video)/[\w.+-]+)(?:;[^;,]*)*?;base64,")
_ENDINGS = {"jpeg": "jpg", "vnd.wave": "wav", "x-wav": "wav", "mpeg": "mp3", "svg+xml": "svg"}
_FILES = ("image", "audio", "video", "image_list")


def store_outputs(
    endpoint: Endpoint, job: Job, attempt: int, sent: Mapping[str, Any], objects: ObjectStore
) -> tuple[list[record.Output], dict[str, Any]]:
    """Store the files of a result.

    Returns:
        The stored files, and the result with their numbers in the files' places.

    Raises:
        Unavailable.
    """
    outputs: list[record.Output] = []
    folder = f"outputs/{job.job_id}/{attempt}.{time.time_ns()}"

    def put(value: Any) -> int | None:
        head = _DATA_URI.match(value) if isinstance(value, str) else None
        if head is None:
            return None
        try:
            content = off_the_hub(lambda: base64.b64decode(value[head.end() :], validate=True))
        except (binascii.Error, ValueError):
            return None
        ending = head[1].partition("/")[2]
        ending = _ENDINGS.get(ending, ending)
        key = f"{folder}/{len(outputs)}.{re.sub('[^a-z0-9]', '', ending.lower()) or 'bin'}"
        objects.put_bytes(key, content, head[1])
        width, height = images.size_of(content) if head[1].startswith("image/") else (0, 0)
        digest = hashlib.sha256(content).hexdigest()
        file = record.Output(key=key, media_type=head[1], bytes=len(content), sha256=digest, width=width, height=height)
        outputs.append(file)
        return len(outputs) - 1

    result: dict[str, Any] = {}
    for name, spec in endpoint.outputs.items():
        if name not in sent or sent[name] is None:
            continue
        value = sent[name]
        several = isinstance(value, list)
        numbers = [put(one) for one in (value if several else [value])] if spec.type in _FILES else []
        if numbers and None not in numbers:
            result[name] = {"files": numbers if several else numbers[0]}
        else:
            result[name] = {"value": value}
    if kept := {name: sent[name] for name in endpoint.session_vars if sent.get(name) is not None}:
        result["_session"] = kept
    result["_worker"] = {
        "auth": sent.get("auth"),
        "interface_version": sent.get("version"),
        **{name: sent[name] for name in MEASURED if isinstance(sent.get(name), int | float)},
    }
    return outputs, result


def final_result(endpoint: Endpoint, job: Job, objects: ObjectStore) -> dict[str, Any]:
    """What a client is given when its job is done.

    Raises:
        ObjectNotFound: its files were removed.
        Unavailable.
    """
    answer: dict[str, Any] = {"success": True, "job_id": job.job_id, "ep_version": endpoint.version}
    computed_s = (job.computed_at_ms or job.finished_at_ms or 0) / 1000
    start_s, run_s, end_s = job.created_at_ms / 1000, (job.started_at_ms or 0) / 1000, (job.finished_at_ms or 0) / 1000
    if isinstance(job.request, EndpointRequest):
        answer |= _of_worker(endpoint, job, objects)
        worker = job.result.get("_worker", {})
        answer |= {name: worker[name] for name in MEASURED if name in worker}
    else:
        answer |= _of_own(endpoint, job, objects)
        worker = {"auth": job.slot, "interface_version": None}
    if endpoint.worker_meta:
        answer |= {"auth": worker.get("auth"), "worker_interface_version": worker.get("interface_version")}
    answer |= {
        "start_time": start_s,
        "start_time_compute": run_s,
        "result_received_time": end_s,
        "compute_duration": round(computed_s - run_s, 3),
        "total_duration": round(end_s - start_s, 3),
    }
    return answer


def _of_worker(endpoint: Endpoint, job: Job, objects: ObjectStore) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in endpoint.outputs:
        kept = job.result.get(name)
        if kept is None:
            continue
        if "value" in kept:
            found[name] = kept["value"]
        elif isinstance(kept["files"], list):
            found[name] = [_file(job, number, objects) for number in kept["files"]]
        else:
            found[name] = _file(job, kept["files"], objects)
    return found


def _of_own(endpoint: Endpoint, job: Job, objects: ObjectStore) -> dict[str, Any]:
    """The outputs of the server's own model, by what each of them is."""
    assert endpoint.own is not None
    request = job.request.to_dict()
    fields = {**{name: name for name in request}, **endpoint.own.fields}
    found: dict[str, Any] = {}
    for name, spec in endpoint.outputs.items():
        if spec.type == "image_list":
            found[name] = [_file(job, number, objects, spec) for number in range(len(job.outputs))]
        elif spec.type in ("image", "video"):
            found[name] = _file(job, 0, objects, spec)
        elif (value := request.get(fields.get(name, name))) is not None:
            found[name] = value
    return found


def _file(job: Job, number: int, objects: ObjectStore, spec: Output | None = None) -> str:
    if number >= len(job.outputs):
        raise ObjectNotFound("the output was removed")
    output = job.outputs[number]
    content, media_type = b"".join(objects.read(output.key)), output.media_type
    kind = spec.format.lower() if spec else ""
    if kind == "jpg":
        kind = "jpeg"
    if kind in images.FORMATS and media_type.startswith("image/") and media_type != f"image/{kind}":
        content, media_type = off_the_hub(lambda: images.as_format(content, kind)), f"image/{kind}"
    return data_uri(content, media_type)
