"""Every output format: content of the files, their metadata, and the formats that a request may name."""

from __future__ import annotations

import io
import json
import re
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from framemill import inspection
from framemill.cli import main
from framemill.errors import NoMetadata
from jobs.errors import InvalidRequest
from jobs.formats import IMAGE_FORMATS, VIDEO_FORMATS
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings
from tests.support.harness import Stack
from tests.support.pictures import chunk, png
from tests.support.resolving import resolve
from workers.delivery import encode
from workers.delivery.encode import animation, images, video

PROMPT = 'a "red", round: circle ☃\nsecond line'


def request(name: str, *, is_video: bool = False, **fields: Any) -> GenerationRequest:
    values: dict[str, Any] = {
        "model": "a model, with a comma", "kind": Kind.TEXT2VIDEO if is_video else Kind.TEXT2IMG, "prompt": PROMPT,
        "negative_prompt": "blue", "seed": 2**63 - 1, "steps": 20, "guidance_scale": 7.5, "width": 48, "height": 32,
        "frames": 9 if is_video else 1, "fps": 8.0 if is_video else 0.0, "output_format": name,
        "image": "inputs/secret",
    }  # fmt: skip
    return GenerationRequest(**{**values, **fields})


def clip(frames: int = 1, height: int = 32, width: int = 48) -> np.ndarray:
    """Return moving, smooth colours."""
    across, down = np.linspace(0, 200, width), np.linspace(0, 200, height)
    picture = np.stack(np.broadcast_arrays(across[None, :], down[:, None], 100), axis=-1).astype(np.uint8)
    return np.stack([np.roll(picture, 2 * number, axis=1) for number in range(frames)])


def written(tmp_path: Path, wanted: GenerationRequest, pictures: np.ndarray) -> Path:
    path = tmp_path / f"file.{wanted.output_format}"
    encode.write(pictures, path, wanted, {"job_id": "j1", "index": 0})
    return path


@pytest.mark.parametrize(("name", "error"), [("png", 0), ("webp", 8), ("jpeg", 8)])
def test_images_show_the_frame(tmp_path: Path, name: str, error: float) -> None:
    pictures = clip(height=33, width=47)
    with Image.open(written(tmp_path, request(name, output_quality=95), pictures)) as image:
        assert (image.format, image.size) == (name.upper(), (47, 33))
        shown = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(shown - pictures[0]).mean() <= error


@pytest.mark.parametrize(("name", "codec"), [("mp4", "h264"), ("webm", "vp9")])
@pytest.mark.parametrize("fps", [8.0, 23.976, 29.97, 12.5])
def test_videos_show_every_frame_at_their_rate(tmp_path: Path, name: str, codec: str, fps: float) -> None:
    pictures = clip(9, 33, 47)
    path = written(tmp_path, request(name, is_video=True, fps=fps, output_quality=95), pictures)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name.removeprefix("lib"), stream.pix_fmt) in (
            (codec, "yuv420p"),
            ("vpx-vp9", "yuv420p"),
        )
        expected = {23.976: Fraction(24000, 1001), 29.97: Fraction(30000, 1001)}.get(fps, Fraction(fps))
        assert stream.average_rate == expected
        shown = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(stream)]
    assert len(shown) == 9
    assert shown[0].shape == (32, 46, 3)  # yuv420p has even sides
    for frame, picture in zip(shown, pictures, strict=True):
        assert np.abs(frame - picture[:32, :46]).mean() < 12


