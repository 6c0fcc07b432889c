"""The shipped models through the complete stack: what their pictures and clips show, and the README's commands."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from jobs.settings import PROJECT_ROOT
from models.training.captions import Sample
from models.training.judge import judge_clip
from models.training.scenes import Scene, Thing, draw_clip
from tests.stack.test_events import messages
from tests.stack.test_previews import picture
from tests.support.harness import BIN, PATIENCE_S, Stack, running

README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
#: Maximum deviation of a channel from its colour, of 255.
TOLERANCE = 90
COLOURS = {"red": (230, 30, 30), "blue": (40, 80, 230), "green": (30, 160, 60), "yellow": (250, 220, 30)}


@pytest.fixture(scope="module")
def shipped() -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with running(folder, PROJECT_ROOT / "models.toml", "gpu0", "io") as stack:
        stack.wait(stack.submit(model="demo-image", steps=1))  # or a busy machine would exceed the wait of the README
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


def share(picture: np.ndarray, colour: str) -> float:
    """Return the share of the pixels of (height, width, 3) uint8 RGB that have about this colour."""
    distance = np.abs(picture.astype(int) - COLOURS[colour]).max(axis=-1)
    return float((distance < TOLERANCE).mean())


@pytest.mark.parametrize(("shape", "background"), [("red", "blue"), ("yellow", "green"), ("blue", "yellow")])
def test_an_image_has_the_colours_of_its_prompt(shipped: Stack, shape: str, background: str) -> None:
    job_id = shipped.submit(model="demo-image", prompt=f"a {shape} circle on a {background} background", seed=5)
    assert shipped.wait(job_id)["state"] == "succeeded"
    content = shipped.get(f"/v1/jobs/{job_id}/result").content
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert share(picture, background) > 0.4
    assert share(picture[64:192, 64:192], shape) > 0.03
    assert share(picture[:16], shape) < 0.05  # the shape is inside, not everywhere


def test_a_prompt_outside_their_world_gives_a_picture_all_the_same(shipped: Stack) -> None:
    view = shipped.wait(shipped.submit(model="demo-image", prompt="Ein Foto von Köln bei Nacht, 8k"))
    assert (view["state"], view["outputs"][0]["width"]) == ("succeeded", 256)


def png(pixels: np.ndarray) -> str:
    """Return a picture as base64."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_what_a_mask_names_is_painted_anew(shipped: Stack) -> None:
    before = np.full((256, 256, 3), COLOURS["blue"], np.uint8)
    before[80:176, 80:176] = COLOURS["red"]
    mask = np.zeros((256, 256), np.uint8)
    mask[64:192, 64:192] = 255
    job_id = shipped.submit(
        model="demo-image", prompt="a yellow circle on a blue background", image=png(before), mask=png(mask), seed=1
    )
    view = shipped.wait(job_id)
    assert (view["state"], view["kind"]) == ("succeeded", "inpaint"), view
    after = np.asarray(Image.open(io.BytesIO(shipped.get(f"/v1/jobs/{job_id}/result").content)).convert("RGB"))
    assert share(after[80:176, 80:176], "red") < 0.1
    assert share(after[64:192, 64:192], "yellow") > 0.1
    assert share(after[:48], "blue") > 0.9


def test_a_region_is_painted_into_a_larger_picture(shipped: Stack) -> None:
    """The output is the picture itself, repainted where the mask is white."""
    before = np.full((300, 420, 3), COLOURS["blue"], np.uint8)
    before[40:110, 60:130] = COLOURS["red"]
    before[200:260, 300:380] = COLOURS["yellow"]
    mask = np.zeros((300, 420), np.uint8)
    mask[30:120, 50:140] = 255
    fields = {"model": "demo-image", "prompt": "a green circle on a blue background", "seed": 1, "num_images": 2}
    how = {"area": "masked", "padding_px": 10, "blur_px": 2, "fill": "blurred"}
    view = shipped.wait(shipped.submit(image=png(before), mask=png(mask), inpaint=how, **fields))
    assert view["state"] == "succeeded", view
    assert view["request"]["inpaint"] == how
    assert (view["request"]["width"], view["request"]["height"]) == (256, 256)
    for index, output in enumerate(view["outputs"]):
        assert (output["width"], output["height"]) == (420, 300)
        answer = shipped.get(f"/v1/jobs/{view['id']}/result?index={index}")
        with Image.open(io.BytesIO(answer.content)) as image:
            after, written = np.asarray(image.convert("RGB")), image.info["parameters"]
        reached = np.zeros((300, 420), bool)
        reached[20:130, 40:150] = True  # the mask with its soft border
        assert np.array_equal(after[~reached], before[~reached])
        assert share(after[40:110, 60:130], "green") > 0.1
        assert share(after[40:110, 60:130], "red") < 0.02
        for pair in ("Mask blur: 2", "Inpaint area: Only masked", "Masked area padding: 10", "Masked content: fill"):
            assert f", {pair}" in written
        with Image.open(io.BytesIO(shipped.get(f"/v1/jobs/{view['id']}/thumbnail?index={index}").content)) as small:
            assert abs(small.width / small.height - 420 / 300) < 0.02


