"""What AUTOMATIC1111's bodies override: done for models that offer it, else named in one warning each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.payloads import a1111, rename_fields
from jobs.errors import InvalidRequest
from jobs.models.builtin import BUILT_IN
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind
from jobs.requests import infotext
from jobs.requests.generation import GenerationRequest
from tests.support.resolving import resolve
from workers.remote import a1111_body

MODELS = """
[plain]
executor = "drawing"
kinds = ["text2img"]

[rich]
executor = "drawing"
kinds = ["text2img"]
fields = { clip_skip = "clip_skip", guidance_scale = "true_cfg_scale", distilled_guidance_scale = "guidance_scale" }
limits = { clip_skip = [0, 4], distilled_guidance_scale = [1, 10] }
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    path: Path = tmp_path_factory.mktemp("models") / "models.toml"
    path.write_text(MODELS)
    return ModelRegistry.from_file(path)


def mapped(registry: ModelRegistry, model: str, overrides: Any = None, **sent: Any) -> Any:
    body = {"prompt": "x", "override_settings": overrides, **sent}
    return a1111.map_body(body, Kind.TEXT2IMG, registry, model)


def test_overrides_that_a_model_offers(registry: ModelRegistry) -> None:
    found = mapped(registry, "rich", {"CLIP_stop_at_last_layers": 2}, cfg_scale=1, distilled_cfg_scale=3.5)
    request, warnings = resolve(registry, found.values)
    assert (request.clip_skip, request.guidance_scale, request.distilled_guidance_scale) == (1, 1.0, 3.5)
    assert warnings == found.warnings == []
    text = infotext.write(request.to_dict())
    assert "CFG scale: 1, Distilled CFG Scale: 3.5, " in text
    assert ", Clip skip: 2, " in text


@pytest.mark.parametrize(
    ("overrides", "sent", "warning"),
    [
        ({"CLIP_stop_at_last_layers": 2}, {}, "CLIP_stop_at_last_layers was ignored: model plain has no clip skip"),
        ({"sd_vae": "anime.vae.pt"}, {}, "sd_vae was ignored"),
        ({"eta_noise_seed_delta": 31337}, {}, "eta_noise_seed_delta was ignored"),
        ({"sd_lora": "ink"}, {}, "sd_lora was ignored"),
        ({"unet_weights": "x", "s_churn": 1}, {}, "override_settings: unet_weights, s_churn was ignored"),
        ({}, {"distilled_cfg_scale": 3.5}, "distilled_cfg_scale was ignored: model plain has no distilled guidance"),
        ({}, {"s_noise": 1.1}, "s_noise was ignored"),
    ],
)
def test_overrides_without_effect_say_so(
    registry: ModelRegistry, overrides: dict[str, Any], sent: dict[str, Any], warning: str
) -> None:
    assert mapped(registry, "plain", overrides, **sent).warnings == [warning]


def test_several_overrides_have_a_warning_each(registry: ModelRegistry) -> None:
    overrides = {"CLIP_stop_at_last_layers": 2, "sd_vae": "x", "eta_noise_seed_delta": 1}
    assert len(mapped(registry, "plain", overrides, distilled_cfg_scale=1).warnings) == 4


@pytest.mark.parametrize(
    "overrides",
    [
        {"CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic", "eta_noise_seed_delta": 0, "sd_lora": "None"},
        {"CLIP_stop_at_last_layers": None, "sd_vae": None},
        {"samples_save": True, "samples_format": "png", "grid_save": False, "sd_model_checkpoint": "plain"},
    ],
)
def test_what_changes_no_image_has_no_warning(registry: ModelRegistry, overrides: dict[str, Any]) -> None:
    assert mapped(registry, "plain", overrides).warnings == []


@pytest.mark.parametrize("layers", ["2", 2.5, 13, -1, [2], float("inf")])
def test_a_clip_skip_that_is_none(registry: ModelRegistry, layers: Any) -> None:
    with pytest.raises(InvalidRequest, match="CLIP_stop_at_last_layers must be a whole number between 1 and 12"):
        mapped(registry, "plain", {"CLIP_stop_at_last_layers": layers})


def test_limits_of_the_model_are_named_as_they_were_sent(registry: ModelRegistry) -> None:
    for overrides, sent, name in (
        ({"CLIP_stop_at_last_layers": 6}, {}, "CLIP_stop_at_last_layers"),
        ({}, {"distilled_cfg_scale": 20}, "distilled_cfg_scale"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            resolve(registry, mapped(registry, "rich", overrides, **sent).values)
        assert [problem.field for problem in rename_fields(caught.value, a1111.NAMES).problems] == [name]


@pytest.mark.parametrize(("field", "value"), [("clip_skip", 1), ("distilled_guidance_scale", 3.5)])
def test_fields_that_a_model_does_not_offer_are_refused(registry: ModelRegistry, field: str, value: float) -> None:
    with pytest.raises(InvalidRequest, match=f"`?{field}`? does not apply: model plain has none"):
        resolve(registry, {"model": "plain", field: value})
    request, _ = resolve(registry, {"model": "plain", "clip_skip": 0})
    assert request.clip_skip is None
    shown = [registry.get(name).to_dict()["limits"].keys() for name in ("plain", "rich")]
    assert [field in limits for limits in shown] == [False, True]


def test_a_back_end_receives_them_by_its_own_names() -> None:
    spec = BUILT_IN["automatic1111"]
    assert spec.offers("clip_skip", Kind.TEXT2IMG)
    assert spec.offers("distilled_guidance_scale", Kind.TEXT2IMG)
    request = GenerationRequest(
        model=spec.name, kind=Kind.TEXT2IMG, prompt="x", negative_prompt="", seed=1, steps=4, guidance_scale=1,
        width=64, height=64, clip_skip=1, distilled_guidance_scale=3.5,
    )  # fmt: skip
    body = a1111_body.body_of(request, {}, "", "task")
    assert (body["override_settings"], body["distilled_cfg_scale"]) == ({"CLIP_stop_at_last_layers": 2}, 3.5)