@pytest.mark.parametrize("name", ["mp4", "webm"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (480, 832), (720, 1280)])
def test_videos_state_their_colours_and_keep_them(tmp_path: Path, name: str, height: int, width: int) -> None:
    """Players guess the colours of a file that does not state them, and guess differently from 720 lines on."""
    colours = np.array([(230, 30, 30), (40, 200, 60), (20, 40, 230), (250, 220, 30)], np.uint8)
    pictures = np.repeat(np.repeat(colours[None, None], height, 1), width // 4, 2)  # four bars
    path = written(tmp_path, request(name, is_video=True, fps=8.0, output_quality=95), pictures)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        # Numbers of ITU-T H.273: BT.709 in each table; range 1 is limited.
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    for number, colour in enumerate(colours.astype(int)):
        middle = shown[height // 2, (2 * number + 1) * width // 8]
        assert np.abs(middle - colour).max() <= 4, (colour, middle)


@pytest.mark.parametrize("name", ["gif", "webp"])
@pytest.mark.parametrize("fps", [8.0, 16.0, 23.976])
def test_animations_show_every_frame_for_the_right_time(tmp_path: Path, name: str, fps: float) -> None:
    pictures = clip(9, 33, 47)
    wanted = request(name, is_video=True, fps=fps, output_quality=95 if name == "webp" else None)
    with Image.open(written(tmp_path, wanted, pictures)) as image:
        assert (image.format, image.size, image.n_frames, image.info["loop"]) == (name.upper(), (47, 33), 9, 0)  # type: ignore[attr-defined]
        shown_ms = 0
        for number, picture in enumerate(pictures):
            image.seek(number)
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - picture).mean() < 12
            shown_ms += image.info["duration"]
    assert shown_ms == pytest.approx(9000 / fps, abs=5)


def test_a_gif_that_is_too_fast_for_browsers_leaves_frames_out(tmp_path: Path) -> None:
    path = written(tmp_path, request("gif", is_video=True, fps=100), clip(40))
    with Image.open(path) as image:
        lengths = []
        for number in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            lengths.append(image.info["duration"])
    assert min(lengths) >= animation.SHORTEST_GIF_MS
    assert sum(lengths) == 400


def test_what_stands_still_does_not_flicker_in_a_gif(tmp_path: Path) -> None:
    pictures = clip(6)
    pictures[:] = pictures[0]
    pictures[:, 4:12, 4:12] = np.arange(0, 240, 40)[:, None, None, None]  # a patch that changes
    with Image.open(written(tmp_path, request("gif", is_video=True), pictures)) as image:
        frames = []
        for number in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")))
    assert len(frames) == 6
    assert all((frame[:, 16:] == frames[0][:, 16:]).all() for frame in frames)


@given(count=st.integers(1, 300), fps=st.floats(1, 120), unit_ms=st.sampled_from([1, 10]))
def test_durations_add_up(count: int, fps: float, unit_ms: int) -> None:
    lengths = animation.durations_ms(count, fps, unit_ms)
    assert len(lengths) == count
    assert abs(sum(lengths) - count * 1000 / fps) <= unit_ms
    assert max(lengths) - min(lengths) <= unit_ms


@pytest.mark.parametrize("fps", [23.976, 23.98, 29.97, 47.952, 59.94, 119.88])
def test_broadcast_rates_are_exact(fps: float) -> None:
    rate = video.frame_rate(fps)
    assert rate.denominator == 1001
    assert float(rate) == pytest.approx(fps, abs=0.005)


@pytest.mark.parametrize("fps", [1.0, 8.0, 24.0, 30.0, 25.5, 16.0, 120.0, 12.34])
def test_other_rates_are_what_was_asked_for(fps: float) -> None:
    assert float(video.frame_rate(fps)) == pytest.approx(fps, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "is_video"), [*((name, False) for name in IMAGE_FORMATS), *((name, True) for name in VIDEO_FORMATS)]
)
def test_every_format_says_how_it_was_made_unless_told_not_to(tmp_path: Path, name: str, is_video: bool) -> None:
    wanted = request(name, is_video=is_video)
    path = written(tmp_path, wanted, clip(wanted.frames))
    found = inspection.read_metadata(path)
    expected = {**wanted.to_dict(), "job_id": "j1", "index": 0}
    del expected["image"]  # the location of an input must not be published
    assert found.request == json.loads(json.dumps(expected))
    if name != "gif":
        prompt, rest = found.parameters.split("\nNegative prompt: ")
        negative, line = rest.split("\n")
        assert (prompt, negative) == (PROMPT, "blue")
        assert line.startswith("Steps: 20, CFG scale: 7.5, Seed: 9223372036854775807, Size: 48x32, ")
        assert 'Model: "a model, with a comma"' in line
    assert b"secret" not in path.read_bytes()

    silent = written(tmp_path, request(name, is_video=is_video, embed_metadata=False), clip(wanted.frames))
    assert all(
        word not in silent.read_bytes() for word in (b"circle", b"c\0i\0r\0c\0l\0e", b"9223372036854775807", b"j1")
    )
    with pytest.raises(NoMetadata, match="does not say"):
        inspection.read_metadata(silent)


@pytest.mark.parametrize("name", ["webp", "jpeg"])
def test_exif_keeps_what_fits(tmp_path: Path, name: str) -> None:
    wanted = request(name, prompt="☃ " * 20_000)  # as UTF-16, more than a segment of JPEG holds
    found = inspection.read_metadata(written(tmp_path, wanted, clip()))
    assert (found.request["prompt"], found.parameters) == (wanted.prompt, "")
    noise = "".join(map(chr, np.random.default_rng(0).integers(0x4E00, 0x9FFF, 60_000)))
    with pytest.raises(NoMetadata):
        inspection.read_metadata(written(tmp_path, request(name, prompt=noise), clip()))


