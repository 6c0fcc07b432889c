"""Calls with several loops: sections of a long video, a scheduler for each frame, iterations over the initial noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.folder_keeper import FolderKeeper

#: The first test imports torch.
pytestmark = pytest.mark.timeout(300)


def skyreels() -> Any:
    """Return a pipeline that has a copy of its scheduler for each frame of the latents."""
    import torch
    from diffusers import (
        AutoencoderKLWan,
        SkyReelsV2DiffusionForcingPipeline,
        SkyReelsV2Transformer3DModel,
        UniPCMultistepScheduler,
    )

    from tests.support.tiny.text import t5, t5_tokenizer

    torch.manual_seed(0)
    return SkyReelsV2DiffusionForcingPipeline(
        transformer=SkyReelsV2Transformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=16, out_channels=16,
            text_dim=32, freq_dim=256, ffn_dim=32, num_layers=1, cross_attn_norm=True,
            qk_norm="rms_norm_across_heads", rope_max_seq_len=32,
        ),
        vae=AutoencoderKLWan(
            base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
        ),
        scheduler=UniPCMultistepScheduler(flow_shift=8.0, use_flow_sigmas=True, prediction_type="flow_prediction"),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
    )  # fmt: skip


def animatediff() -> Any:
    """Return a pipeline that denoises twice, the second time from the noise of the first result."""
    import torch
    from diffusers import AnimateDiffPipeline, AutoencoderKL, DDIMScheduler, MotionAdapter, UNet2DConditionModel

    from tests.support.tiny.text import clip, clip_tokenizer

    torch.manual_seed(0)
    pipeline = AnimateDiffPipeline(
        unet=UNet2DConditionModel(
            block_out_channels=(8, 8), layers_per_block=1, sample_size=8, norm_num_groups=2, attention_head_dim=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), cross_attention_dim=8,
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        ),
        vae=AutoencoderKL(
            block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        ),
        motion_adapter=MotionAdapter(
            block_out_channels=(8, 8), motion_layers_per_block=1, motion_norm_num_groups=2, motion_num_attention_heads=4
        ),
        scheduler=DDIMScheduler(beta_schedule="linear", clip_sample=False),
        text_encoder=clip(8),
        tokenizer=clip_tokenizer(),
    )  # fmt: skip
    pipeline.enable_free_init(num_iters=2, use_fast_sampling=False)
    return pipeline


VIDEO = {"guidance_scale": 1.0, "max_sequence_length": 16, "num_inference_steps": 3}
CALLS: list[tuple[Any, dict[str, Any]]] = [
    (skyreels, {**VIDEO, "num_frames": 9, "ar_step": 2, "causal_block_size": 1}),
    (skyreels, {**VIDEO, "num_frames": 17, "base_num_frames": 9, "overlap_history": 5}),
    (animatediff, {"num_inference_steps": 3, "num_frames": 4}),
]


@pytest.mark.parametrize(("make", "call"), CALLS, ids=["frames", "sections", "iterations"])
def test_before_and_after_a_change_of_loops(tmp_path: Path, make: Any, call: dict[str, Any]) -> None:
    import torch

    from workers.checkpoints.file import Checkpoint
    from workers.checkpoints.recorder import RunRecorder
    from workers.pipelines import schedulers
    from workers.pipelines.load_options import denoisers

    pipeline = make()
    pipeline.set_progress_bar_config(disable=True)
    forwards = [0]
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    for denoiser in denoisers(pipeline).values():
        next(iter(denoiser.children())).register_forward_hook(lambda *_: forwards.append(1))

    def run(recorder: RunRecorder, done: int = 0) -> np.ndarray:
        generator = torch.Generator().manual_seed(7)

        def on_step_end(_pipeline: Any, _step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            nonlocal done
            if not recorder.is_silent:
                done += 1
                recorder.after_step(done, [])
            return tensors

        forwards.clear()
        with (
            torch.inference_mode(),
            recorder.call(pipeline, [generator], has_callback=True) as watch,
            schedulers.fresh(pipeline, watch=watch, generator=generator),
        ):
            output = pipeline(prompt="a cat", width=16, height=16, generator=generator, output_type="np",
                              callback_on_step_end=on_step_end, **call)  # fmt: skip
        return np.asarray(output[0])

    calm, computed = run(RunRecorder(None)), len(forwards)
    keeper = FolderKeeper(tmp_path, steps=range(100))
    assert np.array_equal(run(RunRecorder(keeper)), calm)
    assert (keeper.obstacles, keeper.asked) == ([], [*range(1, len(keeper.asked) + 1)])
    assert len(keeper.asked) > VIDEO["num_inference_steps"]
    last = len(keeper.asked)
    for step in (1, last // 2, last // 2 + 1, last):  # the end of a loop and the beginning of the next among them
        checkpoint = Checkpoint.read(keeper.path(step), {})
        resumed = run(RunRecorder(FolderKeeper(tmp_path / "none"), None, checkpoint), step)
        assert np.array_equal(resumed, calm), step
        assert len(forwards) * last == computed * (last - step)
