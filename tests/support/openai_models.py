"""Models and pictures for tests of OpenAI's API."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

MODELS = """
[painter]
kinds = ["text2img", "img2img", "inpaint"]
executor = "drawing"
aliases = ["gpt-image-*", "dall-e-2"]
loras = "."
defaults = { steps = 4, width = 32, height = 32 }
limits = { steps = [1, 100000], width = [16, 128], height = [16, 128], num_images = [1, 4] }

[mixer]
kinds = ["text2img", "mix2img"]
executor = "drawing"
defaults = { steps = 4, width = 32, height = 32 }
limits = { num_images = [1, 1] }

[film]
kinds = ["text2video", "img2video"]
executor = "drawing"
aliases = ["sora-*"]
frames_step = 8
defaults = { steps = 4, width = 32, height = 32, frames = 9, fps = 8 }
limits = { steps = [1, 100000], width = [32, 64], height = [32, 64], frames = [9, 33] }

[broken]
kinds = ["text2img"]
executor = "drawing"
"""


def png(colour: Any = "red", size: tuple[int, int] = (32, 32), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()
