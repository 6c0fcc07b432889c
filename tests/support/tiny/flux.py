"""FLUX.1."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxFillPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)

from tests.support.tiny.text import clip, clip_tokenizer, t5, t5_tokenizer


def build_flux(folder: Path) -> None:
    """Write a FluxPipeline with guidance: multiples of 4 px."""
    build(FluxPipeline, folder, in_channels=4)


def build_flux_fill(folder: Path) -> None:
    """Write a FluxFillPipeline: its transformer gets latents, those of the masked image, and 4 × 4 mask pixels."""
    build(FluxFillPipeline, folder, in_channels=4 + 4 + 16, out_channels=4)


def build(pipeline: type[DiffusionPipeline], folder: Path, **more: int) -> None:
    """Write a pipeline of the parts of FLUX.1; ``more``: channels of its transformer."""
    torch.manual_seed(0)
    pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=AutoencoderKL(
            block_out_channels=(4, 4), layers_per_block=1, latent_channels=1, norm_num_groups=1,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0609, scaling_factor=1.5035,
        ),
        text_encoder=clip(32),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
        transformer=FluxTransformer2DModel(
            patch_size=1, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
            guidance_embeds=True, **more,
        ),
    ).save_pretrained(folder)  # fmt: skip
