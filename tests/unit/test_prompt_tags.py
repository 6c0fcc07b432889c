"""Tags in prompts: LoRAs for AUTOMATIC1111's clients, text for all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.payloads import a1111, rename_fields
from jobs.errors import InvalidRequest
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind
from jobs.requests import infotext
from jobs.requests.generation import resolve
from workers.remote import a1111_body

MODELS = """
[draw]
executor = "drawing"
kinds = ["text2img"]
loras = "loras"

[plain]
executor = "drawing"
kinds = ["text2img"]

[other]
executor = "remote"
kinds = ["text2img"]
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    folder: Path = tmp_path_factory.mktemp("models")
    for name in ("paint", "ink", "styles/old/charcoal", "styles/paint"):
        path = folder / f"loras/{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
    (folder / "models.toml").write_text(MODELS)
    return ModelRegistry.from_file(folder / "models.toml")


def mapped(registry: ModelRegistry, prompt: str, model: str = "draw", **more: Any) -> Any:
    return a1111.map_body({"prompt": prompt, **more}, Kind.TEXT2IMG, registry, model)


@pytest.mark.parametrize(
    ("tag", "lora"),
    [
        ("<lora:paint>", {"name": "paint", "weight": 1.0}),
        ("<lora:paint:>", {"name": "paint", "weight": 1.0}),
        ("<lora:paint:0.5>", {"name": "paint", "weight": 0.5}),
        ("<lyco:paint:0.5>", {"name": "paint", "weight": 0.5}),
        ("<lora:paint.safetensors:0.5>", {"name": "paint", "weight": 0.5}),
        ("<lora:charcoal:1>", {"name": "styles/old/charcoal", "weight": 1.0}),
        ("<lora:styles/paint:1>", {"name": "styles/paint", "weight": 1.0}),
        ("<lora:paint:0.25:0.75>", {"name": "paint", "weight": 0.75, "text_encoder_weight": 0.25}),
        ("<lora:paint:0.5:0.5>", {"name": "paint", "weight": 0.5}),
        ("<lora:paint:te=0.25>", {"name": "paint", "weight": 0.25}),
        ("<lora:paint:unet=0.5>", {"name": "paint", "weight": 0.5, "text_encoder_weight": 1.0}),
        ("<lora:paint:0.9:te=0:unet=1>", {"name": "paint", "weight": 1.0, "text_encoder_weight": 0.0}),
        ("<lora:paint:0.5> <lora:paint:0.25>", {"name": "paint", "weight": 0.75}),
    ],
)
def test_a_tag_of_a_lora(registry: ModelRegistry, tag: str, lora: dict[str, Any]) -> None:
    found = mapped(registry, f"a {tag}cat")
    assert found.values["prompt"].replace(" ", "") == "acat"
    assert (found.values["loras"], found.warnings) == ([lora], [])
    assert resolve(registry, found.values)[0].loras == [lora]


@pytest.mark.parametrize(
    ("tags", "warning"),
    [
        ("<lora:oil:1>", "prompt: model draw does not have the LoRA oil, which was left out"),
        ("<lora:../paint:1>", "prompt: model draw does not have the LoRA ../paint, which was left out"),
        ("<lora:paint:much>", "prompt: a weight of <lora:paint:much> is not a number; the tag was left out"),
        ("<lora:paint:nan>", "prompt: a weight of <lora:paint:nan> is not a number; the tag was left out"),
        ("<hypernet:anime:1>", "prompt: <hypernet:anime:1> was left out: only tags of LoRAs have an effect here"),
        ("<a:b> <c:d>", "prompt: <a:b>, <c:d> was left out: only tags of LoRAs have an effect here"),
    ],
)
def test_a_tag_without_effect_is_left_out_with_a_warning(registry: ModelRegistry, tags: str, warning: str) -> None:
    found = mapped(registry, f"a cat{tags}")
    assert found.values["prompt"].strip() == "a cat"
    assert ("loras" in found.values, found.warnings) == (False, [warning])


def test_a_model_without_loras(registry: ModelRegistry) -> None:
    found = mapped(registry, "a cat<lora:paint:1>", "plain")
    assert found.values["prompt"] == "a cat"
    assert found.warnings == ["prompt: model plain does not have the LoRA paint, which was left out"]


def test_many_tags_are_one_warning(registry: ModelRegistry) -> None:
    [warning] = mapped(registry, "".join(f"<lora:{number}{'x' * 200}>" for number in range(400))).warnings
    assert "and 392 more" in warning
    assert len(warning) < 800


def test_extra_networks_may_be_disabled(registry: ModelRegistry) -> None:
    found = mapped(registry, "a cat<lora:paint:1><b:c>", disable_extra_networks=True)
    assert (found.values["prompt"], "loras" in found.values, found.warnings) == ("a cat", False, [])


def test_a_weight_that_is_refused_is_one_of_the_prompt(registry: ModelRegistry) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(registry, mapped(registry, "<lora:paint:9>").values)
    [problem] = rename_fields(caught.value, a1111.NAMES).problems
    assert (problem.field, problem.rule) == ("prompt", "must be between -2 and 2")


def test_tags_are_text_for_other_clients_which_are_told(registry: ModelRegistry) -> None:
    fields = {"model": "draw", "prompt": "a <lora:paint:1> cat <hypernet:b:1>"}
    request, warnings = resolve(registry, fields)
    assert (request.prompt, request.loras) == (fields["prompt"], None)
    assert warnings == [
        "prompt: <lora:paint:1>, <hypernet:b:1> is read as text; LoRAs are requested by the field loras"
    ]
    assert resolve(registry, {"model": "draw", "prompt": "a < b: c > d <lora>"})[1] == []
    assert resolve(registry, {**fields, "model": "other"})[1] == []  # a back end may know them


def test_the_loras_of_a_request_as_tags(registry: ModelRegistry) -> None:
    loras = [{"name": "charcoal", "weight": 0.5, "text_encoder_weight": 0.25}, {"name": "ink", "weight": 1}]
    request, _ = resolve(registry, {"model": "draw", "prompt": "a cat", "loras": loras})
    body = a1111_body.body_of(request, {}, "", "task")
    assert body["prompt"] == "a cat <lora:charcoal:0.25:0.5> <lora:ink:1>"
    written = infotext.parse(infotext.write(request.to_dict()))["Prompt"]
    assert mapped(registry, written).values["loras"] == request.loras