def clip_of(shipped: Stack, **fields: object) -> np.ndarray:
    """Return the clip of a job of the video model: (9, 64, 64, 3) uint8 RGB."""
    job_id = shipped.submit(model="demo-video", **fields)
    view = shipped.wait(job_id)
    assert view["state"] == "succeeded", view
    with av.open(io.BytesIO(shipped.get(f"/v1/jobs/{job_id}/result").content)) as clip:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)])
    assert frames.shape == (9, 64, 64, 3)
    return frames


def told(shape: str, colour: str, background: str, motion: str) -> Sample:
    """Return what a clip must show; the judge looks at shape, colours and motion only."""
    return Sample("", Scene(background, (Thing(shape, colour, 0.5, 0.5, 0.23),), motion), "motion")


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("a red circle moving left to right on a white background", told("circle", "red", "white", "right")),
        ("a yellow square moving up on a blue background", told("square", "yellow", "blue", "up")),
        ("a green diamond growing on a black background", told("diamond", "green", "black", "growing")),
    ],
)
def test_a_clip_shows_and_moves_what_its_prompt_says(shipped: Stack, prompt: str, wanted: Sample) -> None:
    marks = judge_clip(wanted, clip_of(shipped, prompt=prompt, seed=1))
    assert all(marks.values()), marks


@pytest.mark.parametrize(("words", "motion"), [("moving left", "left"), ("moving down", "down")])
def test_a_given_picture_is_set_in_motion(shipped: Stack, words: str, motion: str) -> None:
    wanted = told("circle", "blue", "yellow", motion)
    first = draw_clip(wanted.scene, 2, 64)[0]
    frames = clip_of(shipped, prompt=f"a blue circle {words} on a yellow background", image=png(first), seed=1)
    assert np.abs(frames[0].astype(int) - first).mean() < 10  # it begins with that picture
    marks = judge_clip(wanted, frames)
    assert all(marks.values()), marks


def likeness(preview: np.ndarray, result: np.ndarray) -> float:
    """Return the correlation of two pictures of the same size."""
    return float(np.corrcoef(preview.ravel(), result.ravel())[0, 1])


def test_previews_show_what_becomes_of_the_shipped_model(shipped: Stack) -> None:
    """``test_preview_pictures`` checks that they approach the result; a fast machine may show only one here."""
    fields = {"prompt": "a red circle on a blue background", "seed": 5, "steps": 100, "preview": True}
    with shipped.paused():  # until somebody listens
        job_id = shipped.submit(model="demo-image", **fields)
        stream = messages(shipped, f"/v1/jobs/{job_id}/events?preview=data")
        next(stream)
    found = [
        picture(base64.b64decode(data["preview"]["data"].partition(",")[2]))
        for _, event, data in stream
        if event == "preview"
    ]
    result = np.asarray(Image.open(io.BytesIO(shipped.get(f"/v1/jobs/{job_id}/result").content)).convert("RGB"))
    assert found
    assert min(likeness(one, result.astype(float)) for one in found) > 0.6


# ---- the commands of the README, as they are printed


def block(heading: str, language: str) -> str:
    """Return the first code block of a language in a section of the README."""
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert section, f"the README has no section {heading!r}"
    code = re.search(rf"^```{language}\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    assert code, f"the section {heading!r} has no {language} block"
    return code[1]


def run(stack: Stack, folder: Path, code: str, *command: str | Path) -> None:
    """Run a block in an empty folder, with the address replaced by that of the stack."""
    code = code.replace("http://127.0.0.1:8000", stack.url("")).replace(".venv/bin/", f"{BIN}/")
    environment = {**os.environ, "FRAMEMILL_URL": stack.url(""), "PYTHONPATH": str(PROJECT_ROOT / "src")}
    done = subprocess.run(
        [*command, code], cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_curl_commands_submit_a_job_and_fetch_its_image(shipped: Stack, tmp_path: Path) -> None:
    run(shipped, tmp_path, block("Submit a job with curl", "sh"), "bash", "-euo", "pipefail", "-c")
    with Image.open(tmp_path / "circle.png") as image:
        assert image.size == (256, 256)


def test_the_python_example_saves_an_image(shipped: Stack, tmp_path: Path) -> None:
    run(shipped, tmp_path, block("Use it from Python or the shell", "python"), sys.executable, "-c")
    with Image.open(tmp_path / "circle.png") as image:
        assert image.size == (256, 256)


def test_the_command_saves_a_video(shipped: Stack, tmp_path: Path) -> None:
    run(shipped, tmp_path, block("Use it from Python or the shell", "sh"), "bash", "-euo", "pipefail", "-c")
    with av.open(str(tmp_path / "star.mp4")) as video:
        assert video.streams.video[0].frames == 9
