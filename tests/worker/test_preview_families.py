"""Previews of the families of diffusers: what is painted are the latents that the pipeline hands to its decoder."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from tests.worker.test_preview_pictures import Asking

#: The first test waits until all models are made.
pytestmark = pytest.mark.timeout(300)

WIDTH, HEIGHT, FRAMES, STEPS = 128, 64, 9, 3
#: Family → the folder of its tiny pipeline, and what its call needs besides size and steps.
FOLDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "FLUX.1": ("flux", {"prompt": "a", "max_sequence_length": 16}),
    "FLUX.2": ("flux2", {"prompt": "a", "max_sequence_length": 16, "text_encoder_out_layers": [1, 2]}),
    "SDXL": ("sdxl", {"prompt": "a"}),
    "Kandinsky 2.2": ("kandinsky/decoder", {}),
    "LTX": ("ltx", {"prompt": "a", "max_sequence_length": 16, "num_frames": FRAMES}),
    "LTX-2": ("ltx2", {"prompt": "a", "max_sequence_length": 32, "num_frames": FRAMES}),
    "Wan": ("wan/t2v", {"prompt": "a", "max_sequence_length": 16, "num_frames": FRAMES}),
    "CogVideoX": ("cogvideox", {"prompt": "a", "max_sequence_length": 16, "num_frames": FRAMES}),
}
BUILT = {
    "Qwen-Image": "qwen_image", "Kandinsky 5 image": "kandinsky5_image", "Z-Image": "z_image",
    "Stable Diffusion 3": "stable_diffusion_3", "Kandinsky 5": "kandinsky5_video", "HunyuanVideo": "hunyuan_video",
    "Mochi": "mochi",
}  # fmt: skip
VIDEOS = {"LTX", "LTX-2", "Wan", "CogVideoX", "Kandinsky 5", "HunyuanVideo", "Mochi"}


def pipeline_of(family: str, folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return the pipeline of a family, whose decoder has means and deviations of its own, and arguments of its call."""
    import diffusers
    import torch

    from tests.support.tiny import latent_families

    torch.manual_seed(0)
    torch.set_num_threads(1)
    if family in FOLDERS:
        name, call = FOLDERS[family]
        pipeline: Any = diffusers.DiffusionPipeline.from_pretrained(str(folder / name), use_safetensors=True)
        if family.startswith("Kandinsky"):
            embedding = torch.randn(1, 32)
            call = {"image_embeds": embedding, "negative_image_embeds": -embedding}
    else:
        pipeline, call = getattr(latent_families, BUILT[family])()
        call = {**call, **({"num_frames": FRAMES} if family in VIDEOS else {})}
    pipeline.set_progress_bar_config(disable=True)
    vae = getattr(pipeline, "vae", None) or pipeline.movq
    channels = int(vae.config.get("latent_channels") or vae.config["z_dim"])
    for statistic, low in (("latents_mean", -1.0), ("latents_std", 0.5)):
        numbers = torch.rand(channels) + low
        if vae.config.get(statistic) is not None:
            vae.register_to_config(**{statistic: numbers.tolist()})
        elif statistic in dict(vae.named_buffers()):
            getattr(vae, statistic).copy_(numbers)
    if hasattr(vae, "bn"):
        vae.bn.running_mean.uniform_(-1, 1)
        vae.bn.running_var.uniform_(0.3, 3)
    return pipeline, call


def run(family: str, folder: Path) -> tuple[Any, Asking, np.ndarray, Any, Any]:
    """Return the pipeline, its previews, its output, its last latents, and those that its decoder got."""
    import torch

    from workers.diffusion import pictures
    from workers.diffusion.latent_space import decoder_of
    from workers.diffusion.preview import Previews

    pipeline, call = pipeline_of(family, folder)
    kind, frames = (Kind.TEXT2VIDEO, FRAMES) if family in VIDEOS else (Kind.TEXT2IMG, 1)
    request = GenerationRequest(
        model="m", kind=kind, prompt="", negative_prompt="", seed=0, steps=STEPS, guidance_scale=3, width=WIDTH,
        height=HEIGHT, frames=frames,
    )  # fmt: skip
    reporter = Asking()
    previews = Previews(pipeline, request, reporter, None)  # type: ignore[arg-type]
    decoder, seen = decoder_of(pipeline), {}
    decode = decoder.decode

    def decoding(latents: Any, *rest: Any, **more: Any) -> Any:
        if not previews.fitting:
            seen["decoded"] = latents.detach().clone()
        return decode(latents, *rest, **more)

    decoding.__signature__ = inspect.signature(decode)  # type: ignore[attr-defined]
    decoder.decode = decoding

    def on_step_end(_pipeline: Any, step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen["latents"] = tensors["latents"].detach().clone()
        previews.step(step + 1, tensors["latents"])
        return tensors

    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "In CPU autocast")  # some families ask for one in float32
        output = pipeline(
            num_inference_steps=STEPS, width=WIDTH, height=HEIGHT, output_type="np",
            generator=torch.Generator().manual_seed(1),
            callback_on_step_end=on_step_end, **call,
        )  # fmt: skip
    [frames] = pictures.of_output(output, "image" if hasattr(output, "image") else None, is_video=family in VIDEOS)
    return pipeline, reporter, frames[len(frames) // 2].astype(float), seen["latents"], seen["decoded"]


@pytest.mark.parametrize("family", [*FOLDERS, *BUILT])
def test_what_is_painted_is_what_is_decoded(family: str, families_file: Path) -> None:
    import torch

    from workers.diffusion.latent_space import LatentSpace, decoder_of
    from workers.diffusion.latents import cells
    from workers.diffusion.preview import _painters

    pipeline, reporter, result, latents, decoded = run(family, families_file.parent)
    painter = _painters[decoder_of(pipeline)]
    assert painter is not None
    assert result.shape == (HEIGHT, WIDTH, 3)
    rows, columns = HEIGHT // painter.cell_px, WIDTH // painter.cell_px
    space = LatentSpace(pipeline)
    found = cells(pipeline, latents, space.channels, rows, columns)
    assert found is not None
    even = torch.from_numpy(space.even(found.float().numpy()))
    [painted] = space.decodable(even[None])
    expected = decoded[0][:, decoded.shape[2] // 2] if decoded.ndim == 5 else decoded[0]
    assert torch.allclose(painted, expected.float(), atol=1e-4)
    # The preview has the shape of the picture, and resembles it a little: random weights are not linear.
    [*_, (step, preview)] = reporter.shown
    assert step == STEPS
    assert preview.shape[1] / preview.shape[0] == WIDTH / HEIGHT
    small = result.reshape(rows, painter.cell_px, columns, painter.cell_px, 3).mean((1, 3))
    height, width, _ = preview.shape
    seen = preview.reshape(rows, height // rows, columns, width // columns, 3).mean((1, 3))
    likeness = float(np.corrcoef(small.ravel(), seen.ravel())[0, 1])
    assert likeness > 0.05
