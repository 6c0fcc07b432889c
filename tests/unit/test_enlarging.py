"""Scaling a picture in bands of rows."""

from __future__ import annotations

import random

import pytest
from PIL import Image, ImageChops

from app.protocols.a1111 import enlarging

NEAREST, LANCZOS = Image.Resampling.NEAREST, Image.Resampling.LANCZOS


@pytest.mark.parametrize("resampling", [NEAREST, LANCZOS])
@pytest.mark.parametrize("size", [(80, 600), (80, 1433), (33, 599), (50, 7), (40, 1)])
def test_a_picture_scaled_in_bands_has_no_seams(size: tuple[int, int], resampling: Image.Resampling) -> None:
    noise = random.Random(1).randbytes(40 * 300 * 3)
    picture = Image.frombytes("RGB", (40, 300), noise)
    at_once = picture.resize((size[0], 300), resampling).resize(size, resampling)
    in_bands = enlarging._scaled_picture(picture, size, resampling)
    difference = max(high for _, high in ImageChops.difference(at_once, in_bands).getextrema())
    assert difference <= 1  # of rounding
