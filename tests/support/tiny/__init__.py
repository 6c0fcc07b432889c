"""Tiny pipelines with random weights: real diffusers folders for the tests, made in seconds.

They load, step and stop like large ones; their pictures are meaningless. ``python -m tests.support.tiny FOLDER
[families]`` makes them. The modules of this package need torch; this one does not.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from jobs.settings import PROJECT_ROOT

_BASE = """
[tiny-image]
{image}
kinds = ["text2img", "img2img"]
defaults = {{ steps = 4, width = 32, height = 32 }}
limits = {{ steps = [1, 100000], width = [16, 128], height = [16, 128] }}

[tiny-video]
{video}
kinds = ["text2video", "img2video"]
size_multiple_px = 32
frames_step = 8
defaults = {{ steps = 4, width = 32, height = 32, frames = 9, fps = 8 }}
limits = {{ steps = [1, 100000], width = [32, 64], height = [32, 64], frames = [9, 33] }}

[broken]
source = "./broken"
kinds = ["text2img"]
"""
#: The models that most tests need: one for images and one for video.
BASE = _BASE.format(
    image='source = "./tiny-image"\npipelines = { img2img = "StableDiffusionImg2ImgPipeline" }',
    video='source = "./tiny-video"\npipelines = { img2video = "LTXImageToVideoPipeline" }',
)
#: The same models, drawn.
DRAWN = _BASE.format(image='executor = "drawing"', video='executor = "drawing"')


def written(folder: Path, more: str) -> Path:
    """Write a models file with the models of BASE and others."""
    file = folder / "models.toml"
    file.write_text(BASE + more)
    return file


#: One model of each family, with all its features.
FAMILIES = """
[sd]
source = "./sd"
kinds = ["text2img", "img2img", "inpaint"]
pipelines = { img2img = "StableDiffusionImg2ImgPipeline", inpaint = "StableDiffusionInpaintPipeline" }
schedulers = "diffusion"
loras = "./loras"
fields = { clip_skip = "clip_skip" }
defaults = { steps = 4, width = 32, height = 32, strength = 0.5 }
[sd.controls.edges]
type = "controlnet"
source = "./controls/sd-edges"
[sd.controls.depth]
type = "controlnet"
source = "./controls/sd-depth"
defaults = { scale = 0.7 }
limits = { scale = [0, 1.5] }
[sd.controls.sketch]
type = "t2i-adapter"
source = "./controls/sd-sketch"
[sd.controls.style]
type = "ip-adapter"
source = "./controls"
subfolder = "sd-style"
weight_name = "style.safetensors"
[sd.controls.face]
type = "ip-adapter"
source = "./controls/sd-style"
weight_name = "face.safetensors"
image_encoder = "./controls"
image_encoder_subfolder = "sd-style/image_encoder"

[sd-styled]
source = "./sd"
kinds = ["text2img"]
scheduler = "Euler a"
loras = "./loras"
default_loras = { grain = 0.5 }
defaults = { steps = 4, width = 32, height = 32 }

[sdxl]
source = "./sdxl"
kinds = ["text2img", "img2img", "inpaint"]
pipelines = { img2img = "StableDiffusionXLImg2ImgPipeline", inpaint = "StableDiffusionXLInpaintPipeline" }
schedulers = "diffusion"
defaults = { steps = 4, width = 32, height = 32, strength = 0.5 }
[sdxl.controls.edges]
type = "controlnet"
source = "./controls/sdxl-edges"
[sdxl.controls.pose]
type = "controlnet"
source = "./controls/sdxl-union"
mode = 0
[sdxl.controls.depth]
type = "controlnet"
source = "./controls/sdxl-union"
mode = 1

# As on a GPU: the VAE is float32 while it decodes.
[sdxl-half]
source = "./sdxl"
kinds = ["text2img", "img2img"]
pipelines = { img2img = "StableDiffusionXLImg2ImgPipeline" }
dtype = "float16"
defaults = { steps = 4, width = 32, height = 32, strength = 0.5 }

