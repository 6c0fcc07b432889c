"""Sound as an input: through the whole server to a custom pipeline class, and the arguments of other families."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from jobs.errors import BadSetting, ExecutionError, ModelLoadFailed
from jobs.models import file as models_file
from jobs.models import presence
from jobs.models.spec import Kind
from jobs.settings import Settings
from tests.support.harness import Stack
from tests.support.in_process import in_process
from tests.support.pictures import PNG, b64
from tests.support.recordings import sound, video

#: The first test waits until all models are made.
pytestmark = pytest.mark.timeout(300)

MODEL = "ltx2-talking"


@pytest.fixture(scope="module")
def stack(families_file: Path) -> Iterator[Stack]:
    from workers.pipelines.libraries import import_libraries

    import_libraries()  # on a busy machine, this takes longer than the tests wait for a job
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with in_process(folder, families_file, MAX_INPUT_S="5") as stack:
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


def outcome(stack: Stack, folder: Path, **fields: Any) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Run a job; return its view, its (frames, height, width, 3), and the samples of its sound at 16 kHz."""
    job = stack.submit(model=MODEL, prompt="a man speaks", seed=3, steps=2, output_format="mp4", **fields)
    view = stack.wait(job)
    assert (view["state"], view["error"]) == ("succeeded", None)
    path = folder / f"{view['id']}.mp4"
    path.write_bytes(stack.get(f"/v1/jobs/{view['id']}/result").content)
    with av.open(str(path)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    with av.open(str(path)) as container:
        rate_hz = container.streams.audio[0].rate
        assert rate_hz == 16_000
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)[0]
    return view, frames, samples


def pitch_hz(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples[2000:14_000])).argmax() * 16_000 / 12_000)


def test_pictures_follow_the_sound_which_is_in_the_video(stack: Stack, tmp_path: Path) -> None:
    made = {}
    for kind, rate_hz, hz in (("wav", 48_000, 440), ("mp3", 44_100, 440), ("ogg", 48_000, 1500)):
        view, frames, samples = outcome(stack, tmp_path, audio=b64(sound(kind, seconds=1.2, rate_hz=rate_hz, hz=hz)))
        assert view["kind"] == "text2video"
        assert frames.shape == (9, 32, 32, 3)
        assert pitch_hz(samples) == pytest.approx(hz, abs=3)
        assert len(samples) / 16_000 == pytest.approx(9 / 8, abs=0.15)
        made[hz] = frames.astype(int)
    assert np.abs(made[440] - made[1500]).max() > 0


