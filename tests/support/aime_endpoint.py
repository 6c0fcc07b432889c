"""An endpoint file of the AIME protocol, and the results of its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.aime_peers import Worker, picture
from tests.support.api import ENDLESS_STEPS

CONFIG = """
[ENDPOINT]
name = "draw"
title = "Drawing"
category = "image"
version = 3
max_queue_length = 4
{endpoint}

[WORKER]
job_type = "draw"
auth_key = "worker-secret"
request_timeout = {timeout_s}

[CLIENTS]
provide_worker_meta_data = true
{clients}

[INPUTS]
prompt = {{ type = "string", required = true, max_length = 20 }}
seed = {{ type = "integer", default = 7, minimum = 0, maximum = 100, align = 1 }}
strength = {{ type = "float", minimum = 0.0, maximum = 1.0, auto_convert = true }}
fast = {{ type = "bool", default = false }}
size = {{ type = "selection", supported = ["small", "large"], default = "small" }}
options = {{ type = "json" }}
image = {{ type = "image", format = {{ supported = ["png"], auto_convert = true }}, {size} }}
{inputs}

[SESSION.VARS]
mood = {{ type = "string", default = "calm" }}

[PROGRESS.OUTPUTS]
progress_images = {{ type = "image_list", format = "JPEG", color_space = "RGB" }}
text = {{ type = "string" }}

[OUTPUTS]
images = {{ type = "image_list", format = "PNG", color_space = "RGB" }}
seed = {{ type = "integer" }}
{outputs}
{pages}
"""

SIZE = "size = { maximum = [32, 32], align = 8, auto_convert = true }"


def write_endpoint(folder: Path, name: str = "draw", **parts: str) -> None:
    omitted = dict.fromkeys(("endpoint", "clients", "inputs", "outputs", "pages"), "")
    text = CONFIG.format(**{**omitted, "size": SIZE, "timeout_s": "3", **parts})
    text = text.replace('name = "draw"', f'name = "{name}"')
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    (path / "aime_api_endpoint.cfg").write_text(text)


def draw(worker: Worker, data: dict[str, Any]) -> dict[str, Any]:
    worker.send_progress(data, 50, {"progress_images": [picture("blue")], "text": "half", "secret": "x"})
    return {"images": [picture("red"), picture("green")], "seed": data["seed"], "undeclared": 1}


#: An endpoint that the server's own GPUs compute, with the model ``tiny-image``.
LOCAL_ENDPOINT = f"""
[ENDPOINT]
name = "tiny"
version = 2
[CLIENTS]
provide_worker_meta_data = true
[MODEL]
name = "tiny-image"
[INPUTS]
prompt = {{ type = "string", required = true }}
seed = {{ type = "integer", default = -1 }}
num_inference_steps = {{ type = "integer", default = 2, minimum = 1, maximum = {ENDLESS_STEPS} }}
width = {{ type = "integer", default = 16 }}
height = {{ type = "integer", default = 16 }}
image = {{ type = "image" }}
[PROGRESS.OUTPUTS]
progress_images = {{ type = "image_list" }}
[OUTPUTS]
images = {{ type = "image_list", format = "JPEG" }}
seed = {{ type = "integer" }}
num_inference_steps = {{ type = "integer" }}
"""
