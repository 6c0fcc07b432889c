"""Images of controls that are made of photographs: the edges are those of OpenCV."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image


def scene() -> np.ndarray:
    """Return (48, 64, 3) uint8 with curves, corners, and edges of different channels."""
    y, x = np.mgrid[:48, :64]
    blue = np.where((x // 9 + y // 7) % 2, 220, 30)
    return np.stack([(x * y * 7) % 256, ((x - 30) ** 2 + (y - 20) ** 2) // 4 % 256, blue], -1).astype(np.uint8)


#: Thresholds, pixels on edges, and the digest of what ``cv2.Canny`` of OpenCV 5.0.0 returns.
OPENCV = [
    (100, 200, 909, "39ccb030b099d452"),
    (300, 900, 461, "382a6688be5515c0"),
    (64, 64, 910, "000552bbf38df99c"),
]


@pytest.mark.parametrize(("low", "high", "count", "digest"), OPENCV)
def test_edges_are_those_of_opencv(low: float, high: float, count: int, digest: str) -> None:
    from workers.diffusion.inputs.preprocessing import canny

    edges = canny(scene(), low, high)
    assert (edges.shape, edges.dtype, int((edges == 255).sum())) == ((48, 64), np.uint8, count)
    assert hashlib.sha256(edges.tobytes()).hexdigest()[:16] == digest


def test_flat_and_tiny_pictures_have_no_edges() -> None:
    from workers.diffusion.inputs.preprocessing import canny

    assert not canny(np.full((16, 16, 3), 200, np.uint8), 1, 1).any()
    assert not canny(np.zeros((1, 1, 3), np.uint8), 1, 1).any()


def test_what_a_request_says_is_made_of_its_picture() -> None:
    from workers.diffusion.inputs.preprocessing import canny, preprocessed

    picture = Image.fromarray(scene())
    assert preprocessed(picture, {}) is picture
    assert np.array_equal(np.asarray(preprocessed(picture, {"preprocess": "invert"})), 255 - scene())
    edges = preprocessed(picture, {"preprocess": "canny", "low_threshold": 300.0, "high_threshold": 900.0})
    assert (edges.mode, edges.size) == ("RGB", (64, 48))
    assert np.array_equal(np.asarray(edges)[..., 1], canny(scene(), 300, 900))
