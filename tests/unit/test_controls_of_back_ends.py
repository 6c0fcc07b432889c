"""Controls of models that only back ends have: their tables, what is checked, and the units that a server gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.payloads import a1111
from jobs.errors import BackendFailed, BadSetting, InvalidRequest
from jobs.models import file as models_file
from jobs.models.backends import Backend
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest, resolve
from workers.remote import kandinsky, openai_fields
from workers.remote.a1111_body import body_of

TABLE = """
[far]
executor = "remote"
kinds = ["text2img", "img2img"]
[far.controls.edges]
type = "controlnet"
source = "models"
[far.controls.depth]
type = "controlnet"
source = "./control_depth [0123abcd]"
limits = {{ scale = [0, 1.5] }}
{more}
[plain]
executor = "remote"
kinds = ["text2img"]
[near]
source = "a/b"
kinds = ["text2img"]
[near.controls.edges]
type = "controlnet"
source = "a/edges"
"""
BACKEND = Backend(name="far-1", type="automatic1111", endpoint="http://127.0.0.1:9", models={"far": ""})


def written(folder: Path, more: str = "") -> Path:
    path = folder / "models.toml"
    path.write_text(TABLE.format(more=more))
    return path


@pytest.fixture
def models(tmp_path: Path) -> ModelRegistry:
    (tmp_path / "models").mkdir()  # a folder of this name does not make the name on the back end a path
    return ModelRegistry.from_file(written(tmp_path))


def resolved(models: ModelRegistry, *controls: dict[str, Any], **fields: Any) -> GenerationRequest:
    named = [{"image": "inputs/x.png", **control} for control in controls]
    return resolve(models, {"model": "far", "prompt": "x", "controls": named, **fields})[0]


def units(models: ModelRegistry, request: GenerationRequest) -> list[dict[str, Any]]:
    controls = BACKEND.for_model(models.get(request.model)).controls
    body = body_of(request, {"inputs/x.png": b"picture"}, "", "task", controls)
    return list(body["alwayson_scripts"]["ControlNet"]["args"])


def test_a_unit_has_every_value_of_its_control(models: ModelRegistry) -> None:
    request = resolved(
        models, {"name": "edges"}, {"name": "depth", "scale": 1.5, "start": 0.25, "end": 0.5, "resize": "pad",
                                    "preprocess": "invert"},
        {"name": "edges", "preprocess": "canny", "low_threshold": 10, "resize": "stretch"},
    )  # fmt: skip
    same = {"enabled": True, "image": "cGljdHVyZQ==", "pixel_perfect": True, "save_detected_map": False}
    assert units(models, request) == [
        {**same, "model": "models", "module": "none", "weight": 1.0, "guidance_start": 0.0, "guidance_end": 1.0,
         "resize_mode": "Crop and Resize"},
        {**same, "model": "./control_depth [0123abcd]", "module": "invert", "weight": 1.5, "guidance_start": 0.25,
         "guidance_end": 0.5, "resize_mode": "Resize and Fill"},
        {**same, "model": "models", "module": "canny", "weight": 1.0, "guidance_start": 0.0, "guidance_end": 1.0,
         "resize_mode": "Just Resize", "threshold_a": 10.0, "threshold_b": 200.0},
    ]  # fmt: skip
    assert "alwayson_scripts" not in body_of(resolved(models, model="plain"), {}, "", "task")


def test_another_framemill_reads_the_units_as_they_were_meant(models: ModelRegistry) -> None:
    """It is a back end, too: its control has the name that the source of this one says."""
    sent = {"scale": 0.25, "start": 0.125, "end": 0.5, "resize": "pad", "preprocess": "canny", "low_threshold": 10.0}
    request = resolved(models, {"name": "edges", **sent})
    body = body_of(request, {"inputs/x.png": b"picture"}, "near", "task", {"edges": "edges.safetensors [0123abcd]"})
    mapped = a1111.map_body(body, Kind.TEXT2IMG, models, "near")
    [control] = mapped.values["controls"]
    assert control == {"name": "edges", "image": "cGljdHVyZQ==", **sent, "high_threshold": 200.0}
    assert mapped.warnings == []


REFUSED = [
    ({"name": "depth", "scale": 2}, {}, "controls[0].scale", "must be between 0 and 1.5 for depth"),
    ({"name": "pose"}, {}, "controls[0].name", "is not a control of model far; known: edges, depth"),
    ({"name": "edges", "preprocess": "canny", "high_threshold": 300}, {}, "controls[0].high_threshold",
     "must be between 1 and 255"),
    ({"name": "edges"}, {"model": "plain"}, "controls", "does not apply: model plain has no controls"),
]  # fmt: skip


@pytest.mark.parametrize(("control", "fields", "field", "rule"), REFUSED, ids=lambda value: str(value)[:30])
def test_each_rule(
    models: ModelRegistry, control: dict[str, Any], fields: dict[str, Any], field: str, rule: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolved(models, control, **fields)
    assert [(problem.field, problem.rule) for problem in refused.value.problems] == [(field, rule)]


def test_a_back_end_is_not_sent_controls_that_it_does_not_have(models: ModelRegistry) -> None:
    request = resolved(models, {"name": "edges"}, model="near")
    assert request.controls
    with pytest.raises(BackendFailed, match="has no model for control edges"):
        units(models, request)
    with pytest.raises(BackendFailed, match="cannot do this: controls"):
        openai_fields.check_supported(request)
    with pytest.raises(BackendFailed, match="cannot do this: controls"):
        kandinsky.body_of(request, {})


BAD = [
    ('type = "ip-adapter"\nsource = "a"\nweight_name = "a.safetensors"', "x.type: must be controlnet for executor"),
    ('type = "controlnet"\nsource = "a"\nvariant = "fp16"', "x.variant: does not apply to executor = remote"),
]


@pytest.mark.parametrize(("table", "message"), BAD)
def test_a_wrong_table_is_refused_at_start(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(BadSetting) as refused:
        models_file.read(written(tmp_path, f"[far.controls.x]\n{table}"))
    assert message in str(refused.value)