def test_a_face_a_short_sound_and_silence_after_it(stack: Stack, tmp_path: Path) -> None:
    view, _, samples = outcome(stack, tmp_path, image=b64(PNG), audio=b64(sound("m4a", seconds=0.4)), width=32)
    assert view["kind"] == "img2video"
    loud = np.abs(samples[: 16_000 * 9 // 8])
    assert loud[1000:5000].max() > 0.3
    assert loud[9000:].max() < 0.05


def test_a_long_run_is_stopped_between_its_steps(stack: Stack) -> None:
    job = stack.submit(model=MODEL, prompt="x", audio=b64(sound()), steps=200, preview=True)
    view = stack.wait_until(job, lambda view: view["preview"] and view["progress"]["step"] > 1, "a preview")
    assert view["progress"]["steps"] == 200
    stack.cancel(job)
    assert stack.wait(job)["state"] == "cancelled"


@pytest.mark.parametrize(
    ("audio", "rule"),
    [
        (None, "is required: model ltx2-talking needs sound"),
        (b64(sound("mp3", seconds=5.5)), "must not be longer than 5 s"),
        (b64(PNG), "must be a WAV, MP3, OGG, M4A or WebM sound"),
        (b64(video()), "has no sound"),
        (b64(sound("ogg")[:200]), "is damaged or incomplete (ogg)"),
    ],
)
def test_a_sound_that_cannot_be_used_is_refused_before_it_is_queued(
    stack: Stack, audio: str | None, rule: str
) -> None:
    fields = {"audio": audio} if audio else {}
    response = stack.post(model=MODEL, prompt="x", **fields)
    assert response.status_code == 422, response.text
    [problem] = response.json()["error"]["fields"]
    assert (problem["field"], problem["rule"]) == ("audio", rule)


# ---- custom classes


def cache_of(families_file: Path, folder: Path, keys: str) -> Any:
    """Return a function that loads the one model of a models file beside the tiny pipelines."""
    from workers.pipelines.cache import PipelineCache

    path = families_file.with_name(f"{folder.name}.toml")
    path.write_text(f'[own]\nsource = "./ltx"\nkinds = ["text2video"]\n{keys}')
    [spec] = models_file.read(path)
    cache = PipelineCache(Settings.of(data_dir=folder, models_file=path, cpu_threads=1))
    return lambda: cache.get(spec, Kind.TEXT2VIDEO), lambda: presence.check(path, lambda spec: True)


OWN = "from diffusers import LTXPipeline\nclass Mine(LTXPipeline):\n    pass\n"


@pytest.mark.parametrize("key", ["pipeline = {}", "pipelines = {{ text2video = {} }}"])
def test_a_class_in_a_file_or_module_is_used(
    families_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    (tmp_path / f"{tmp_path.name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    for place in (f"{tmp_path}/{tmp_path.name}.py", tmp_path.name):
        load, check = cache_of(families_file, tmp_path, key.format(f'"{place}:Mine"'))
        check()
        pipeline = load()
        assert [cls.__name__ for cls in type(pipeline).__mro__[:2]] == ["Mine", "LTXPipeline"]
        assert load() is pipeline


@pytest.mark.parametrize(
    ("code", "name", "at_start", "at_load"),
    [
        (None, "mine.py:Mine", "there is no file", "the code fails with FileNotFoundError"),
        (OWN, "mine.py:Mime", "has no class Mime; did you mean Mine?", "it is no class of a DiffusionPipeline"),
        ("class Mine(:", "mine.py:Mine", "is no Python file", "the code fails with SyntaxError"),
        ("class Mine: pass\n1 / 0", "mine.py:Mine", None, "the code fails with ZeroDivisionError: division by zero"),
        ("class Mine: pass", "mine.py:Mine", None, "it is no class of a DiffusionPipeline"),
        (OWN, "no_such_module:Mine", "there is no module no_such_module", "the code fails with ModuleNotFoundError"),
        (OWN, "../mine:Mine", "is no name of a module", "the code fails"),
    ],
)
def test_what_is_wrong_with_a_class_is_told(
    families_file: Path, tmp_path: Path, code: str | None, name: str, at_start: str | None, at_load: str
) -> None:
    if code is not None:
        (tmp_path / "mine.py").write_text(code)
    place = f"{tmp_path}/{name}" if name.startswith("mine.py") else name
    load, check = cache_of(families_file, tmp_path, f'pipeline = "{place}"')
    if at_start:
        with pytest.raises(BadSetting, match=at_start.replace("?", r"\?")):
            check()
    else:
        check()
    with pytest.raises(ModelLoadFailed, match=at_load):
        load()


def test_a_class_of_one_kind_needs_the_parts_of_the_model(families_file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from diffusers import DiffusionPipeline\nclass Mine(DiffusionPipeline):\n"
        "    def __init__(self, vae, ears):\n        super().__init__()\n"
    )
    load, _ = cache_of(families_file, tmp_path, f'pipelines = {{ text2video = "{tmp_path}/mine.py:Mine" }}')
    with pytest.raises(ModelLoadFailed, match=r"Mine cannot be made of the parts of the model: .*'ears'"):
        load()


def test_needs_must_be_inputs_that_the_model_takes(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text('[m]\nsource = "x/y"\nkinds = ["text2video"]\nneeds = ["audio"]')
    with pytest.raises(BadSetting, match="needs: names audio, for which fields has no argument"):
        models_file.read(path)
    path.write_text('[m]\nsource = "x/y"\nkinds = ["text2video"]\nneeds = ["image"]')
    with pytest.raises(BadSetting, match="needs: names image, for which fields has no argument"):
        models_file.read(path)


# ---- families of diffusers that take sounds


def request(kind: str, **fields: Any) -> Any:
    values = dict.fromkeys(("negative_prompt", "clip_skip", "distilled_guidance_scale", "audio_output"))
    return SimpleNamespace(
        **{**values, "kind": Kind(kind), "prompt": "a", "steps": 2, "guidance_scale": 1.0, "width": 96, "height": 64,
           "frames": 124, "fps": 24.0, "strength": None, **fields}
    )  # fmt: skip


def arguments_for(blocks: str, table: str, inputs: dict[str, Any], folder: Path, kind: str) -> tuple[Any, Any]:
    """Return a pipeline of blocks without weights, and the arguments of a call with these inputs."""
    import diffusers
    import torch

    from workers.diffusion import arguments
    from workers.pipelines import modular

    path = folder / "models.toml"
    path.write_text(f'[m]\nsource = "x/y"\nloader = "modular"\nkinds = ["{kind}"]\n{table}')
    [spec] = models_file.read(path)
    named: Any = getattr(diffusers, blocks)()
    whole = named.get_workflow(spec.workflow) if spec.workflow else named
    pipeline = modular.callable_like_others(whole.init_pipeline())
    return pipeline, arguments.of(pipeline, spec, request(kind), inputs, [torch.Generator()])


def test_references_of_minimax_h3_are_what_its_first_block_takes(tmp_path: Path) -> None:
    from diffusers.modular_pipelines.modular_pipeline import PipelineState

    table = (
        'workflow = "ref2va"\naudio_rate_hz = 32000\nlimits = { images = [1, 9] }\n'
        'fields = { images = "references", video = "references", audio = "references" }'
    )
    pictures = [Image.new("RGB", (80, 60), "red"), Image.new("RGB", (60, 90), "blue")]
    tone = np.sin(np.arange(64_000) / 20).astype(np.float32)
    inputs = {"images": pictures, "video": [Image.new("RGB", (96, 64))] * 124, "audio": tone}
    pipeline, call = arguments_for("MiniMaxH3Blocks", table, inputs, tmp_path, "video2video")
    assert [reference.kind for reference in call["references"]] == ["image", "image", "video", "audio"]
    assert call["references"][2].fps == 24
    assert call["references"][3].sample_rate == 32_000
    assert "images" not in call
    state = PipelineState()
    for name in ("references", "height", "width", "num_frames", "prompt"):
        state.set(name, call[name])
    first = pipeline.blocks.sub_blocks["before_encode"]
    _, state = first(pipeline, state)
    normalized = state.get("normalized_references")
    assert [reference.kind for reference in normalized] == ["image", "image", "video", "audio"]
    heard = normalized[3].audio
    assert tuple(heard.shape) == (2, 64_000)
    assert np.array_equal(heard[0].numpy(), tone)


def test_echo_gets_a_sound_for_the_first_of_its_pictures(tmp_path: Path) -> None:
    table = (
        'limits = { images = [1, 7] }\nfields = { images = "memory_images", audio = "memory_audio_waveforms" }\n'
        "arguments = { sigmas = [1.0, 0.5, 0.0] }"
    )
    tone = np.zeros(100, np.float32)
    inputs = {"images": [Image.new("RGB", (8, 8))] * 3, "audio": tone}
    _, call = arguments_for("EchoBlocks", table, inputs, tmp_path, "text2video")
    assert call["memory_audio_waveforms"][0] is tone
    assert call["memory_audio_waveforms"][1:] == [None, None]
    assert len(call["memory_images"]) == 3
    assert call["memory_audio_sample_rates"] == 16_000
    assert call["sigmas"] == [1.0, 0.5, 0.0]


def test_references_of_another_family_are_refused(tmp_path: Path) -> None:
    from workers.diffusion.inputs import joint

    with pytest.raises(ExecutionError, match="has references of an unknown kind"):
        joint.value("references", SimpleNamespace(), {"image": None}, frames=1, fps=1.0, rate_hz=1)
