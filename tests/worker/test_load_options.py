"""Memory and speed options: GGUF files, weights stored in fewer bits, attention, group offload, compilation."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jobs import model_commands
from jobs.errors import BadSetting, ModelLoadFailed
from jobs.models import file as models_file
from jobs.models import presence
from jobs.models.load_options import LoadOptions
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind, ModelSpec
from jobs.process import diffusers_names
from jobs.settings import Settings
from tests.support.gguf_files import write_gguf

if TYPE_CHECKING:
    from workers.pipelines.cache import PipelineCache


@pytest.fixture(scope="module")
def spec(models_file: Path) -> ModelSpec:
    return ModelRegistry.from_file(models_file).get("tiny-video")


def loaded(spec: ModelSpec, **options: Any) -> tuple[PipelineCache, Any]:
    from workers.pipelines.cache import PipelineCache

    cache = PipelineCache(Settings.of(model_memory_bytes=2**40))
    return cache, cache.get(replace(spec, load=LoadOptions(**options)), Kind.TEXT2VIDEO)


def video(pipeline: Any) -> np.ndarray:
    import torch

    with torch.inference_mode():
        return np.asarray(
            pipeline(
                "a star", num_inference_steps=2, width=32, height=32, num_frames=9, output_type="np",
                generator=torch.Generator().manual_seed(3),
            ).frames
        )  # fmt: skip


# ---- GGUF


def test_weights_of_a_gguf_file_compute_nearly_the_same_in_less_memory(spec: ModelSpec, tmp_path: Path) -> None:
    pytest.importorskip("gguf")  # the extra test installs it
    plain, pipeline = loaded(spec)
    path = tmp_path / "transformer.gguf"
    assert write_gguf(pipeline.transformer, path) > 0
    quantised, second = loaded(spec, gguf={"transformer": str(path)})
    assert quantised.loaded_models()[0].bytes < plain.loaded_models()[0].bytes
    assert np.abs(video(second) - video(pipeline)).mean() < 0.02


def test_a_gguf_file_without_the_package_is_named(
    spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)  # what find_spec sees of a package that is not installed
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelLoadFailed, match="option gguf needs the Python package gguf, which is not installed"):
        loaded(spec, gguf={"transformer": str(tmp_path / "t.gguf")})


def write(folder: Path, keys: str, source: str = "./tiny-video") -> Path:
    path = folder / "models.toml"
    path.write_text(f'[m]\nsource = "{source}"\nkinds = ["text2video"]\n{keys}\n')
    return path


def test_gguf_files_are_found_beside_the_models_file_and_checked_at_the_start(models_file: Path) -> None:
    folder = models_file.parent
    (folder / "t.gguf").write_bytes(b"GGUF")
    path = folder / "gguf.toml"
    path.write_text('[m]\nsource = "./tiny-video"\nkinds = ["text2video"]\ngguf = { transformer = "t.gguf" }\n')
    [spec] = models_file_specs(path)
    assert spec.load.gguf == {"transformer": str(folder / "t.gguf")}
    presence.check(path, lambda spec: True)
    path.write_text(path.read_text().replace("t.gguf", "./u.gguf"))
    with pytest.raises(BadSetting, match=r"gguf\.transformer: there is no file .*u\.gguf"):
        presence.check(path, lambda spec: True)


def models_file_specs(path: Path) -> list[ModelSpec]:
    return models_file.read(path)


# ---- weights stored in fewer bits


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("sdnq", "transformer is stored with sdnq, which needs the Python package sdnq, which is not installed"),
        ("modelopt", "which needs the Python package modelopt, which is not installed"),
        ("nunchaku_lite", "which needs the Python package kernels, which is not installed"),
    ],
)
def test_a_folder_whose_weights_need_a_package(spec: ModelSpec, tmp_path: Path, method: str, message: str) -> None:
    folder = tmp_path / "stored"
    shutil.copytree(spec.source, folder)
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "quantization_config": {"quant_method": method}}))
    with pytest.raises(ModelLoadFailed, match=message):
        loaded(replace(spec, source=str(folder)))


def test_a_folder_whose_weights_need_a_gpu(spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "stored"
    shutil.copytree(spec.source, folder)
    config = folder / "transformer" / "config.json"
    stored = {"quantization_config": {"quant_method": "nunchaku_lite"}}
    config.write_text(json.dumps({**json.loads(config.read_text()), **stored}))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: SimpleNamespace(name=name))
    with pytest.raises(ModelLoadFailed, match="nunchaku_lite, which needs an NVIDIA GPU; this device is cpu"):
        loaded(replace(spec, source=str(folder)))


@pytest.mark.parametrize("quantization", ["sdnq_int8", "sdnq_uint4", "modelopt_fp8", "modelopt_nvfp4"])
def test_a_quantisation_without_its_package(spec: ModelSpec, quantization: str) -> None:
    package = quantization.partition("_")[0]
    with pytest.raises(ModelLoadFailed, match=f"quantization {quantization} needs the Python package {package}"):
        loaded(spec, quantization=quantization)


# ---- attention


def test_attention_names_are_those_of_the_installed_diffusers() -> None:
    from diffusers.models.attention_dispatch import AttentionBackendName

    assert diffusers_names.attention_names() == tuple(name.value for name in AttentionBackendName)


# ---- group offload


def test_layers_of_named_components_are_offloaded_and_others_stay(spec: ModelSpec) -> None:
    import torch
    from diffusers.hooks.group_offloading import _is_group_offload_enabled

    from workers.pipelines import load_options

    _, pipeline = loaded(spec)
    before = video(pipeline)
    load_options.offload_groups(pipeline, ["transformer"], torch.device("cpu"))
    modules = load_options.modules_of(pipeline)
    assert {name for name, part in modules.items() if _is_group_offload_enabled(part)} == {"transformer"}
    assert np.array_equal(video(pipeline), before)
    load_options.offload_groups(pipeline, [], torch.device("cpu"))
    assert all(_is_group_offload_enabled(part) for part in modules.values())
    assert np.array_equal(video(pipeline), before)


@pytest.mark.parametrize(
    "options",
    [
        {"offload": "group", "group_offload": ("transfomer",)},
        {"gguf": {}, "offload": "group", "group_offload": ("transformer", "unet")},
    ],
)
def test_a_component_that_does_not_exist_is_named(spec: ModelSpec, options: dict[str, Any]) -> None:
    with pytest.raises(ModelLoadFailed, match=r"option group_offload: LTXPipeline has no component (transfomer|unet)"):
        loaded(spec, **options)


WRONG = [
    ('attention = "flsh"', r"attention: must be one of flash, .*did you mean flash\?"),
    ('group_offload = ["transformer"]', "group_offload: needs offload = 'group'"),
    ('gguf = { transformer = "t.gguf" }\nlayerwise_casting = "float8_e4m3fn"', "cannot be combined with gguf"),
    ('gguf = { transformer = "a.gguf" }\nquantization = "sdnq_int8"\nquantize = ["transformer"]', "is in gguf too"),
    ("gguf = { transformer = 4 }", "gguf.transformer: must be a string"),
]


@pytest.mark.parametrize(("keys", "message"), WRONG)
def test_options_that_do_not_go_together(tmp_path: Path, keys: str, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        models_file.read(write(tmp_path, keys, source="a/b"))


# ---- compilation


def test_loading_a_compiled_model_runs_it_once(spec: ModelSpec) -> None:
    """Only a load from disk compiles, and only a kind without inputs can be run."""
    from workers.gpu import model_commands as carrying
    from workers.pipelines.cache import PipelineCache

    models = ModelRegistry([spec])
    made: list[str] = []

    def computed(command: str) -> np.ndarray:
        made.append(command)
        return np.zeros((1, 9, 8, 8, 3))

    def carry_out(command: str, kind: Kind, compile_mode: str, *, cache: PipelineCache) -> dict[str, Any]:
        used = replace(spec, load=LoadOptions(compile=compile_mode))
        submission = model_commands.submission(command, models, spec, "gpu0", kind=kind)
        job: Any = SimpleNamespace(command=command, request=submission.request)
        reporter: Any = SimpleNamespace(loading=lambda done, total: None)
        return carrying.carry_out(job, used, cache, reporter, lambda _request: computed(command), Path())

    cache = PipelineCache(Settings.of(model_memory_bytes=2**40))
    assert carry_out("load", Kind.TEXT2VIDEO, "default", cache=cache)["warm_up_s"] >= 0
    assert "warm_up_s" not in carry_out("load", Kind.TEXT2VIDEO, "default", cache=cache)  # it is in memory
    cache.unload(spec.name)
    assert "warm_up_s" not in carry_out("load", Kind.TEXT2VIDEO, "", cache=cache)
    cache.unload(spec.name)
    assert "warm_up_s" not in carry_out("load", Kind.IMG2VIDEO, "default", cache=cache)
    assert made == ["load"]


# ---- parts


@pytest.mark.parametrize("name", ["wan/t2v", "wan/high-low", "ltx2", "sd", "kandinsky/decoder"])
def test_the_pipeline_has_the_parts_that_were_loaded_for_it(families_file: Path, name: str) -> None:
    """Quantised parts would otherwise be replaced by those on disk, which are read a second time."""
    import torch

    from workers.pipelines.loading import ModelFolder

    spec = ModelSpec(name="m", source=str(families_file.parent / name), kinds=(Kind.TEXT2VIDEO,))
    folder = ModelFolder(spec, torch.device("cpu"))
    parts = {part: folder._component(part, library) for part, (library, _) in folder.components.items()}
    pipeline = folder._assembled(parts)
    assert {part for part, module in parts.items() if getattr(pipeline, part) is not module} == set()
    assert {"vae", "movq"} & parts.keys()


def test_a_weight_that_consists_of_others_is_counted_by_them() -> None:
    """As those of torchao and quanto do."""
    import torch
    from torch.testing._internal.two_tensor import TwoTensor

    from workers.pipelines.memory import weights_bytes

    module = torch.nn.Linear(8, 4, bias=False)
    module.weight = torch.nn.Parameter(TwoTensor(torch.zeros(4, 8), torch.zeros(4, 8)))
    pipeline = SimpleNamespace(components={"transformer": module, "scheduler": None})
    assert weights_bytes(pipeline) == 2 * 4 * 8 * 4
