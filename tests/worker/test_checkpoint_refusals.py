"""Checkpoints that cannot be made or used: refused with a reason, when they are made, and never a failed run."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.errors import RunInterrupted
from jobs.settings import Settings
from tests.support.computing import Worker
from tests.support.folder_keeper import FolderKeeper
from tests.support.store_driver import StoreDriver
from workers.checkpoints.contract import CheckpointRefused

#: The first test waits until all models are made.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def worker(server: Settings, families_file: Path) -> Iterator[Worker]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    yield Worker(StoreDriver(server), families_file, folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def calm(worker: Worker) -> np.ndarray:
    return worker.compute("sd", steps=6)


@pytest.fixture(scope="module")
def made(worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint after step 3 of 6."""
    keeper = FolderKeeper(tmp_path_factory.mktemp("made"), stop_at=3)
    with pytest.raises(RunInterrupted):
        worker.compute("sd", keeper=keeper, steps=6)
    return keeper.path(3)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" * 1000)


def one_bit_off(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def other_metadata(path: Path) -> None:
    """Change the step, which is no tensor."""
    path.write_bytes(path.read_bytes().replace(b'\\"step\\":3', b'\\"step\\":4'))


def other_tensors(path: Path) -> None:
    """Write a safetensors file that is not a checkpoint."""
    import torch
    from safetensors.torch import save_file

    save_file({"0": torch.zeros(3)}, path, {"checkpoint": "[]", "sha256": ""})


def newer(path: Path) -> None:
    rewritten(path, lambda found: {**found, "format": found["format"] + 1})


def without_state(path: Path) -> None:
    rewritten(path, lambda found: {**found, "structure": {"dict": [["results", {"list": []}]]}})


def with_another_class(path: Path) -> None:
    """Name a class that a file must not be able to make."""
    output = {"output": "subprocess:Popen", "items": [["args", {"list": ["touch", "/tmp/made"]}]]}
    rewritten(path, lambda found: {**found, "structure": output})


def rewritten(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the metadata of a checkpoint, with a right checksum."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    from workers.checkpoints.file import _digest

    with safe_open(path, "pt") as file:
        text = json.dumps(change(json.loads(file.metadata()["checkpoint"])))
    tensors = load_file(path)
    in_order = [tensors[str(index)] for index in range(len(tensors))]
    save_file(tensors, path, {"checkpoint": text, "sha256": _digest(text, in_order)})


DAMAGES = [
    (truncated, "cannot be read"),
    (empty, "cannot be read"),
    (foreign, "cannot be read"),
    (other_tensors, "cannot be read"),
    (one_bit_off, "damaged"),
    (other_metadata, "damaged"),
    (newer, "has format 2, not 1"),
    (without_state, "no state of a run"),
    (with_another_class, "the class subprocess:Popen is unknown"),
]


@pytest.mark.parametrize(("damage", "why"), DAMAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_file_that_is_no_checkpoint_is_refused_and_the_one_before_is_taken(
    worker: Worker, calm: np.ndarray, made: Path, tmp_path: Path, damage: Callable[[Path], None], why: str
) -> None:
    keeper = FolderKeeper(tmp_path)
    for step in (3, 5):
        shutil.copy(made, keeper.path(step))
    damage(keeper.path(5))
    assert np.array_equal(worker.compute("sd", keeper=keeper, steps=6), calm)
    assert keeper.resumed_at == [3]
    [refusal] = keeper.refusals
    assert why in refusal


def test_a_file_that_is_gone_is_refused(worker: Worker, calm: np.ndarray, tmp_path: Path) -> None:
    keeper = FolderKeeper(tmp_path)
    keeper.path(5).symlink_to(tmp_path / "nowhere")
    assert np.array_equal(worker.compute("sd", keeper=keeper, steps=6), calm)
    assert keeper.refusals == ["the file cannot be read (FileNotFoundError)"]


def refused(worker: Worker, made: Path, folder: Path, model: str = "sd", **fields: Any) -> str:
    """Return why a run of another request does not go on from the checkpoint; it computes its own picture."""
    keeper = FolderKeeper(folder)
    shutil.copy(made, keeper.path(3))
    fields = {"steps": 6, **fields}
    assert np.array_equal(worker.compute(model, keeper=keeper, **fields), worker.compute(model, **fields))
    assert keeper.resumed_at == []
    [refusal] = keeper.refusals
    return refusal


def test_another_request_is_refused(worker: Worker, made: Path, tmp_path: Path) -> None:
    assert refused(worker, made, tmp_path / "seed", seed=8) == "it was made with another request"
    assert refused(worker, made, tmp_path / "steps", steps=7) == "it was made with another request"


def test_another_model_is_refused(worker: Worker, made: Path, tmp_path: Path) -> None:
    why = refused(worker, made, tmp_path, "sdxl")
    assert why.startswith("it was made with another model, settings of the model, pipeline, set of weights")


def test_another_lora_of_the_same_name_is_refused(worker: Worker, families_file: Path, tmp_path: Path) -> None:
    folder = families_file.parent / "loras"
    copy = folder / "changing.safetensors"
    shutil.copy(folder / "grain.safetensors", copy)
    fields: dict[str, Any] = {"steps": 6, "loras": [{"name": "changing"}]}
    try:
        keeper = FolderKeeper(tmp_path, stop_at=3)
        with pytest.raises(RunInterrupted):
            worker.compute("sd", keeper=keeper, **fields)
        shutil.copy(folder / "glow.safetensors", copy)
        assert refused(worker, keeper.path(3), tmp_path / "other", **fields) == "it was made with another set of LoRAs"
    finally:
        copy.unlink()


def test_weights_that_were_replaced_are_refused(worker: Worker, made: Path, tmp_path: Path) -> None:
    """The same name, settings and sizes of files; one number in one file is another one."""
    source = Path(worker.models.get("sd").source)
    models = tmp_path / "families.toml"
    shutil.copytree(source, tmp_path / "sd")
    file = tmp_path / "sd" / "unet" / "diffusion_pytorch_model.safetensors"
    file.chmod(0o600)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    text = (source.parent / "families.toml").read_text()
    models.write_text(text[: text.index("[sd-styled]")].replace("./loras", str(source.parent / "loras")))
    other = Worker(worker.driver, models, tmp_path)
    try:
        assert refused(other, made, tmp_path / "other") == "it was made with another set of weights"
    finally:
        worker.driver.open("gpu0", *worker.models.names())


def test_another_number_of_threads_is_refused_on_a_cpu(worker: Worker, made: Path, tmp_path: Path) -> None:
    import torch

    torch.set_num_threads(2)
    try:
        assert refused(worker, made, tmp_path) == "it was made with another device"
    finally:
        torch.set_num_threads(1)


# ---- runs that can make none


def obstacle(worker: Worker, folder: Path, model: str, **fields: Any) -> list[str]:
    """Return why a run makes no checkpoints. It computes the same picture with the same progress, and asks for none."""
    keeper = FolderKeeper(folder, steps=range(100))
    picture = worker.compute(model, keeper=keeper, **fields)
    steps = worker.reporter.steps_done
    assert np.array_equal(picture, worker.compute(model, **fields))
    assert worker.reporter.steps_done == steps == list(range(len(steps)))
    assert list(keeper.folder.iterdir()) == keeper.asked == []
    return keeper.obstacles


def with_scheduler(worker: Worker, monkeypatch: pytest.MonkeyPatch, model: str, scheduler: Any) -> None:
    """Give a model another scheduler of its own."""
    spec = worker.models.get(model)
    pipeline = worker.pipelines.get(spec, spec.kinds[0])
    monkeypatch.setattr(pipeline, "scheduler", scheduler.from_config(pipeline.scheduler.config))


def test_a_scheduler_with_an_attribute_that_cannot_be_stored(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a Brownian tree: made in the first step."""
    from diffusers import DDIMScheduler

    class Sampling(DDIMScheduler):  # type: ignore[misc]
        def step(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
            self.noise_sampler = lambda: None
            return super().step(model_output, timestep, sample, return_dict=return_dict)

    with_scheduler(worker, monkeypatch, "sd", Sampling)
    assert obstacle(worker, tmp_path, "sd") == ["a function cannot be stored"]


def test_a_scheduler_with_steps_of_another_form(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import DDIMScheduler

    class Renamed(DDIMScheduler):  # type: ignore[misc]
        def step(self, output: Any, time: Any, noisy: Any, return_dict: bool = True) -> Any:
            return super().step(output, time, noisy, return_dict=return_dict)

    with_scheduler(worker, monkeypatch, "sd", Renamed)
    assert obstacle(worker, tmp_path, "sd") == ["the step of Renamed is given no sample"]


def test_a_step_cache(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = worker.models.get("flux")
    cached = replace(spec, load=replace(spec.load, step_cache={"method": "first_block", "threshold": 0.1}))
    monkeypatch.setitem(worker.models._specs, "flux", cached)
    assert obstacle(worker, tmp_path, "flux") == ["it uses a step cache, whose content lasts from step to step"]


def test_a_checkpoint_that_is_too_large(worker: Worker, calm: np.ndarray, tmp_path: Path) -> None:
    keeper = FolderKeeper(tmp_path, steps=range(100), max_bytes=1000)
    assert np.array_equal(worker.compute("sd", keeper=keeper, steps=6), calm)
    [why] = keeper.obstacles
    assert "and may have 1000" in why
    assert keeper.asked == []


def test_a_pipeline_that_makes_no_steps_with_its_scheduler(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.checkpoints.call import RecordedCall

    monkeypatch.setattr(RecordedCall, "watch", lambda self, scheduler: None)
    assert obstacle(worker, tmp_path, "sd") == ["the pipeline makes no steps with its scheduler"]


def test_schedulers_that_take_turns_unseen(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Picture and sound of a pipeline without a step callback: a checkpoint would be between the two."""
    from workers.diffusion import arguments

    accepted = arguments.accepted
    monkeypatch.setattr(
        arguments,
        "accepted",
        lambda pipeline: {name: one for name, one in accepted(pipeline).items() if name != "callback_on_step_end"},
    )
    keeper = FolderKeeper(tmp_path, steps={3})
    worker.compute("ltx2", keeper=keeper, frames=1)
    assert keeper.obstacles == ["several schedulers take turns, and the pipeline does not say when all made a step"]


def test_a_denoiser_that_is_given_a_cache(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As FLUX.2 klein KV: an object that the pipeline passes to the denoiser in each step."""

    class Cache:
        pass

    spec, cache = worker.models.get("sd"), Cache()
    unet = worker.pipelines.get(spec, spec.kinds[0]).unet
    forward = type(unet).forward

    def given(self: Any, *args: Any, kv_cache: Any = None, **kwargs: Any) -> Any:
        return forward(self, *args, **kwargs)

    call = type(unet).__call__
    monkeypatch.setattr(type(unet), "forward", given)
    monkeypatch.setattr(
        type(unet), "__call__", lambda self, *args, **kwargs: call(self, *args, kv_cache=cache, **kwargs)
    )
    why = "the unet is given a Cache, which lasts from step to step"
    assert obstacle(worker, tmp_path, "sd") == [why]


# ---- replays that fail


def test_a_run_that_takes_another_course_begins_anew(
    worker: Worker, calm: np.ndarray, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scheduler makes fewer steps than the checkpoint has."""
    from diffusers import DDIMScheduler

    keeper, set_timesteps, steps = FolderKeeper(tmp_path), DDIMScheduler.set_timesteps, iter([2, 6])
    shutil.copy(made, keeper.path(3))
    monkeypatch.setattr(
        DDIMScheduler, "set_timesteps", lambda self, number, device: set_timesteps(self, next(steps), device)
    )
    assert np.array_equal(worker.compute("sd", keeper=keeper, steps=6), calm)
    assert keeper.refusals == ["the run has 2 steps, fewer than the 3 of the file"]
    assert keeper.resumed_at == [3, 0]


def test_an_error_in_the_replay_begins_anew_and_one_after_it_is_an_error(
    worker: Worker, calm: np.ndarray, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import DDIMScheduler

    def failing_at(number: int) -> FolderKeeper:
        keeper = FolderKeeper(tmp_path / str(number))
        shutil.copy(made, keeper.path(3))
        calls, scale = iter(range(1, 100)), DDIMScheduler.scale_model_input

        def scaled(*args: Any) -> Any:
            if next(calls) == number:
                raise ZeroDivisionError("broken")
            return scale(*args)

        monkeypatch.setattr(DDIMScheduler, "scale_model_input", scaled)
        return keeper

    keeper = failing_at(2)
    assert np.array_equal(worker.compute("sd", keeper=keeper, steps=6), calm)
    assert (keeper.refusals, keeper.resumed_at) == (["ZeroDivisionError: broken"], [3, 0])
    monkeypatch.undo()
    keeper = failing_at(5)
    with pytest.raises(ZeroDivisionError):
        worker.compute("sd", keeper=keeper, steps=6)
    assert (keeper.refusals, keeper.resumed_at) == ([], [3])


def test_only_values_and_outputs_of_the_libraries_are_stored() -> None:
    import torch
    from diffusers.schedulers.scheduling_utils import SchedulerOutput

    from workers.checkpoints.packing import Packed

    shared = torch.arange(6.0).view(2, 3)
    value = {
        "output": SchedulerOutput(prev_sample=shared), "turned": torch.rand(2, 3, 4).permute(2, 0, 1),
        7: (1, None, "x"), "array": np.arange(3)[::-1], "scalar": np.float32(0.1), "size": torch.Size([2, 3]),
        "nothing": torch.zeros(0, 2), "again": [shared, True, float("inf"), 0.1],
    }  # fmt: skip
    packed = Packed.of(value).copied()
    shared += 1
    back = Packed(json.loads(json.dumps(packed.structure)), packed.tensors).value()
    assert isinstance(back["output"], SchedulerOutput)
    assert torch.equal(back["output"].prev_sample, shared - 1)
    assert back["again"][0] is back["output"].prev_sample
    assert back["again"][1:] == [True, float("inf"), 0.1]
    assert (back["turned"].stride(), torch.equal(back["turned"], value["turned"])) == (value["turned"].stride(), True)
    assert (back[7], back["size"], back["scalar"]) == ((1, None, "x"), torch.Size([2, 3]), np.float32(0.1))
    assert type(back["scalar"]) is np.float32
    assert np.array_equal(back["array"], [2, 1, 0])
    assert back["nothing"].shape == (0, 2)
    for bad in (object(), {1.5: 2}, np.array(["text"]), torch.zeros(2, dtype=torch.complex128)):
        with pytest.raises(CheckpointRefused, match="cannot be stored"):
            Packed.of([bad])
