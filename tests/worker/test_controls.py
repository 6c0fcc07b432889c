"""Controls on real pipelines: put on for one job, kept beside the model, and gone without a trace."""

from __future__ import annotations

import gc
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.errors import ExecutionError, ModelLoadFailed, RunCancelled
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings
from tests.support.computing import Worker, gradient, half_mask
from tests.support.resumed_runs import check_resumed
from tests.support.store_driver import StoreDriver

pytestmark = [
    pytest.mark.timeout(300),  # the first test waits until all models are made
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed`:FutureWarning"),  # diffusers' own ControlNet uses it
]


@pytest.fixture(scope="module")
def worker(server: Settings, families_file: Path) -> Iterator[Worker]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    yield Worker(StoreDriver(server), families_file, folder)
    shutil.rmtree(folder, ignore_errors=True)


def control(worker: Worker, name: str, picture: Image.Image | None = None, **values: Any) -> dict[str, Any]:
    return {"name": name, "image": worker.stored(picture or gradient()), **values}


#: Model, kind and names of the controls.
COMBINATIONS = [
    ("sd", "text2img", ["edges"]),
    ("sd", "img2img", ["edges"]),
    ("sd", "inpaint", ["edges"]),
    ("sd", "text2img", ["edges", "depth", "edges"]),
    ("sd", "text2img", ["style"]),
    ("sd", "img2img", ["style", "face"]),
    ("sd", "inpaint", ["depth", "style"]),
    ("sd", "text2img", ["sketch"]),
    ("sd", "text2img", ["sketch", "sketch"]),
    ("sdxl", "text2img", ["edges"]),
    ("sdxl", "img2img", ["edges"]),
    ("sdxl", "inpaint", ["edges"]),
    ("sdxl", "text2img", ["pose"]),
    ("sdxl", "text2img", ["pose", "depth"]),
    ("flux", "text2img", ["edges"]),
    ("flux", "img2img", ["edges"]),
    ("flux", "inpaint", ["edges"]),
    ("flux", "text2img", ["edges", "edges"]),
    ("flux", "text2img", ["style"]),
    ("flux", "img2img", ["style"]),
]


@pytest.mark.parametrize(("model", "kind", "names"), COMBINATIONS, ids=str)
def test_controls_steer_a_job_and_leave_nothing_behind(
    worker: Worker, model: str, kind: str, names: list[str]
) -> None:  # fmt: skip
    plain = worker.compute(model, kind=kind)
    controls = [control(worker, name) for name in names]
    steered = worker.compute(model, kind=kind, controls=controls)
    assert not np.array_equal(steered, plain)
    assert np.array_equal(worker.compute(model, kind=kind, controls=controls), steered)
    other = [control(worker, name, Image.new("RGB", (64, 64), "blue")) for name in names]
    assert not np.array_equal(worker.compute(model, kind=kind, controls=other), steered)
    assert np.array_equal(worker.compute(model, kind=kind), plain)
    assert worker.reporter.steps_done[-1] >= 2


@pytest.mark.parametrize(("model", "name"), [("sd", "edges"), ("sd", "style"), ("sdxl", "edges"), ("flux", "style")])
def test_scale_start_and_end(worker: Worker, model: str, name: str) -> None:
    plain = worker.compute(model)
    whole = worker.compute(model, controls=[control(worker, name)])
    assert np.array_equal(worker.compute(model, controls=[control(worker, name, scale=0)]), plain)
    half = worker.compute(model, controls=[control(worker, name, scale=0.5)])
    early, late = (
        worker.compute(model, controls=[control(worker, name, **share)]) for share in ({"end": 0.5}, {"start": 0.5})
    )
    for one, other in ((half, whole), (early, whole), (late, whole), (early, late), (early, plain), (late, plain)):
        assert not np.array_equal(one, other)


def test_an_end_before_the_first_step_is_none(worker: Worker) -> None:
    plain = worker.compute("sd")
    for name in ("edges", "style"):
        assert np.array_equal(worker.compute("sd", controls=[control(worker, name, end=0.1)]), plain), name


def test_both_passes_are_steered(worker: Worker) -> None:
    hires = {"hires": {"scale": 2, "steps": 4}}
    plain = worker.compute("sd", **hires)
    steered = worker.compute("sd", controls=[control(worker, "edges"), control(worker, "style")], **hires)
    assert steered.shape == plain.shape == (1, 1, 64, 64, 3)
    assert not np.array_equal(steered, plain)
    assert np.array_equal(worker.compute("sd", **hires), plain)


def test_only_the_region_around_a_mask_is_laid_over_it(worker: Worker) -> None:
    picture = Image.new("RGB", (64, 64), "black")
    fields: dict[str, Any] = {
        "kind": "inpaint", "image": worker.stored(gradient()), "mask": worker.stored(half_mask()),
        "inpaint": {"area": "masked"}, "width": 32, "height": 16,
    }  # fmt: skip
    black = worker.compute("sd", controls=[control(worker, "edges", picture)], **fields)
    picture.paste("white", (0, 0, 64, 16))  # above the region
    assert np.array_equal(worker.compute("sd", controls=[control(worker, "edges", picture)], **fields), black)
    picture.paste("white", (0, 40, 64, 64))
    assert not np.array_equal(worker.compute("sd", controls=[control(worker, "edges", picture)], **fields), black)


RESUMED = [
    ("sd", ["edges", "style"], {}),
    ("sd", ["edges", "depth"], {}),
    ("sd", ["style"], {"start": 0.3, "end": 0.8}),
    ("sd", ["sketch"], {}),
    ("sdxl", ["edges"], {"end": 0.5}),
    ("flux", ["edges"], {}),
    ("flux", ["style"], {"start": 0.3}),
]


@pytest.mark.parametrize(("model", "names", "values"), RESUMED, ids=str)
def test_a_resumed_run_ends_bit_equal(
    worker: Worker, tmp_path: Path, model: str, names: list[str], values: dict[str, Any]
) -> None:
    check_resumed(worker, tmp_path, model, controls=[control(worker, name, **values) for name in names])


@pytest.mark.parametrize("name", ["edges", "style"])
def test_a_stopped_run_leaves_nothing_behind(worker: Worker, name: str) -> None:
    plain = worker.compute("sd")
    with pytest.raises(RunCancelled):
        worker.compute("sd", stop_at=9, controls=[control(worker, name)])
    assert np.array_equal(worker.compute("sd"), plain)


def test_loras_and_controls_do_not_disturb_each_other(worker: Worker) -> None:
    grain = {"loras": [{"name": "grain"}]}
    controls = [control(worker, "style"), control(worker, "edges")]
    plain, with_lora = worker.compute("sd"), worker.compute("sd", **grain)
    both = worker.compute("sd", controls=controls, **grain)
    assert not np.array_equal(both, worker.compute("sd", controls=controls))
    assert np.array_equal(worker.compute("sd", **grain), with_lora)
    assert np.array_equal(worker.compute("sd"), plain)


def held(worker: Worker) -> dict[str, int]:
    return {model.model: model.bytes for model in worker.pipelines.loaded_models() if "/" in model.model}


def test_controls_are_counted_and_evicted(server: Settings, families_file: Path, tmp_path: Path) -> None:
    small = Worker(StoreDriver(server), families_file, tmp_path)
    plain = small.compute("sd")
    assert held(small) == {}
    steered = small.compute("sd", controls=[control(small, "edges"), control(small, "style")])
    sizes = held(small)
    assert set(sizes) == {"sd/control/edges", "sd/control/style", "sd/control/style/image_encoder"}
    files = Path(families_file.parent, "controls", "sd-edges").glob("*.safetensors")
    assert sizes["sd/control/edges"] == pytest.approx(sum(path.stat().st_size for path in files), rel=0.1)
    small.compute("sd", controls=[control(small, "face")])
    assert set(held(small)) == {*sizes, "sd/control/face"}  # both have the same image encoder
    evicted = weakref.ref(small.pipelines._entries["sd/control/edges"].pipeline)
    # Room for the model and one ControlNet: the controls that the job does not need go.
    total = sum(model.bytes for model in small.pipelines.loaded_models())
    used = total - sum(held(small).values()) + int(1.5 * sizes["sd/control/edges"])
    small.pipelines._settings = Settings.of(model_memory_bytes=used, parking_bytes=1)
    small.compute("sd", controls=[control(small, "depth")])
    assert "sd/control/depth" in held(small)
    assert "sd/control/edges" not in held(small)
    gc.collect()
    assert evicted() is None, "an evicted ControlNet is still referred to"
    assert np.array_equal(small.compute("sd", controls=[control(small, "edges"), control(small, "style")]), steered)
    assert np.array_equal(small.compute("sd"), plain)
    small.pipelines.unload("sd")
    assert small.pipelines.loaded_models() == []


def models_with(worker: Worker, families_file: Path, path: Path, table: str) -> Worker:
    """Return a worker whose model ``sd`` has one control ``odd``."""
    for part in families_file.parent.iterdir():
        if not (path / part.name).exists():
            (path / part.name).symlink_to(part)
    models = path / "odd.toml"
    text = '[sd]\nsource = "./sd"\nkinds = ["text2img"]\ndefaults = { width = 32, height = 32, steps = 2 }\n'
    models.write_text(f"{text}[sd.controls.odd]\n{table}")
    return Worker(worker.driver, models, path / "data")


_ENCODER = 'image_encoder = "./controls/sd-style"\nimage_encoder_subfolder = "image_encoder"'
_ADAPTER = f'type = "ip-adapter"\n{_ENCODER}\n'
UNFIT = {
    "of another model": ('type = "controlnet"\nsource = "./controls/sdxl-edges"', "does not fit the model"),
    "of another type": ('type = "controlnet"\nsource = "./controls/sd-sketch"', "it is a T2IAdapter"),
    "no adapter": (f'{_ADAPTER}source = "./loras"\nweight_name = "grain.safetensors"', "contains no IP-Adapter"),
    "an adapter of another model": (
        f'{_ADAPTER}source = "./controls/flux-style"\nweight_name = "style.safetensors"',
        "could not be loaded",
    ),
    "no folder": ('type = "controlnet"\nsource = "./controls/missing"', "there is no folder"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_control_that_does_not_fit_is_named(
    worker: Worker, families_file: Path, tmp_path: Path, name: str
) -> None:  # fmt: skip
    table, message = UNFIT[name]
    odd = models_with(worker, families_file, tmp_path, table)
    try:
        plain = odd.compute("sd")
        with pytest.raises(ModelLoadFailed, match=f"control odd of model sd.*{message}"):
            odd.compute("sd", controls=[control(odd, "odd")])
        assert np.array_equal(odd.compute("sd"), plain)
    finally:
        worker.driver.open("gpu0", *worker.models.names())


def test_a_check_computes_a_job_with_each_control(worker: Worker, families_file: Path, tmp_path: Path) -> None:
    from jobs import model_commands
    from workers.gpu import model_commands as carrying

    def checked(used: Worker, model: str) -> Any:
        spec, computed = used.models.get(model), list[Any]()
        files = {"image": used.stored(gradient())}
        request = model_commands.submission("check", used.models, spec, "gpu0", files=files).request
        job: Any = SimpleNamespace(command="check", request=request)

        def compute(one: GenerationRequest) -> np.ndarray:
            computed.append([control["name"] for control in one.controls or ()])
            return used.run(one)

        report = carrying.carry_out(job, spec, used.pipelines, used.reporter, compute, families_file)
        return report["controls"], computed

    worker.compute("sd")  # gives it a reporter
    seconds, computed = checked(worker, "sd")
    assert computed == [[], ["edges"], ["depth"], ["sketch"], ["style"], ["face"]]
    assert seconds.keys() == {"edges", "depth", "sketch", "style", "face"}
    odd = models_with(worker, families_file, tmp_path, UNFIT["of another model"][0])
    try:
        odd.compute("sd")
        with pytest.raises(ModelLoadFailed, match="control odd of model sd: it does not fit the model"):
            checked(odd, "sd")
    finally:
        worker.driver.open("gpu0", *worker.models.names())


def test_a_class_that_takes_no_ip_adapters_says_so(worker: Worker) -> None:
    with pytest.raises(ExecutionError, match="FluxControlNetImg2ImgPipeline takes no IP-Adapters"):
        worker.compute("flux", kind="img2img", controls=[control(worker, "edges"), control(worker, "style")])
