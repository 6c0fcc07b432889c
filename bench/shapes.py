"""Make pipelines of known shapes with random weights as diffusers folders, without a download.

They are called with prompt embeddings instead of a prompt, so no real text encoder is needed. Their images are noise.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel


@dataclass(frozen=True)
class Shape:
    """One pipeline: its folder, and the arguments of a call except ``num_inference_steps``."""

    name: str
    folder: Path
    arguments: dict[str, Any]
    #: Name of the argument for the batch size.
    batch_argument: str
    video: bool


def sdxl(folder: Path, device: str, dtype: torch.dtype, *, tiny: bool) -> Shape:
    """Make Stable Diffusion XL: 2.6 billion parameters, 1024 x 1024 px."""
    width, channels = (32, (32, 64)) if tiny else (2048, (320, 640, 1280))
    blocks = len(channels)
    unet = UNet2DConditionModel(
        sample_size=8 if tiny else 128, block_out_channels=channels, layers_per_block=1 if tiny else 2,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (blocks - 1)),
        up_block_types=(*("CrossAttnUpBlock2D",) * (blocks - 1), "UpBlock2D"), cross_attention_dim=width,
        attention_head_dim=(2, 4) if tiny else (5, 10, 20), use_linear_projection=True,
        transformer_layers_per_block=(1, 1) if tiny else (1, 2, 10), addition_embed_type="text_time",
        addition_time_embed_dim=8 if tiny else 256, projection_class_embeddings_input_dim=80 if tiny else 2816,
    )  # fmt: skip
    levels = (32, 64) if tiny else (128, 256, 512, 512)
    vae = AutoencoderKL(
        block_out_channels=levels, latent_channels=4, layers_per_block=1 if tiny else 2,
        down_block_types=("DownEncoderBlock2D",) * len(levels), up_block_types=("UpDecoderBlock2D",) * len(levels),
    )  # fmt: skip
    pipeline = StableDiffusionXLPipeline(
        vae=vae, unet=unet, scheduler=EulerDiscreteScheduler(), text_encoder=None, text_encoder_2=None,
        tokenizer=None, tokenizer_2=None, force_zeros_for_empty_prompt=False, add_watermarker=False,
    )  # fmt: skip
    size = 32 if tiny else 1024

    def embeds(*shape: int) -> torch.Tensor:
        return torch.randn(1, *shape, dtype=dtype, device=device)

    arguments = {
        "prompt_embeds": embeds(77, width), "pooled_prompt_embeds": embeds(32 if tiny else 1280),
        "negative_prompt_embeds": embeds(77, width), "negative_pooled_prompt_embeds": embeds(32 if tiny else 1280),
        "width": size, "height": size,
    }  # fmt: skip
    return _saved("sdxl", pipeline, folder, dtype, arguments, "num_images_per_prompt", video=False)


def wan(folder: Path, device: str, dtype: torch.dtype, *, tiny: bool) -> Shape:
    """Make Wan 2.1 text-to-video: 1.3 billion parameters, 832 x 480 px, 81 frames."""
    text = 32 if tiny else 4096
    transformer = WanTransformer3DModel(
        num_attention_heads=2 if tiny else 12, attention_head_dim=12 if tiny else 128, num_layers=2 if tiny else 30,
        ffn_dim=32 if tiny else 8960, text_dim=text, freq_dim=256,
    )  # fmt: skip
    vae = AutoencoderKLWan(base_dim=4, num_res_blocks=1) if tiny else AutoencoderKLWan()
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_letters]
    pipeline = WanPipeline(
        # Required by the class, but not used.
        tokenizer=T5Tokenizer(vocab=[(piece, 0.0) for piece in pieces], extra_ids=0),
        text_encoder=UMT5EncoderModel(UMT5Config(vocab_size=64, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)),
        vae=vae, transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip
    arguments = {
        "prompt_embeds": torch.randn(1, 512, text, dtype=dtype, device=device),
        "negative_prompt_embeds": torch.randn(1, 512, text, dtype=dtype, device=device),
        "width": 32 if tiny else 832, "height": 32 if tiny else 480, "num_frames": 5 if tiny else 81,
    }  # fmt: skip
    return _saved("wan", pipeline, folder, dtype, arguments, "num_videos_per_prompt", video=True)


def _saved(
    name: str, pipeline: Any, folder: Path, dtype: torch.dtype, arguments: dict[str, Any], batch: str, *, video: bool
) -> Shape:
    pipeline.to(dtype).save_pretrained(folder / name)
    return Shape(name, folder / name, arguments, batch, video)
