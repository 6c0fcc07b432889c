"""Videos with sound: from the pipeline through the spool to the track of the file, and requests without it."""

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

from jobs.errors import ExecutionError, ObjectNotFound
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings
from tests.support.harness import Stack
from tests.support.in_process import in_process
from workers.delivery import encode
from workers.delivery.encode import tracks
from workers.spool import encoded_files
from workers.spool import frames as spooled_frames
from workers.spool import sound as spooled_sound
from workers.spool.sound import Sound

#: The first test waits until all models are made and loaded.
pytestmark = pytest.mark.timeout(300)

FRAMES = np.zeros((1, 9, 32, 48, 3), np.uint8)


def tone(rate_hz: int, seconds: float = 2.0, channels: int = 2) -> Sound:
    """Return a tone of 440 Hz in the first channel, of 880 Hz in the second."""
    times = np.arange(int(rate_hz * seconds)) / rate_hz
    waves = np.stack([np.sin(2 * np.pi * 440 * (channel + 1) * times) for channel in range(channels)])
    return Sound((20_000 * waves).astype(np.int16), rate_hz)


def request(name: str, **fields: Any) -> GenerationRequest:
    values: dict[str, Any] = {
        "model": "m", "kind": Kind.TEXT2VIDEO, "prompt": "", "negative_prompt": "", "seed": 1, "steps": 1,
        "guidance_scale": 1.0, "width": 48, "height": 32, "frames": 9, "fps": 8.0, "output_format": name,
    }  # fmt: skip
    return GenerationRequest(**{**values, **fields})


def heard(content: Path) -> tuple[np.ndarray, int]:
    """Return the (channels, samples) of a file's sound, and its rate."""
    with av.open(str(content)) as container:
        stream = container.streams.audio[0]
        frames = [frame.to_ndarray() for frame in container.decode(stream)]
        return np.concatenate(frames, axis=1), stream.rate


def pitch_hz(wave: np.ndarray, rate_hz: int) -> float:
    return float(np.abs(np.fft.rfft(wave)).argmax() * rate_hz / len(wave))