[flux]
source = "./flux"
kinds = ["text2img", "img2img", "inpaint"]
pipelines = { img2img = "FluxImg2ImgPipeline", inpaint = "FluxInpaintPipeline" }
schedulers = ["Euler", "UniPC"]
size_multiple_px = 4
arguments = { max_sequence_length = 16 }
defaults = { steps = 4, width = 16, height = 16, strength = 0.5 }
[flux.controls.edges]
type = "controlnet"
source = "./controls/flux-edges"
[flux.controls.style]
type = "ip-adapter"
source = "./controls/flux-style"
weight_name = "style.safetensors"
image_encoder = "./controls/sd-style"
image_encoder_subfolder = "image_encoder"
kinds = ["text2img", "img2img"]

# Models that were trained to see the mask and what is around it.
[sd-fill]
source = "./sd-fill"
kinds = ["inpaint"]
defaults = { steps = 4, width = 32, height = 32 }

[flux-fill]
source = "./flux-fill"
kinds = ["inpaint"]
size_multiple_px = 4
arguments = { max_sequence_length = 16 }
defaults = { steps = 4, width = 16, height = 16 }

# Models that edit images as the prompt says.
[flux-kontext]
source = "./flux-kontext"
kinds = ["edit"]
size_multiple_px = 4
arguments = { max_sequence_length = 16, _auto_resize = false }
defaults = { steps = 4, width = 16, height = 16 }

[flux2]
source = "./flux2"
kinds = ["text2img", "edit"]
size_multiple_px = 4
arguments = { max_sequence_length = 16, text_encoder_out_layers = [1, 2] }
defaults = { steps = 4, width = 16, height = 16 }
limits = { images = [1, 3] }

[kandinsky]
source = "./kandinsky/decoder"
prior = "./kandinsky/prior"
prior_arguments = { num_inference_steps = 2 }
kinds = ["text2img", "mix2img", "img2img"]
pipelines = { img2img = "KandinskyV22Img2ImgPipeline" }
size_multiple_px = 64
defaults = { steps = 4, width = 64, height = 64, strength = 0.5 }

[kandinsky-inpaint]
source = "./kandinsky/inpaint"
prior = "./kandinsky/prior"
prior_arguments = { num_inference_steps = 2 }
kinds = ["inpaint"]
size_multiple_px = 64
defaults = { steps = 4, width = 64, height = 64 }
limits = { strength = [1, 1] }

[kandinsky-combined]
source = "./kandinsky/combined"
prior_arguments = { num_inference_steps = 2 }
kinds = ["text2img", "mix2img", "img2img"]
pipelines = { img2img = "KandinskyV22Img2ImgPipeline" }
size_multiple_px = 64
defaults = { steps = 4, width = 64, height = 64, strength = 0.5 }

[ltx]
source = "./ltx"
kinds = ["text2video", "img2video"]
pipelines = { img2video = "LTXImageToVideoPipeline" }
schedulers = ["Euler", "UniPC"]
size_multiple_px = 32
frames_step = 8
defaults = { steps = 4, width = 32, height = 32, frames = 9, fps = 8 }

[ltx2]
source = "./ltx2"
kinds = ["text2video", "img2video"]
pipelines = { img2video = "LTX2ImageToVideoPipeline" }
size_multiple_px = 32
frames_step = 8
arguments = { max_sequence_length = 32 }
defaults = { steps = 4, width = 32, height = 32, frames = 9, fps = 8, audio_output = true }

# A class that is not part of diffusers: the file is that of the documentation.
[ltx2-talking]
source = "./ltx2"
pipeline = "talking.py:SoundToVideo"
kinds = ["text2video", "img2video"]
fields = { audio = "audio" }
needs = ["audio"]
audio_rate_hz = 16000
size_multiple_px = 32
frames_step = 8
arguments = { max_sequence_length = 32 }
defaults = { steps = 4, width = 32, height = 32, frames = 9, fps = 8, audio_output = true }

# Modular blocks: a family that has nothing else, and one that is a pipeline as well.
[anima]
source = "./anima"
loader = "modular"
kinds = ["text2img", "img2img"]
schedulers = ["Euler", "UniPC"]
size_multiple_px = 16
arguments = { max_sequence_length = 32 }
defaults = { steps = 4, width = 32, height = 32, guidance_scale = 4.0, strength = 0.5 }

[ltx2-modular]
source = "./ltx2"
loader = "modular"
blocks = "LTX2AutoBlocks"
kinds = ["text2video"]
size_multiple_px = 32
frames_step = 8
arguments = { max_sequence_length = 32 }
defaults = { steps = 4, width = 32, height = 32, frames = 9, fps = 8, audio_output = true }

