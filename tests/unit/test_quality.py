"""Qualities: named values of a model, which a request chooses and overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.errors import InvalidRequest
from jobs.models.registry import ModelRegistry
from tests.support.resolving import resolve

MODELS = """
[rich]
source = "hub/rich"
kinds = ["text2img"]
schedulers = ["LCM", "DDIM"]
loras = "loras"
default_loras = { grain = 0.5 }
defaults = { steps = 30, guidance_scale = 6 }
step_cache = { method = "first_block", threshold = 0.1 }
[rich.quality.draft]
steps = 6
guidance_scale = 1.5
scheduler = "LCM"
loras = { fast = 1.0 }
[rich.quality.high]
steps = 60
step_cache = {}

[plain]
source = "hub/plain"
kinds = ["text2img"]

[other]
source = "hub/other"
kinds = ["text2img"]
quality = { standard = { steps = 12 }, turbo = { steps = 2 } }
"""


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    (tmp_path / "loras").mkdir()
    for name in ("grain", "fast"):
        (tmp_path / f"loras/{name}.safetensors").write_bytes(b"weights")
    (tmp_path / "models.toml").write_text(MODELS)
    return ModelRegistry.from_file(tmp_path / "models.toml")


def resolved(registry: ModelRegistry, model: str, **fields: Any) -> tuple[Any, ...]:
    request, _ = resolve(registry, {"model": model, "prompt": "a cat", **fields})
    return request.steps, request.guidance_scale, request.scheduler, request.loras, request.quality


def test_a_quality_sets_what_the_request_does_not(registry: ModelRegistry) -> None:
    grain, fast = [{"name": "grain", "weight": 0.5}], [{"name": "fast", "weight": 1.0}]
    assert resolved(registry, "rich") == (30, 6.0, None, grain, None)
    assert resolved(registry, "rich", quality="draft") == (6, 1.5, "LCM", fast, "draft")
    assert resolved(registry, "rich", quality="high") == (60, 6.0, None, grain, "high")
    assert resolved(registry, "rich", quality="standard") == (30, 6.0, None, grain, "standard")
    changed = resolved(registry, "rich", quality="draft", steps=9, scheduler="DDIM", loras=[])
    assert changed == (9, 1.5, "DDIM", None, "draft")


def test_the_standard_quality_is_that_of_requests_that_name_none(registry: ModelRegistry) -> None:
    assert resolved(registry, "other")[0] == resolved(registry, "other", quality="standard")[0] == 12
    assert resolved(registry, "other", quality="turbo")[0] == 2
    assert registry.get("plain").qualities == ("standard",)
    assert registry.get("plain").to_dict()["quality"] == {}


def test_a_quality_may_have_another_step_cache_or_none(registry: ModelRegistry) -> None:
    spec = registry.get("rich")
    assert spec.step_cache(None) == spec.step_cache("draft") == {"method": "first_block", "threshold": 0.1}
    assert spec.step_cache("high") == {}


@pytest.mark.parametrize(
    ("model", "quality", "rule"),
    [
        ("rich", "draf", "is not one of model rich; did you mean draft? it has standard, draft, high"),
        ("plain", "high", "is not one of model plain; it has standard"),
        ("rich", "", "is not one of model rich"),
    ],
)
def test_an_unknown_quality_is_refused(registry: ModelRegistry, model: str, quality: str, rule: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolved(registry, model, quality=quality)
    [problem] = caught.value.problems
    assert problem.field == "quality"
    assert rule in problem.rule


def test_models_show_the_values_of_their_qualities(registry: ModelRegistry) -> None:
    assert registry.get("rich").to_dict()["quality"] == {
        "standard": {},
        "draft": {
            "steps": 6, "guidance_scale": 1.5, "scheduler": "LCM", "loras": [{"name": "fast", "weight": 1.0}],
        },
        "high": {"steps": 60},
    }  # fmt: skip