@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 37_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("name", "codec"), [("mp4", "aac"), ("webm", "opus")])
def test_a_track_sounds_as_it_was_made_and_ends_with_the_pictures(
    tmp_path: Path, name: str, codec: str, channels: int, rate_hz: int
) -> None:
    path = tmp_path / "file"
    written = encode.write(FRAMES[0], path, request(name), {"index": 0}, tone(rate_hz, channels=channels))
    with av.open(str(path)) as container:
        assert [stream.codec_context.name.removeprefix("lib") for stream in container.streams.audio] == [codec]
        assert container.duration == pytest.approx(9 / 8 * 1e6, abs=0.03e6)  # not the two seconds of the sound
        assert sum(1 for _ in container.decode(video=0)) == 9
    waves, rate = heard(path)
    assert len(waves) == channels
    assert (
        rate
        == written.audio_sample_rate_hz
        == (rate_hz if name == "mp4" and rate_hz in (16_000, 24_000, 44_100) else 48_000)
    )
    assert waves.shape[1] / rate == pytest.approx(9 / 8, abs=0.06)
    for channel, wave in enumerate(waves):
        assert pitch_hz(wave, rate) == pytest.approx(440 * (channel + 1), rel=0.01)
        assert 0.4 < np.abs(wave[rate // 4 : rate // 2]).max() < 0.8


def test_sound_that_is_shorter_than_the_pictures_leaves_them_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    encode.write(FRAMES[0], path, request("mp4"), {"index": 0}, tone(24_000, seconds=0.3))
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 9
    waves, rate = heard(path)
    assert waves.shape[1] / rate == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize("name", ["gif", "webp"])
def test_animations_have_no_sound(tmp_path: Path, name: str) -> None:
    written = encode.write(FRAMES[0], tmp_path / "file", request(name), {"index": 0}, tone(24_000))
    assert written.audio_sample_rate_hz == 0


@pytest.mark.parametrize("name", ["mp4", "webm"])
def test_a_file_of_a_back_end_loses_its_sound_and_nothing_else(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / f"a.{name}", tmp_path / f"b.{name}"
    pictures = np.random.default_rng(0).integers(0, 255, (9, 32, 48, 3), np.uint8)
    encode.write(pictures, source, request(name), {"index": 0}, tone(24_000))
    media_type = f"video/{name}"
    assert encoded_files.inspect(source, media_type).audio_sample_rate_hz > 0
    tracks.copy_without_sound(source, target)
    copy = encoded_files.inspect(target, media_type)
    assert (copy.audio_sample_rate_hz, copy.frames, copy.fps) == (0, 9, 8.0)
    same = [encoded_files.decode(encoded_files.inspect(path, media_type), whole=True) for path in (source, target)]
    assert np.array_equal(same[0], same[1])
    with av.open(str(target)) as container:
        assert '"seed": 1' in {key.lower(): value for key, value in container.metadata.items()}["comment"]


def test_sound_waits_in_the_spool_beside_its_frames(short_folder: Path) -> None:
    settings, sound = Settings.of(data_dir=short_folder), tone(24_000)
    spooled_frames.write(settings, "a", 1, FRAMES, lambda: None, sound)
    spooled_frames.write(settings, "b", 1, FRAMES, lambda: None)
    read = spooled_sound.load(settings, "a", 1)
    assert read is not None
    assert (read.sample_rate_hz, read.duration_s) == (24_000, 2.0)
    assert np.array_equal(read.samples, sound.samples)
    assert spooled_sound.load(settings, "b", 1) is None
    (settings.spool_disk / "a.1" / spooled_sound.SOUND).write_bytes(b"RIFF")
    with pytest.raises(ObjectNotFound):  # damaged by a crash: the job is computed again
        spooled_sound.load(settings, "a", 1)


def config(**values: int) -> SimpleNamespace:
    return SimpleNamespace(config=SimpleNamespace(**values))


#: Outputs as the pipelines of diffusers with sound return them, and the shape and rate of the sound.
OUTPUTS = [
    (SimpleNamespace(vocoder=config(output_sampling_rate=24_000), audio_vae=config(sample_rate=16_000)),
     {"audio": np.full((1, 2, 100), 0.5)}, (2, 100), 24_000),  # LTX-2
    # Kandinsky 6
    (SimpleNamespace(audio_vae=config(sample_rate=44_100)), {"audio": np.full((1, 100), 2.0)}, (1, 100), 44_100),
    (SimpleNamespace(sound_tokenizer=config(sampling_rate=48_000)), {"sound": np.full((2, 100), -0.5)},
     (2, 100), 48_000),  # Cosmos 3
]  # fmt: skip


@pytest.mark.parametrize(("pipeline", "output", "shape", "rate_hz"), OUTPUTS)
def test_sound_in_every_form_that_pipelines_return(
    pipeline: Any, output: dict[str, Any], shape: tuple[int, int], rate_hz: int
) -> None:
    import torch

    from workers.diffusion.outputs import sounds

    sound = sounds.of_output(pipeline, SimpleNamespace(**output))
    as_tensors = {name: torch.from_numpy(values) for name, values in output.items()}
    same = sounds.of_output(pipeline, SimpleNamespace(**as_tensors))
    assert sound is not None
    assert same is not None
    assert np.array_equal(same.samples, sound.samples)
    assert (sound.samples.shape, sound.samples.dtype, sound.sample_rate_hz) == (shape, np.int16, rate_hz)
    assert abs(int(sound.samples[0, 0])) in (16_384, 32_767)  # a half, or cut at full scale


@pytest.mark.parametrize("output", [{}, {"audio": None}, {"audio": np.zeros((1, 2, 0))}])
def test_an_output_without_sound(output: dict[str, Any]) -> None:
    from workers.diffusion.outputs import sounds

    assert sounds.of_output(OUTPUTS[0][0], SimpleNamespace(**output)) is None


@pytest.mark.parametrize(
    ("pipeline", "audio", "message"),
    [
        (OUTPUTS[0][0], np.zeros((1, 3, 100)), "sound of shape"),
        (OUTPUTS[0][0], np.full((1, 2, 100), np.nan), "not-a-number"),
        (SimpleNamespace(), np.zeros((1, 2, 100)), "states no sampling rate"),
    ],
)
def test_sound_that_cannot_be_used(pipeline: Any, audio: Any, message: str) -> None:
    from workers.diffusion.outputs import sounds

    with pytest.raises(ExecutionError, match=message):
        sounds.of_output(pipeline, SimpleNamespace(audio=audio))


@pytest.fixture(scope="module")
def families(families_file: Path) -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with in_process(folder, families_file) as stack:
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("fields", "codec"),
    [({}, "aac"), ({"output_format": "webm", "audio_output": True}, "opus"), ({"audio_output": False}, None),
     ({"output_format": "gif"}, None)],
)  # fmt: skip
def test_a_job_of_a_model_with_sound(
    families: Stack, tmp_path: Path, fields: dict[str, Any], codec: str | None
) -> None:
    wanted = {"model": "ltx2", "kind": "text2video", "prompt": "rain", "seed": 3, "steps": 2, **fields}
    view = families.wait(families.submit(**wanted))
    assert (view["state"], view["error"]) == ("succeeded", None)
    assert view["request"]["audio_output"] is fields.get("audio_output", True)
    [output] = view["outputs"]
    rate = {"aac": 16_000, "opus": 48_000, None: None}[codec]
    assert (output["has_audio"], output["audio_sample_rate_hz"]) == (codec is not None, rate)
    assert view["warnings"] == (
        ["output_format: gif has no sound; mp4 and webm have"] if "gif" in fields.values() else []
    )
    path = tmp_path / "file"
    path.write_bytes(families.get(f"/v1/jobs/{view['id']}/result").content)
    with av.open(str(path)) as container:
        assert [stream.codec_context.name.removeprefix("lib") for stream in container.streams.audio] == (
            [codec] if codec else []
        )
    if codec:
        waves, rate_hz = heard(path)
        assert len(waves) == 2
        assert waves.shape[1] / rate_hz == pytest.approx(9 / 8, abs=0.15)
        assert waves.std() > 0


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"model": "wan", "audio_output": True}, "must be false: model wan makes no sound"),
        ({"model": "sd", "audio_output": True}, "does not apply to text2img"),
        ({"model": "ltx2", "audio_output": "loud"}, "must be true or false"),
    ],
)
def test_sound_that_no_model_makes_is_refused(families: Stack, fields: dict[str, Any], rule: str) -> None:
    response = families.post(**{"prompt": "rain", **fields})
    assert response.status_code == 422, response.text
    [error] = response.json()["error"]["fields"]
    assert (error["field"], error["rule"]) == ("audio_output", rule)


def test_models_say_whether_they_make_sound(families: Stack) -> None:
    models = {model["name"]: model["defaults"] for model in families.get("/v1/models").json()["models"]}
    assert models["ltx2"]["audio_output"] is True
    assert "audio_output" not in models["wan"]