def test_the_text_is_where_a1111_tools_look(tmp_path: Path) -> None:
    with Image.open(written(tmp_path, request("png"), clip())) as image:
        assert image.info["parameters"].startswith(PROMPT)
    with Image.open(written(tmp_path, request("jpeg"), clip())) as image:
        comment = image.getexif().get_ifd(0x8769)[0x9286]
        assert comment[:8] == b"UNICODE\0"
        assert comment[8:].decode("utf-16-be").startswith(PROMPT)


def test_a_file_of_another_program_is_shown_as_it_is(tmp_path: Path) -> None:
    info = images.Metadata("{}", "a cat\nSteps: 5, Seed: 1")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", **{**info.exif(), "format": "JPEG"})
    assert inspection.read_metadata(tmp_path / "a.jpg") == inspection.FileMetadata({}, "a cat\nSteps: 5, Seed: 1")


def test_large_texts_of_other_programs_do_not_hide_the_own_one(tmp_path: Path) -> None:
    path = written(tmp_path, request("png"), clip())
    expected = inspection.read_metadata(path)
    content = path.read_bytes()
    for kind in (b"zTXt", b"iTXt"):
        head = b"workflow\0\1\0\0\0" if kind == b"iTXt" else b"workflow\0\0"
        large = chunk(kind, head + zlib.compress(bytes(50_000_000)))
        path.write_bytes(content[:33] + large + content[33:])
        assert inspection.read_metadata(path) == expected
    plain = "Steps: 5, Seed: 1, Größe"
    text = plain.encode("latin-1")
    for part in (chunk(b"tEXt", b"parameters\0" + text), chunk(b"zTXt", b"parameters\0\0" + zlib.compress(text)),
                 chunk(b"iTXt", b"parameters\0\0\0de\0\0" + plain.encode())):  # fmt: skip
        path.write_bytes(png(8, 1, bytes(9), extra=part))
        assert inspection.read_metadata(path).parameters == plain


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x89PNG\r\n\x1a\nbroken", b"\0\0\0\x20ftypisombroken", b"GIF89a", b"RIFF"]
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(NoMetadata, match="file"):
        inspection.read_metadata(tmp_path / "file")


# ---- requests


