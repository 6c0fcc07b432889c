"""Second pass and mixed noise with the shipped image model: from HTTP to the file."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from framemill.cli import main
from jobs.requests import infotext
from jobs.settings import PROJECT_ROOT
from tests.support.harness import Stack
from tests.support.in_process import in_process

#: torch is imported and the model is loaded first.
pytestmark = pytest.mark.timeout(300)

WANTED: dict[str, Any] = {
    "model": "demo-image", "prompt": "a circle", "seed": 5, "steps": 8, "width": 64, "height": 96, "num_images": 2,
    "variation": {"seed": 40, "strength": 0.25}, "hires": {"width": 96, "height": 144, "strength": 0.5},
    "preview": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def shipped() -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with in_process(folder, PROJECT_ROOT / "models.toml") as stack:
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def done(shipped: Stack) -> dict[str, Any]:
    return shipped.wait(shipped.submit(**WANTED))


def image(stack: Stack, job_id: str, index: int) -> Image.Image:
    return Image.open(io.BytesIO(stack.get(f"/v1/jobs/{job_id}/result?index={index}").content))


def test_the_answer_has_size_seeds_and_steps_of_both_passes(shipped: Stack, done: dict[str, Any]) -> None:
    assert (done["state"], done["error"], done["warnings"]) == ("succeeded", None, [])
    assert done["request"]["hires"] == {"width": 96, "height": 144, "steps": 8, "strength": 0.5}
    assert [(one["width"], one["height"], one["seed"], one["variation_seed"]) for one in done["outputs"]] == [
        (96, 144, 5, 40),
        (96, 144, 5, 41),
    ]
    assert done["progress"]["steps"] == 8 + 2 * 4  # both images together, then each alone
    assert image(shipped, done["id"], 1).size == (96, 144)


def test_each_file_says_how_it_was_made(
    shipped: Stack, done: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for index in range(2):
        info = image(shipped, done["id"], index).info
        assert json.loads(info["framemill"]).items() >= done["request"].items()
        said = infotext.parse(info["parameters"])
        assert said.items() >= {
            "Seed": "5", "Variation seed": str(40 + index), "Variation seed strength": "0.25", "Size-1": "64",
            "Size-2": "96", "Denoising strength": "0.5", "Hires resize-1": "96", "Hires resize-2": "144",
            "Hires steps": "8", "Hires upscaler": "Lanczos",
        }.items()  # fmt: skip
    capfd.readouterr()
    assert main(["--url", shipped.url(""), "inspect", done["id"], "--index", "1"]) == 0
    lines = dict(line.split(None, 1) for line in capfd.readouterr().out.splitlines() if len(line.split(None, 1)) == 2)
    assert (lines["seed"], lines["variation_seed"], lines["index"]) == ("5", "41", "1")


def test_an_image_made_alone_is_the_same(shipped: Stack, done: dict[str, Any]) -> None:
    alone = shipped.wait(shipped.submit(**{**WANTED, "num_images": 1, "variation": {"seed": 41, "strength": 0.25}}))
    one, other = (np.asarray(image(shipped, job_id, index)).astype(int)
                  for job_id, index in ((done["id"], 1), (alone["id"], 0)))  # fmt: skip
    assert np.abs(one - other).max() <= 4  # sums over a batch are rounded in another order


def test_without_a_variation_the_text_has_the_images_own_seed(shipped: Stack) -> None:
    view = shipped.wait(shipped.submit(model="demo-image", prompt="x", seed=5, steps=2, num_images=2))
    said = [infotext.parse(image(shipped, view["id"], index).info["parameters"]) for index in range(2)]
    assert [one["Seed"] for one in said] == ["5", "6"]
    assert "Variation seed" not in said[1]
    assert "Hires resize-1" not in said[1]


def test_refused_before_anything_is_queued(shipped: Stack) -> None:
    before = shipped.queue()["submitted"]
    for fields, field in [
        ({"hires": {"scale": 0.5}}, "hires.scale"),
        ({"hires": {"scale": -1}}, "hires.scale"),
        ({"hires": {"scale": "big"}}, "hires.scale"),
        ({"variation": {"strength": 2}}, "variation.strength"),
        ({"prior": {"steps": 2}}, "prior"),
    ]:
        answer = shipped.post(model="demo-image", prompt="x", **fields)
        assert answer.status_code == 422, answer.text
        assert field in [problem["field"] for problem in answer.json()["error"]["fields"]]
    assert shipped.queue()["submitted"] == before
