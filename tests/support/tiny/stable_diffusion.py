"""Stable Diffusion 1.5 and XL, and a pipeline that takes no text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)

from tests.support.tiny.text import clip, clip_tokenizer


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), norm_num_groups=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip


def _unet(width: int, **more: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=2, cross_attention_dim=width,
        attention_head_dim=2, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **more,
    )  # fmt: skip


def build_sd(folder: Path) -> None:
    """Write a StableDiffusionPipeline: from 16 px, multiples of 8."""
    _build_sd(StableDiffusionPipeline, folder, _ddim())


def build_sd_fill(folder: Path) -> None:
    """Write a StableDiffusionInpaintPipeline: its UNet gets latents, the mask, and the latents of the masked image."""
    _build_sd(StableDiffusionInpaintPipeline, folder, _ddim(), in_channels=9)


def build_endless_sd(folder: Path) -> None:
    """Write one with as many steps as a test of stopping may ask for, and the usual total noise."""
    _build_sd(
        StableDiffusionPipeline,
        folder,
        DDIMScheduler(clip_sample=False, steps_offset=1, num_train_timesteps=110_000, beta_start=1e-6, beta_end=2e-4),
    )


def _ddim() -> DDIMScheduler:
    return DDIMScheduler(clip_sample=False, steps_offset=1, beta_start=0.00085, beta_end=0.012)


def _build_sd(
    pipeline: type[StableDiffusionPipeline | StableDiffusionInpaintPipeline], folder: Path, scheduler: DDIMScheduler,
    **more: int,
) -> None:  # fmt: skip
    torch.manual_seed(0)
    pipeline(
        vae=_vae(),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        unet=_unet(16, **more),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def build_sdxl(folder: Path) -> None:
    """Write a StableDiffusionXLPipeline: from 16 px, multiples of 8."""
    torch.manual_seed(0)
    StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip(projected=True),
        tokenizer_2=clip_tokenizer(),
        unet=_unet(
            32, addition_embed_type="text_time", addition_time_embed_dim=8, transformer_layers_per_block=(1, 1),
            projection_class_embeddings_input_dim=6 * 8 + 16, use_linear_projection=True,
        ),
        scheduler=EulerDiscreteScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1,
            timestep_spacing="leading",
        ),
    ).save_pretrained(folder)  # fmt: skip


def build_unconditional(folder: Path) -> None:
    """Write a DDIMPipeline: no text, no size, no step callback; 16 px."""
    torch.manual_seed(0)
    DDIMPipeline(
        unet=UNet2DModel(
            sample_size=16, in_channels=3, out_channels=3, block_out_channels=(8, 16), layers_per_block=1,
            norm_num_groups=2, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=4,
        ),
        scheduler=DDIMScheduler(),
    ).save_pretrained(folder)  # fmt: skip
