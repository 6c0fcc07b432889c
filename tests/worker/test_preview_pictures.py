"""Content of previews: the right cells of any latents, without noise, in the colours of the model's decoder."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from jobs.settings import PROJECT_ROOT

STEPS = 8


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Use one thread: several that wait for each other are slow when the machine is busy."""
    import torch

    torch.set_num_threads(1)


class Asking:
    """A reporter that requests a preview of every step, at once."""

    preview_wanted = True

    def __init__(self) -> None:
        self.shown: list[tuple[int, np.ndarray]] = []

    def preview_due(self) -> bool:
        return True

    def preview(self, step: int, draw: Any) -> None:
        content, media_type = draw()
        assert media_type == "image/jpeg"
        self.shown.append((step, np.asarray(Image.open(io.BytesIO(content))).astype(float)))


def request(kind: Kind = Kind.TEXT2IMG, width: int = 256, height: int = 256, frames: int = 1) -> GenerationRequest:
    return GenerationRequest(
        model="m", kind=kind, prompt="", negative_prompt="", seed=0, steps=STEPS, guidance_scale=3,
        width=width, height=height, frames=frames,
    )  # fmt: skip


def shipped(name: str) -> Any:
    import diffusers
    import torch

    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        PROJECT_ROOT / "models" / name, dtype=torch.float32, use_safetensors=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(pipeline: Any, wanted: GenerationRequest, decoder: str | None = None, **more: Any) -> tuple[Asking, np.ndarray]:
    """Return the previews of all steps, and the result (of a video the middle frame), (height, width, 3)."""
    import torch

    from workers.diffusion.preview import Previews

    reporter = Asking()
    previews = Previews(pipeline, wanted, reporter, decoder)  # type: ignore[arg-type]

    def on_step_end(_pipeline: Any, step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        previews.step(step + 1, tensors["latents"])
        return tensors

    with torch.inference_mode():
        output = pipeline(
            "a red circle on a blue background", num_inference_steps=STEPS, guidance_scale=3.0,
            generator=torch.Generator().manual_seed(1), output_type="np", callback_on_step_end=on_step_end,
            **({"width": wanted.width, "height": wanted.height} if "image" not in more else {}), **more,
        )  # fmt: skip
    picture = output.frames[0][wanted.frames // 2] if wanted.frames > 1 else output.images[0]
    return reporter, 255 * np.asarray(picture)


def likenesses(reporter: Asking, result: np.ndarray) -> list[float]:
    return [float(np.corrcoef(picture.ravel(), result.ravel())[0, 1]) for _, picture in reporter.shown]


@pytest.fixture(scope="module")
def image_run() -> tuple[Asking, np.ndarray]:
    """Return a run of the shipped image model."""
    return run(shipped("demo-image"), request())


def test_previews_of_an_image_come_nearer_to_it(image_run: tuple[Asking, np.ndarray]) -> None:
    reporter, result = image_run
    found = likenesses(reporter, result)
    assert [step for step, _ in reporter.shown] == list(range(2, STEPS + 1))  # a preview needs two steps
    assert found[0] > 0.6
    assert found[-1] > 0.85  # its cells are 16 pixels wide
    assert found[-1] > found[0]


def test_previews_of_a_video_show_its_middle() -> None:
    wanted = request(Kind.TEXT2VIDEO, width=96, height=64, frames=9)
    options = {"frames": 9, "use_resolution_binning": False, "complex_human_instruction": []}
    reporter, result = run(shipped("demo-video"), wanted, **options)
    found = likenesses(reporter, result)
    assert found[-1] > 0.8
    assert found[-1] > found[0]


def test_a_run_that_begins_in_the_middle_knows_its_noise() -> None:
    import diffusers

    pipeline = diffusers.StableDiffusionImg2ImgPipeline(
        **shipped("demo-image").components, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    reporter, result = run(pipeline, request(Kind.IMG2IMG), image=Image.new("RGB", (256, 256), "green"), strength=0.5)
    assert len(reporter.shown) == STEPS // 2 - 1
    assert min(likenesses(reporter, result)) > 0.6


def test_of_several_images_the_first_is_shown() -> None:
    reporter, result = run(shipped("demo-image"), request(), num_images_per_prompt=2)
    assert likenesses(reporter, result)[-1] > 0.85


def test_a_tiny_decoder_shows_more_than_cells(image_run: tuple[Asking, np.ndarray]) -> None:
    plain = likenesses(*image_run)[-1]
    fine = likenesses(*run(shipped("demo-image"), request(), str(PROJECT_ROOT / "models/demo-image/vae")))[-1]
    assert fine > max(plain, 0.99)


def test_previews_do_not_change_the_result(image_run: tuple[Asking, np.ndarray]) -> None:
    import torch

    pipeline = shipped("demo-image")
    with torch.inference_mode():
        plain = pipeline(
            "a red circle on a blue background", num_inference_steps=STEPS, guidance_scale=3.0, width=256, height=256,
            generator=torch.Generator().manual_seed(1), output_type="np",
        ).images[0]  # fmt: skip
    assert np.array_equal(image_run[1], 255 * plain)


@pytest.mark.parametrize("trouble", ["no decoder", "a decoder that fails", "unknown latents"])
def test_what_cannot_be_shown_does_not_harm_the_run(trouble: str) -> None:
    import torch

    from workers.diffusion.preview import Previews

    pipeline = shipped("demo-image")
    latents = torch.zeros(1, 4, 16, 16)
    if trouble == "no decoder":
        pipeline.vae = None
    elif trouble == "a decoder that fails":
        pipeline.vae.decoder = torch.nn.Conv2d(7, 3, 1)
    else:
        latents = torch.zeros(1, 5, 16, 16)
    reporter = Asking()
    previews = Previews(pipeline, request(), reporter, None)  # type: ignore[arg-type]
    pipeline.scheduler.set_timesteps(STEPS)
    for done in range(1, 4):
        previews.step(done, latents)
    assert reporter.shown == []
    assert not previews.fitting


def test_a_large_picture_is_shown_small() -> None:
    import torch

    from workers.diffusion.preview import Previews

    pipeline, reporter = shipped("demo-image"), Asking()
    previews = Previews(pipeline, request(width=1024, height=768), reporter, None)  # type: ignore[arg-type]
    pipeline.scheduler.set_timesteps(STEPS)
    for done in (1, 2):
        previews.step(done, torch.randn(1, 4, 48, 64))
    assert reporter.shown[0][1].shape == (384, 512, 3)


# ---- latents


@pytest.mark.parametrize("layout", ["map", "video", "CogVideoX", "FLUX", "LTX"])
def test_cells_are_found_in_every_layout(layout: str) -> None:
    """The latents are packed as the pipelines themselves pack them."""
    import diffusers
    import torch

    from workers.diffusion.latents import cells

    channels, frames, rows, columns = 16, 5, 6, 10
    video = torch.arange(2 * channels * frames * rows * columns, dtype=torch.float32)
    video = video.reshape(2, channels, frames, rows, columns)
    image = video[:, :, frames // 2]
    flux = diffusers.FluxPipeline._pack_latents(image, 2, channels, rows, columns)
    packed = {
        "map": ("StableDiffusionPipeline", image),
        "video": ("WanPipeline", video),
        "CogVideoX": ("CogVideoXPipeline", video.transpose(1, 2)),
        "FLUX": ("FluxPipeline", flux),
        "LTX": ("LTXPipeline", diffusers.LTXPipeline._pack_latents(video)),
    }
    name, latents = packed[layout]
    found = cells(type(name, (), {})(), latents, channels, rows, columns)
    assert found is not None
    assert torch.equal(found, image[0])


@pytest.mark.parametrize("shape", [(1, 60, 17), (1, 61, 16), (1, 5, 6, 10), (1, 16)])
def test_other_latents_are_not_guessed(shape: tuple[int, ...]) -> None:
    import torch

    from workers.diffusion.latents import cells

    assert cells(object(), torch.zeros(shape), 16, 6, 10) is None


SOLVERS = {
    "DDIMScheduler": {"clip_sample": False}, "PNDMScheduler": {"skip_prk_steps": True}, "EulerDiscreteScheduler": {},
    "LMSDiscreteScheduler": {}, "HeunDiscreteScheduler": {}, "DPMSolverMultistepScheduler": {},
    "UniPCMultistepScheduler": {}, "DEISMultistepScheduler": {}, "FlowMatchEulerDiscreteScheduler": {"shift": 3.0},
}  # fmt: skip


@pytest.mark.parametrize("name", SOLVERS)
def test_the_picture_behind_the_noise_is_found(name: str) -> None:
    """With a model that knows the picture, every solver goes straight to it, and the estimate must find it."""
    import diffusers
    import torch

    from workers.diffusion.latents import Schedule, difference, without_noise

    scheduler = getattr(diffusers, name)(**SOLVERS[name])
    flow = name.startswith("Flow")
    scheduler.set_timesteps(STEPS)
    picture, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    latents = noise * float(getattr(scheduler, "init_noise_sigma", 1.0))
    pipeline = type("Pipeline", (), {"scheduler": scheduler, "num_timesteps": len(scheduler.timesteps)})()
    schedule, before, errors = None, None, []
    for done, time in enumerate(scheduler.timesteps, 1):
        if flow:
            sigma = time / scheduler.config.num_train_timesteps
            predicted = (latents - picture) / sigma
        else:
            seen = scheduler.scale_model_input(latents, time)
            kept = scheduler.alphas_cumprod[min(999, round(float(time)))].double()
            if float(time) != int(time):  # heun and others use times between whole numbers
                kept = torch.as_tensor(np.interp(float(time), np.arange(1000), scheduler.alphas_cumprod.double()))
            predicted = (seen - kept.sqrt() * picture) / (1 - kept).sqrt()
        latents = scheduler.step(predicted, time, latents).prev_sample
        schedule = schedule or Schedule(pipeline)
        level = schedule.after(done)
        assert schedule.is_deterministic
        assert level is not None
        if before is not None and difference(level, before[1]):
            found = without_noise(latents, level, *before)
            errors.append(float((found - picture).abs().mean()))
        if before is None or difference(level, before[1]):
            before = (latents, level)
    assert len(errors) >= STEPS // 2
    assert max(errors) < 0.15  # the values of the pictures and of the noise are about 1
    assert errors[-1] < 0.02


@pytest.mark.parametrize("name", ["EulerAncestralDiscreteScheduler", "LCMScheduler", "DDPMScheduler"])
def test_solvers_that_add_noise_are_known(name: str) -> None:
    import diffusers

    from workers.diffusion.latents import Schedule

    scheduler = getattr(diffusers, name)()
    scheduler.set_timesteps(4)
    assert not Schedule(type("Pipeline", (), {"scheduler": scheduler, "num_timesteps": 4})()).is_deterministic