[wan]
source = "./wan/t2v"
kinds = ["text2video"]
schedulers = "flow"
size_multiple_px = 16
frames_step = 4
arguments = { max_sequence_length = 16 }
defaults = { steps = 4, width = 16, height = 16, frames = 5, fps = 8 }

# Its second transformer computes the later steps.
[wan-high-low]
source = "./wan/high-low"
kinds = ["text2video"]
size_multiple_px = 16
frames_step = 4
arguments = { max_sequence_length = 16 }
defaults = { steps = 4, width = 16, height = 16, frames = 5, fps = 8 }

# The same pipelines as models that were trained for a last image, for videos, and for conditions.
[wan-flf2v]
source = "./wan/i2v"
kinds = ["img2video"]
size_multiple_px = 16
frames_step = 4
fields = { last_image = "last_image" }
arguments = { max_sequence_length = 16 }
defaults = { steps = 4, width = 16, height = 16, frames = 5, fps = 8 }

[wan-v2v]
source = "./wan/t2v"
kinds = ["video2video"]
pipelines = { video2video = "WanVideoToVideoPipeline" }
size_multiple_px = 16
frames_step = 4
arguments = { max_sequence_length = 16 }
defaults = { steps = 4, width = 16, height = 16, frames = 5, fps = 8, strength = 0.75 }

[ltx-conditions]
source = "./ltx"
kinds = ["img2video", "video2video"]
pipelines = { img2video = "LTXConditionPipeline", video2video = "LTXConditionPipeline" }
size_multiple_px = 32
frames_step = 8
defaults = { steps = 4, width = 32, height = 32, frames = 17, fps = 8 }
[ltx-conditions.fields]
image = "conditions"
last_image = "conditions"
video = "conditions"
strength = "denoise_strength"
frames = "num_frames"

[wan-i2v]
source = "./wan/i2v"
kinds = ["img2video"]
size_multiple_px = 16
frames_step = 4
arguments = { max_sequence_length = 16 }
defaults = { steps = 4, width = 16, height = 16, frames = 5, fps = 8 }

[cogvideox]
source = "./cogvideox"
kinds = ["text2video"]
size_multiple_px = 16
frames_step = 8
arguments = { max_sequence_length = 16 }
defaults = { steps = 4, width = 16, height = 16, frames = 9, fps = 8 }

# A pipeline that nothing in Framemill knows: no prompt, no size, no step callback, other names.
[unknown]
source = "./unconditional"
kinds = ["text2img"]
arguments = { use_clipped_model_output = true }
fields = { num_images = "batch_size", guidance_scale = "eta" }
output = "images"
defaults = { steps = 4, width = 16, height = 16, guidance_scale = 0.0 }
limits = { width = [16, 16], height = [16, 16], guidance_scale = [0, 1] }
"""


def write_broken(folder: Path) -> None:
    """Write the model of BASE that looks sound until it is loaded: it has no weights."""
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (folder / "broken").mkdir(exist_ok=True)
    (folder / "broken" / "model_index.json").write_text(json.dumps(index))


def make(folder: Path, *what: str) -> Path:
    """Make the pipelines below ``folder`` in a separate process, which needs torch; return the models file.

    Args:
        folder: the target; pipelines that exist there stay.
        what: nothing for the two that most tests need, ``families`` for one of each family.
    """
    command = [sys.executable, "-m", "tests.support.tiny", str(folder), *what]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / f"{what[0] if what else 'models'}.toml"


def copy(folder: Path, *what: str) -> Path:
    """Copy the pipelines into ``folder``; return the models file. Arguments as for :func:`make`.

    Pipelines are made once for each version of this package and its libraries. They are kept in the folder for
    temporary files, so that the processes of a test run, and later runs, share them.
    """
    page = PROJECT_ROOT / "docs" / "own-pipelines.md"  # the source of a class
    sources = [path.read_bytes() for path in [*sorted(Path(__file__).parent.glob("*.py")), page]]
    versions = [version(name) for name in ("torch", "diffusers", "transformers")]
    digest = hashlib.sha256(b"".join(sources) + repr((versions, what)).encode()).hexdigest()[:16]
    made = Path(tempfile.gettempdir(), f"framemill-tiny-{os.getuid()}-{digest}")
    with open(f"{made}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            part = made.with_name(f"{made.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            make(part, *what)
            part.rename(made)
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return folder / f"{what[0] if what else 'models'}.toml"
