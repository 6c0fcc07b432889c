"""The shipped models, through the whole stack: a prompt's colours are in the picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from jobs.settings import PROJECT_ROOT
from tests.harness import Stack, running

#: How far a channel may be from its colour, of 255.
TOLERANCE = 90
COLOURS = {"red": (230, 30, 30), "blue": (40, 80, 230), "green": (30, 160, 60), "yellow": (250, 220, 30)}


@pytest.fixture(scope="module")
def shipped() -> Iterator[Stack]:
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with running(folder, PROJECT_ROOT / "models.toml", "gpu0", "io") as stack:
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


def share(picture: np.ndarray, colour: str) -> float:
    """Share of the pixels of (height, width, 3) uint8 RGB that have about this colour."""
    distance = np.abs(picture.astype(int) - COLOURS[colour]).max(axis=-1)
    return float((distance < TOLERANCE).mean())


@pytest.mark.parametrize(("shape", "background"), [("red", "blue"), ("yellow", "green"), ("blue", "yellow")])
def test_an_image_has_the_colours_of_its_prompt(shipped: Stack, shape: str, background: str) -> None:
    job_id = shipped.submit(model="demo-image", prompt=f"a {shape} circle on a {background} background", seed=5)
    assert shipped.wait(job_id)["state"] == "succeeded"
    content = shipped.get(f"/v1/tasks/{job_id}/result").content
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert share(picture, background) > 0.4
    assert share(picture[32:96, 32:96], shape) > 0.03
    assert share(picture[:8], shape) < 0.05  # the shape is inside, not everywhere


def test_a_prompt_outside_their_world_gives_a_picture_all_the_same(shipped: Stack) -> None:
    view = shipped.wait(shipped.submit(model="demo-image", prompt="Ein Foto von Köln bei Nacht, 8k"))
    assert (view["state"], view["outputs"][0]["width"]) == ("succeeded", 128)


def test_a_clip_has_the_frames_that_were_asked_for(shipped: Stack) -> None:
    job_id = shipped.submit(model="demo-video", prompt="a red circle moving left to right on a white background")
    assert shipped.wait(job_id)["state"] == "succeeded"
    with av.open(io.BytesIO(shipped.get(f"/v1/tasks/{job_id}/result").content)) as clip:
        frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    assert [frame.shape for frame in frames] == [(96, 96, 3)] * 9
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 1  # it moves