def test_the_settings_choose_where_a_request_says_nothing(models_file: Path) -> None:
    registry = ModelRegistry.from_file(models_file)
    plain, _ = resolve(registry, {"model": "tiny-image"})
    assert (plain.output_format, plain.output_quality, plain.embed_metadata) == ("png", None, None)
    settings = Settings.of(image_format="webp", image_quality=70, video_format="webm", embed_metadata=False)
    chosen, _ = resolve(registry, {"model": "tiny-image"}, settings)
    assert (chosen.output_format, chosen.output_quality, chosen.embed_metadata) == ("webp", 70, False)
    chosen, _ = resolve(registry, {"model": "tiny-video", "embed_metadata": True}, settings)
    assert (chosen.output_format, chosen.output_quality, chosen.embed_metadata) == ("webm", 80, None)


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"output_format": "mp4"}, "output_format", "must be one of png, webp, jpeg for an image"),
        ({"output_format": "JPEG"}, "output_format", "must be one of"),
        (
            {"model": "tiny-video", "output_format": "png"},
            "output_format",
            "must be one of mp4, webm, gif, webp for a video",
        ),
        ({"output_quality": 80}, "output_quality", "png has no quality"),
        ({"model": "tiny-video", "output_format": "gif", "output_quality": 80}, "output_quality", "gif has no quality"),
        ({"output_format": "jpeg", "output_quality": 0}, "output_quality", "must be between 1 and 100"),
        ({"output_format": "webp", "output_quality": 101}, "output_quality", "must be between 1 and 100"),
    ],
)
def test_what_a_kind_has_not_is_refused(models_file: Path, fields: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolve(ModelRegistry.from_file(models_file), {"model": "tiny-image", **fields})
    assert [(problem.field, rule in problem.rule) for problem in refused.value.problems] == [(field, True)]


def test_odd_sides_are_named_before_they_are_cropped(tmp_path: Path) -> None:
    models = tmp_path / "models.toml"
    models.write_text('[odd]\nsource = "x/y"\nkinds = ["text2video", "text2img"]\nsize_multiple_px = 1\n')
    registry = ModelRegistry.from_file(models)
    fields = {"model": "odd", "kind": "text2video", "width": 65, "height": 48}
    assert "cropped to 64 × 48" in resolve(registry, fields)[1][0]
    assert resolve(registry, {**fields, "output_format": "gif"})[1] == []
    assert resolve(registry, {**fields, "kind": "text2img"})[1] == []


# ---- over HTTP


@pytest.mark.parametrize(
    ("model", "name", "media_type", "ending"),
    [
        ("tiny-image", "webp", "image/webp", "webp"), ("tiny-image", "jpeg", "image/jpeg", "jpg"),
        ("tiny-video", "webm", "video/webm", "webm"), ("tiny-video", "gif", "image/gif", "gif"),
        ("tiny-video", "webp", "image/webp", "webp"),
    ],
)  # fmt: skip
def test_a_job_gives_the_format_it_was_asked_for(
    stack: Stack, tmp_path: Path, model: str, name: str, media_type: str, ending: str
) -> None:
    view = stack.wait(stack.submit(model=model, steps=1, output_format=name))
    assert view["state"] == "succeeded", view
    assert view["request"]["output_format"] == name
    [output] = view["outputs"]
    result = stack.get(output["url"])
    assert result.headers["Content-Type"] == output["media_type"] == media_type
    assert result.headers["Content-Disposition"] == f'inline; filename="{view["id"]}-0.{ending}"'
    assert result.headers["X-Content-Type-Options"] == "nosniff"
    (tmp_path / "file").write_bytes(result.content)
    assert inspection.read_metadata(tmp_path / "file").request["job_id"] == view["id"]


def test_the_command_inspects_jobs_links_and_files(
    stack: Stack, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    view = stack.wait(stack.submit(steps=1, seed=7))
    path = written(tmp_path, request("jpeg"), clip())
    link, plain = stack.url(view["outputs"][0]["url"]), tmp_path / "plain.png"
    Image.new("RGB", (8, 8)).save(plain)

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        return main(["--url", stack.url(""), *words]), *capfd.readouterr()

    for name in (view["id"], link):
        code, out, _ = run("--json", "inspect", name)
        assert (code, json.loads(out)["seed"], json.loads(out)["job_id"]) == (0, 7, view["id"])
    code, out, _ = run("inspect", str(path))
    assert code == 0
    assert re.search(r"^seed +9223372036854775807$", out, re.MULTILINE)
    code, out, error = run("inspect", str(plain))
    assert (code, out, error) == (1, "", f"framemill: {plain} does not say how it was made\n")
    code, _, error = run("inspect", stack.url("/healthz"))
    assert (code, "not a PNG" in error) == (1, True)
    assert run("inspect", str(tmp_path / "missing.png"))[0] == 1
    assert run("inspect", "http://127.0.0.1:9/x.png")[0] == 1
    assert run("inspect", "never-submitted")[0] == 3


@pytest.mark.parametrize("model", ["tiny-image", "tiny-video"])
def test_thumbnails_and_posters(stack: Stack, model: str) -> None:
    view = stack.wait(stack.submit(model=model, steps=1, width=64, height=32))
    [output] = view["outputs"]  # they are not outputs
    thumbnail = stack.get(output["thumbnail_url"])
    assert (thumbnail.status_code, thumbnail.headers["Content-Type"]) == (200, "image/webp")
    with Image.open(io.BytesIO(thumbnail.content)) as image:
        assert image.size == (64, 32)  # never enlarged
    poster = stack.get(f"/v1/jobs/{view['id']}/poster")
    if model == "tiny-image":
        assert (output["poster_url"], poster.status_code, poster.json()["error"]["code"]) == (
            None,
            404,
            "object_not_found",
        )
    else:
        with Image.open(io.BytesIO(poster.content)) as image:
            assert (poster.url, image.size) == (stack.url(output["poster_url"].partition("?")[0]), (64, 32))
    assert stack.get(f"/v1/jobs/{view['id']}/thumbnail?index=1").status_code == 422
    unchanged = stack.get(output["thumbnail_url"], headers={"If-None-Match": thumbnail.headers["ETag"]})
    assert unchanged.status_code == 304


def test_thumbnails_are_as_small_as_the_setting_says(tmp_path: Path) -> None:
    size = images.write_preview(clip(height=300, width=600)[0], tmp_path / "t.jpg", "jpeg", 256)
    with Image.open(tmp_path / "t.jpg") as image:
        assert image.size == size == (256, 128)
        assert image.info.get("exif") is None
