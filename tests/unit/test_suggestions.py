"""A wrong name is refused with the known name that was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import BadSetting, InvalidRequest, ModelNotFound
from jobs.models.registry import ModelRegistry
from jobs.requests.generation import resolve
from jobs.suggestions import did_you_mean, nearest

GOOD = "[image]\nsource = 'hub/model'\nkinds = ['text2img']\nloras = 'loras'\nschedulers = 'diffusion'\n"


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "grain.safetensors").touch()
    return read(tmp_path, "")


def read(folder: Path, text: str) -> ModelRegistry:
    (folder / "models.toml").write_text(GOOD + text)
    return ModelRegistry.from_file(folder / "models.toml")


def test_the_nearest_name_is_found_whatever_its_case() -> None:
    known = ["demo-image", "Demo-Video", "sdxl"]
    assert nearest("demo-vidoe", known) == "Demo-Video"
    assert nearest("SDXL", known) == "sdxl"
    assert nearest("flux", known) is None
    assert did_you_mean("flux", known) == did_you_mean("x" * 100_000, known) == ""


def test_a_model_a_scheduler_and_a_lora(registry: ModelRegistry) -> None:
    with pytest.raises(ModelNotFound, match=r"model 'imgae' does not exist; did you mean image\? known: image"):
        registry.get("imgae")
    wrong = {
        "model": ({"model": "imgae"}, "must be one of image; did you mean image?"),
        "scheduler": ({"scheduler": "Eulr a"}, "is not a known scheduler; did you mean Euler a?"),
        "loras[0].name": ({"loras": [{"name": "grian"}]}, "; did you mean grain? known: grain"),
    }
    for field, (fields, rule) in wrong.items():
        with pytest.raises(InvalidRequest) as caught:
            resolve(registry, {"prompt": "x", **fields})
        [problem] = caught.value.problems
        assert problem.field == field
        assert rule in problem.rule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sheduler = 'Euler'", "[image] sheduler: unknown key; did you mean scheduler? known: arguments,"),
        ("defaults = { step = 4 }", "[image] defaults.step: unknown key; did you mean steps? known: fps,"),
        ("scheduler = 'Eulr'", "[image] scheduler: unknown scheduler; did you mean Euler? known:"),
        ("default_loras = { grian = 1 }", "has no .safetensors file of this name; did you mean grain?"),
        ("taste = 1", "[image] taste: unknown key; known:"),
    ],
)
def test_a_key_of_the_models_file(tmp_path: Path, registry: ModelRegistry, text: str, message: str) -> None:
    with pytest.raises(BadSetting) as caught:
        read(tmp_path, text)
    assert message in caught.value.message
