"""Model commands and the models in a slot's memory, for a stack of equal models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import requests

from tests.support.harness import Stack, wait_for

_TABLE = """
[{name}]
source = "{source}"
kinds = ["text2img"]
defaults = {{ steps = 2, width = 32, height = 32 }}
limits = {{ steps = [1, 100000], width = [16, 10000000], height = [16, 10000000] }}
{more}
"""
_FAULTS = "faults.json"


def write_models(folder: Path, models: dict[str, str], tiny_file: Path) -> tuple[Path, dict[str, Any]]:
    """Write a models file; return its path and the settings of the stack.

    Args:
        folder: the folder of the stack.
        models: names, with further keys of the models file.
        tiny_file: the models file of the tiny pipelines.
    """
    source = tiny_file.parent / "tiny-image"
    file = folder / "models.toml"
    file.write_text("".join(_TABLE.format(name=n, source=source, more=more) for n, more in models.items()))
    return file, {"FAULTS_FILE": folder / _FAULTS}


def weights_bytes(tiny_file: Path) -> int:
    """Return the approximate bytes of one model's weights."""
    return sum(path.stat().st_size for path in (tiny_file.parent / "tiny-image").glob("*/*.safetensors"))


def slot(stack: Stack) -> dict[str, Any]:
    return dict(stack.fleet()["slots"][0])


def places(stack: Stack) -> dict[str, str]:
    return {held["model"]: held["place"] for held in slot(stack)["held"]}


def order(stack: Stack, model: str, what: str, **body: Any) -> requests.Response:
    return requests.post(stack.url(f"/v1/models/{model}/{what}"), json=body, timeout=60)


def carried_out(stack: Stack, model: str, what: str, **body: Any) -> dict[str, Any]:
    """Send a model command that needs a job; return the job when it has finished."""
    answer = order(stack, model, what, **body)
    assert answer.status_code == 202, answer.text
    return stack.wait(answer.json()["slots"][0]["job_id"])


def have(stack: Stack, *models: str) -> None:
    """Make exactly these of the models a and b resident."""
    for model in {"a", "b"} - set(models):
        if order(stack, model, "unload").status_code == 202:
            wait_for(lambda gone=model: gone not in places(stack), f"{model} to go")
    for model in models:
        use(stack, model)


def use(stack: Stack, model: str) -> None:
    view = stack.wait(stack.submit(model=model))
    assert view["state"] == "succeeded", view


def arm(stack: Stack, model: str, fault: str, times: int, step: int = 2) -> Path:
    """Inject a fault into a step of the model's next runs, this many times."""
    path = stack.folder / _FAULTS
    path.write_text(json.dumps({"model": model, "fault": fault, "step": step, "times": times}))
    return path


def left(path: Path) -> int:
    return int(json.loads(path.read_text())["times"])
