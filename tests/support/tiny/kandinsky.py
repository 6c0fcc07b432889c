"""Kandinsky 2.2: prior and decoder in separate folders, and both in one."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    DDPMScheduler,
    KandinskyV22CombinedPipeline,
    KandinskyV22InpaintPipeline,
    KandinskyV22Pipeline,
    KandinskyV22PriorPipeline,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.support.tiny.text import clip, clip_tokenizer


def _prior() -> KandinskyV22PriorPipeline:
    prior = PriorTransformer(
        num_attention_heads=2, attention_head_dim=12, embedding_dim=32, num_layers=1, num_embeddings=16
    )
    prior.clip_std.data.fill_(1)  # otherwise every embedding would be the mean
    vision = CLIPVisionConfig(
        hidden_size=32, image_size=28, patch_size=14, projection_dim=32, intermediate_size=37, num_attention_heads=4,
        num_hidden_layers=1,
    )  # fmt: skip
    return KandinskyV22PriorPipeline(
        prior=prior,
        image_encoder=CLIPVisionModelWithProjection(vision),
        text_encoder=clip(32, projected=True),
        tokenizer=clip_tokenizer(),
        scheduler=UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample=True, clip_sample_range=10.0
        ),
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
    )


def _unet(channels: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8, in_channels=channels, out_channels=8, addition_embed_type="image",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", block_out_channels=(16, 32), layers_per_block=1,
        norm_num_groups=4, encoder_hid_dim=32, encoder_hid_dim_type="image_proj", cross_attention_dim=16,
        attention_head_dim=4, resnet_time_scale_shift="scale_shift", class_embed_type=None,
    )  # fmt: skip


def _movq() -> VQModel:
    return VQModel(
        block_out_channels=(32, 32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, layers_per_block=1, norm_num_groups=4,
        norm_type="spatial", num_vq_embeddings=12, vq_embed_dim=4,
    )  # fmt: skip


def _scheduler() -> DDPMScheduler:
    return DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, variance_type="learned_range", clip_sample=True, clip_sample_range=2.0
    )


def build_kandinsky(folder: Path) -> None:
    """Write ``prior``, ``decoder``, ``inpaint`` (a decoder) and ``combined``: multiples of 64 px."""
    torch.manual_seed(0)
    prior = _prior()
    prior.save_pretrained(folder / "prior")
    decoder = KandinskyV22Pipeline(unet=_unet(4), scheduler=_scheduler(), movq=_movq())
    decoder.save_pretrained(folder / "decoder")
    KandinskyV22InpaintPipeline(unet=_unet(9), scheduler=_scheduler(), movq=decoder.movq).save_pretrained(
        folder / "inpaint"
    )
    KandinskyV22CombinedPipeline(
        **decoder.components, **{f"prior_{name}": part for name, part in prior.components.items()}
    ).save_pretrained(folder / "combined")
