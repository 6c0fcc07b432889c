"""Missing folders and classes of models are found at start, with file and line, without torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.errors import BadSetting
from jobs.models import presence
from jobs.settings import PROJECT_ROOT, Settings
from jobs.startup import check_weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, described in {
        "models/flux": {"_class_name": "FluxPipeline"}, "models/odd": {"_class_name": "FluxPipelin"}, "models/none": {},
    }.items():  # fmt: skip
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model_index.json").write_text(json.dumps(described))
    (tmp_path / "models/empty").mkdir()
    (tmp_path / "models/torn").mkdir()
    (tmp_path / "models/torn/model_index.json").write_text("{")
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "models.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("keys", "line", "message"),
    [
        ("source = './models/flxu'", 3, "source: there is no folder {folder}/models/flxu; did you mean flux?"),
        ("source = 'models/flxu'", 3, "source: there is no folder models/flxu; did you mean flux?"),
        ("source = 'a/b/c'", 3, "source: there is no folder a/b/c"),
        ("source = 'models/empty'", 3, "source: the folder {folder}/models/empty is no model: it has no model_index."),
        ("source = 'models/torn'", 3, "source: {folder}/models/torn/model_index.json cannot be read"),
        ("source = 'models/none'", 3, "source: {folder}/models/none/model_index.json names no class"),
        ("source = 'models/odd'", 3, "source: diffusers has no pipeline class FluxPipelin; did you mean FluxPipeline?"),
        ("source = 'models/flux'\nprior = './nowhere'", 4, "prior: there is no folder {folder}/nowhere"),
        ("source = 'models/flux'\npreview_decoder = './x'", 4, "preview_decoder: there is no folder {folder}/x"),
        (
            "source = 'models/flux'\npipelines = { text2img = 'FluxPipline' }", 4,
            "pipelines.text2img: diffusers has no pipeline class FluxPipline; did you mean FluxPipeline?",
        ),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_its_line(folder: Path, keys: str, line: int, message: str) -> None:
    path = written(folder, f"[m]\nkinds = ['text2img']\n{keys}\n")
    with pytest.raises(BadSetting) as caught:
        presence.check(path, lambda _: True)
    assert caught.value.message.startswith(f"{path}:{line}: [m] {message.format(folder=folder)}")


def test_hub_ids_and_models_that_others_load_are_not_looked_up(folder: Path) -> None:
    path = written(
        folder,
        """
        far = { source = "org/model", kinds = ["text2img"], pipelines = { text2img = "FluxPipeline" } }
        plain = { source = "gpt2", kinds = ["text2img"] }
        near = { source = "models/flux", kinds = ["text2img"] }
        elsewhere = { source = "./gone", kinds = ["text2img"], slots = ["nodeb.gpu0", "gpu1"] }
        drawn = { executor = "drawing", kinds = ["text2img"] }
        """,
    )
    settings = Settings.of(models_file=path)
    check_weights(settings, "gpu0")
    for slot in ("gpu1", "nodeb.gpu0", ""):
        with pytest.raises(BadSetting, match=r"\[elsewhere\] source: there is no folder"):
            check_weights(settings, slot)
    check_weights(settings.replace(test_mode=True))


def test_the_shipped_models_are_present() -> None:
    presence.check(PROJECT_ROOT / "models.toml", lambda _: True)


def test_missing_parts_of_controls_are_named(folder: Path) -> None:
    for name in ("canny", "adapter/image_encoder"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text("{}")
    (folder / "adapter/style.safetensors").write_text("")
    adapter = "type = 'ip-adapter'\nsource = './adapter'\n"
    good = f"[sd.controls.a]\ntype = 'controlnet'\nsource = './canny'\n[sd.controls.b]\n{adapter}"
    model = "[sd]\nsource = 'models/flux'\nkinds = ['text2img']\n"
    presence.check(written(folder, f"{model}{good}weight_name = 'style.safetensors'\n"), lambda _: True)
    for table, message in (
        ("type = 'controlnet'\nsource = './cany'\n", f"x.source: there is no folder {folder}/cany; did you mean"),
        ("type = 'controlnet'\nsource = './models'\n", f"controls.x.source: {folder}/models has no config.json"),
        ("type = 'controlnet'\nsource = './models'\nsubfolder = 'b'\n", f"{folder}/models has no folder b"),
        (f"{adapter}weight_name = 'stile.safetensors'\n", f"x.weight_name: there is no file {folder}/adapter/stile."),
        (
            f"{adapter}weight_name = 'style.safetensors'\nimage_encoder = './clip'\n",
            f"x.image_encoder: there is no folder {folder}/clip",
        ),
    ):
        with pytest.raises(BadSetting) as refused:
            presence.check(written(folder, f"{model}[sd.controls.x]\n{table}"), lambda _: True)
        assert message in str(refused.value)
    classes = "control_pipelines = { text2img = 'FluxControlNetPipline' }\n"
    with pytest.raises(BadSetting, match=r"control_pipelines\.text2img: diffusers has no pipeline class"):
        presence.check(written(folder, model + classes + good + "weight_name = 'style.safetensors'\n"), lambda _: True)
