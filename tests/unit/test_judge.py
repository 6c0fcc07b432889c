"""The judge of the demo models' pictures: it tells shapes, numbers and outlines apart."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from models.training.captions import Sample
from models.training.judge import edge_width, judge_image, look, pieces
from models.training.scenes import SHAPES, Scene, Thing, draw


def sample(shape: str, colour: str = "red") -> Sample:
    things = (Thing(shape, colour, 0.26, 0.5, 0.16), Thing(shape, colour, 0.74, 0.5, 0.16))
    return Sample("", Scene("white", things), "count")


def drawn(wanted: Sample, size: int = 256) -> np.ndarray:
    return draw(wanted.scene.background, wanted.scene.things, size)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_drawing_is_right_and_another_shape_or_number_is_not(shape: str) -> None:
    assert all(judge_image(sample(shape), drawn(sample(shape))).values())
    other = judge_image(sample(shape), drawn(sample("square" if shape != "square" else "heart")))
    assert (other["count"], other["colours"], other["shapes"], other["all"]) == (True, True, False, False)
    single = drawn(sample(shape)).copy()
    single[:, 128:] = single[0, 0]
    assert not judge_image(sample(shape), single)["count"]


def test_a_blob_is_no_outline() -> None:
    """A square with round corners and bent sides is still nearest to a square, but not drawn like one."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    radius = 0.45 + 0.12 * np.cos(4 * (np.arctan2(y, x) - np.pi / 4))
    blob = np.where((np.hypot(x, y) < radius)[..., None], (222, 36, 36), (250, 250, 250)).astype(np.uint8)
    wanted = Sample("", Scene("white", (Thing("square", "red", 0.5, 0.5, 0.25),)), "one")
    marks = judge_image(wanted, blob)
    assert (marks["shapes"], marks["outlines"]) == (True, False), look(blob)


def test_pieces_that_meet_below_are_one() -> None:
    letter = np.array([[1, 0, 1, 0, 0], [1, 0, 1, 0, 1], [1, 1, 1, 0, 1], [0, 0, 0, 1, 0]], bool)
    assert sorted(int(piece.sum()) for piece in pieces(letter)) == [1, 2, 7]


def test_soft_edges_are_wider() -> None:
    sharp = drawn(sample("circle"))
    soft = np.asarray(Image.fromarray(sharp).resize((64, 64), Image.Resampling.BOX).resize((256, 256)))
    assert edge_width(sharp) < 1.2
    assert edge_width(soft) > 3
