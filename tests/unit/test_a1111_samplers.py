"""Samplers and schedules of AUTOMATIC1111, and the scheduler that each pair means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.payloads import a1111
from jobs.models.registry import ModelRegistry
from jobs.models.schedulers import Choice
from jobs.models.spec import Kind
from jobs.requests import infotext
from jobs.requests.generation import GenerationRequest
from workers.remote import a1111_body

MODELS = """
[all]
executor = "drawing"
kinds = ["text2img"]
schedulers = "diffusion"

[few]
executor = "drawing"
kinds = ["text2img"]
scheduler = "DPM++ 2M Karras"
schedulers = ["Euler", "DPM++ 2M", "DPM++ 2M SDE Karras"]

[none]
executor = "drawing"
kinds = ["text2img"]
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    path: Path = tmp_path_factory.mktemp("models") / "models.toml"
    path.write_text(MODELS)
    return ModelRegistry.from_file(path)


def chosen(registry: ModelRegistry, model: str, **sent: Any) -> tuple[str | None, list[str]]:
    """Return the scheduler of a body, and the warnings."""
    mapped = a1111.map_body({"prompt": "x", **sent}, Kind.TEXT2IMG, registry, model)
    return mapped.values["scheduler"], mapped.warnings


@pytest.mark.parametrize(
    ("sampler", "automatic"),
    [
        ("DPM++ 2M", "Karras"), ("DPM++ SDE", "Karras"), ("DPM++ 2M SDE", "Exponential"),
        ("DPM++ 2M SDE Heun", "Exponential"), ("DPM++ 3M SDE", "Exponential"), ("DPM2", "Karras"),
        ("DPM2 a", "Karras"), ("Euler a", ""), ("Euler", ""), ("LMS", ""), ("Heun", ""), ("DDIM", ""), ("PLMS", ""),
        ("UniPC", ""), ("LCM", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("schedule", [None, "", "Automatic", "automatic"])
def test_the_schedule_of_a_sampler_that_is_left_to_the_server(
    registry: ModelRegistry, sampler: str, automatic: str, schedule: str | None
) -> None:
    found = chosen(registry, "all", sampler_name=sampler, scheduler=schedule)
    assert found == (f"{sampler} {automatic}".strip(), [])


@pytest.mark.parametrize(
    ("schedule", "meant"),
    [
        ("Uniform", ""), ("uniform", ""), ("normal", ""), ("Karras", "Karras"), ("exponential", "Exponential"),
        ("Polyexponential", "Exponential"), ("SGM Uniform", "SGM Uniform"), ("SGMUniform", "SGM Uniform"),
        ("sgm_uniform", "SGM Uniform"), ("Simple", "SGM Uniform"), ("beta", "Beta"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler", "k_dpmpp_2m"])
def test_a_named_schedule(registry: ModelRegistry, sampler: str, schedule: str, meant: str) -> None:
    name = "Euler" if sampler == "Euler" else "DPM++ 2M"
    assert chosen(registry, "all", sampler_name=sampler, scheduler=schedule) == (f"{name} {meant}".strip(), [])


@pytest.mark.parametrize(
    ("sent", "scheduler"),
    [
        ({"sampler_name": "DPM++ 2M Karras"}, "DPM++ 2M Karras"),
        ({"sampler_name": "DPM++ 2M Karras", "scheduler": "Karras"}, "DPM++ 2M Karras"),
        ({"sampler_name": "DPM++ 2M Karras", "scheduler": "Automatic"}, "DPM++ 2M Karras"),
        ({"sampler_name": "DPM++ 2M Exponential", "scheduler": "Karras"}, "DPM++ 2M Exponential"),
        ({"sampler_name": "DPM++ 2M SDE Heun Karras"}, "DPM++ 2M SDE Heun Karras"),
        ({"sampler_index": "Euler a", "sampler_name": None}, "Euler a"),
        ({"sampler_name": "k_euler", "sampler_index": "Euler a"}, "Euler"),
        ({"sampler_index": "DPM++ 2M"}, "DPM++ 2M Karras"),
        ({}, None),
        ({"scheduler": "Automatic"}, None),
    ],
)
def test_old_names_and_absent_ones(registry: ModelRegistry, sent: dict[str, Any], scheduler: str | None) -> None:
    assert chosen(registry, "all", **sent) == (scheduler, [])


@pytest.mark.parametrize(
    ("model", "sent", "scheduler", "warning"),
    [
        ("all", {"sampler_name": "Restart"}, None, "model all has no sampler Restart; its own was used"),
        ("all", {"sampler_name": "Euler a", "scheduler": "Karras"}, "Euler a",
         "model all has no Euler a Karras; Euler a was used"),
        ("all", {"sampler_name": "DPM++ 2M", "scheduler": "KL Optimal"}, "DPM++ 2M Karras",
         "there is no schedule KL Optimal here; DPM++ 2M Karras was used"),
        ("all", {"scheduler": "Karras"}, None,
         "scheduler Karras was ignored: no sampler was named, and model all has its own"),
        ("few", {"sampler_name": "Euler", "scheduler": "Karras"}, "Euler",
         "model few has no Euler Karras; Euler was used"),
        ("few", {"sampler_name": "DPM++ 2M SDE"}, "DPM++ 2M SDE Karras",
         "model few has no DPM++ 2M SDE Exponential; DPM++ 2M SDE Karras was used"),
        ("few", {"scheduler": "Exponential"}, "DPM++ 2M Karras",
         "model few has no DPM++ 2M Exponential; DPM++ 2M Karras was used"),
        ("none", {"sampler_name": "Euler a"}, None, "model none has no sampler Euler a; its own was used"),
    ],
)  # fmt: skip
def test_what_a_model_does_not_have_is_replaced_with_one_warning(
    registry: ModelRegistry, model: str, sent: dict[str, Any], scheduler: str | None, warning: str
) -> None:
    assert chosen(registry, model, **sent) == (scheduler, [warning])


@pytest.mark.parametrize(("scheduler", "schedule"), [("DPM++ 2M", "Uniform"), ("Euler", "Automatic")])
def test_the_plain_schedule_in_its_own_words(scheduler: str, schedule: str) -> None:
    """Automatic would mean Karras for this sampler."""
    request = GenerationRequest(
        model="m", kind=Kind.TEXT2IMG, prompt="x", negative_prompt="", seed=1, steps=4, guidance_scale=1, width=64,
        height=64, scheduler=scheduler,
    )  # fmt: skip
    body = a1111_body.body_of(request, {}, "", "task")
    assert (body["sampler_name"], body["scheduler"]) == (scheduler, schedule)
    assert infotext.parse(infotext.write(request.to_dict()))["Schedule type"] == schedule
    assert Choice("DPM++ 2M", "Karras").schedule_type == "Karras"
