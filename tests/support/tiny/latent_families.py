"""Pipelines without text encoders, for what happens to latents: each with a prompt's embeddings for its call."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler

TOKENS, WIDTH = 7, 16


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def _mask(tokens: int = TOKENS) -> torch.Tensor:
    return torch.ones(1, tokens, dtype=torch.bool)


def _image_vae(shift: float) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, latent_channels=4, norm_num_groups=4,
        scaling_factor=0.3611, shift_factor=shift, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip


def _hunyuan_vae() -> AutoencoderKLHunyuanVideo:
    return AutoencoderKLHunyuanVideo(
        latent_channels=4, down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4, block_out_channels=(8, 8, 8, 8), layers_per_block=1,
        norm_num_groups=4, scaling_factor=0.476986, mid_block_add_attention=False,
    )  # fmt: skip


def qwen_image() -> tuple[Any, dict[str, Any]]:
    pipeline = diffusers.QwenImagePipeline(
        transformer=diffusers.QwenImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=WIDTH, guidance_embeds=False, axes_dims_rope=(8, 4, 4),
        ),
        vae=diffusers.AutoencoderKLQwenImage(
            base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
            latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(), text_encoder=None, tokenizer=None,
    )  # fmt: skip
    return pipeline, {"prompt_embeds": _random(1, TOKENS, WIDTH), "prompt_embeds_mask": _mask()}


def _kandinsky5(class_name: str, vae: Any) -> tuple[Any, dict[str, Any]]:
    pipeline = getattr(diffusers, class_name)(
        transformer=diffusers.Kandinsky5Transformer3DModel(
            in_visual_dim=4, in_text_dim=32, in_text_dim2=WIDTH, time_dim=16, out_visual_dim=4, patch_size=(1, 2, 2),
            model_dim=16, ff_dim=32, num_text_blocks=1, num_visual_blocks=1, axes_dims=(1, 1, 2), visual_cond=False,
            attention_type="regular",
        ),
        vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0), text_encoder=None, tokenizer=None,
        text_encoder_2=None, tokenizer_2=None,
    )  # fmt: skip
    pipeline.resolutions = [(128, 64)]  # pictures have one of a few sizes
    return pipeline, {
        "prompt_embeds_qwen": _random(1, TOKENS, 32), "prompt_embeds_clip": _random(1, WIDTH),
        "prompt_cu_seqlens": torch.tensor([0, TOKENS], dtype=torch.int32), "guidance_scale": 1.0,
    }  # fmt: skip


def kandinsky5_video() -> tuple[Any, dict[str, Any]]:
    return _kandinsky5("Kandinsky5T2VPipeline", _hunyuan_vae())


def kandinsky5_image() -> tuple[Any, dict[str, Any]]:
    return _kandinsky5("Kandinsky5T2IPipeline", _image_vae(0.1159))


def hunyuan_video() -> tuple[Any, dict[str, Any]]:
    pipeline = diffusers.HunyuanVideoPipeline(
        transformer=diffusers.HunyuanVideoTransformer3DModel(
            in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1,
            num_single_layers=1, num_refiner_layers=1, patch_size=1, patch_size_t=1, guidance_embeds=True,
            text_embed_dim=WIDTH, pooled_projection_dim=8, rope_axes_dim=(2, 4, 4),
        ),
        vae=_hunyuan_vae(), scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0), text_encoder=None, tokenizer=None,
        text_encoder_2=None, tokenizer_2=None,
    )  # fmt: skip
    return pipeline, {
        "prompt_embeds": _random(1, TOKENS, WIDTH), "pooled_prompt_embeds": _random(1, 8),
        "prompt_attention_mask": _mask(),
    }  # fmt: skip


def mochi() -> tuple[Any, dict[str, Any]]:
    pipeline = diffusers.MochiPipeline(
        transformer=diffusers.MochiTransformer3DModel(
            patch_size=2, num_attention_heads=2, attention_head_dim=8, num_layers=1, pooled_projection_dim=16,
            in_channels=12, text_embed_dim=32, time_embed_dim=4, max_sequence_length=16,
        ),
        vae=diffusers.AutoencoderKLMochi(
            latent_channels=12, out_channels=3, encoder_block_out_channels=(32,) * 4,
            decoder_block_out_channels=(32,) * 4, layers_per_block=(1,) * 5,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(), text_encoder=None, tokenizer=None,
    )  # fmt: skip
    return pipeline, {
        "prompt_embeds": _random(1, 16, 32), "prompt_attention_mask": _mask(16), "guidance_scale": 1.0,
    }  # fmt: skip


def z_image() -> tuple[Any, dict[str, Any]]:
    pipeline = diffusers.ZImagePipeline(
        transformer=diffusers.ZImageTransformer2DModel(
            all_patch_size=(2,), all_f_patch_size=(1,), in_channels=4, dim=32, n_layers=1, n_refiner_layers=1,
            n_heads=2, n_kv_heads=2, qk_norm=True, cap_feat_dim=WIDTH, axes_dims=[8, 4, 4], axes_lens=[256, 32, 32],
        ),
        vae=_image_vae(0.1159), scheduler=FlowMatchEulerDiscreteScheduler(), text_encoder=None, tokenizer=None,
    )  # fmt: skip
    pipeline.transformer.x_pad_token.data.fill_(1)
    pipeline.transformer.cap_pad_token.data.fill_(1)
    return pipeline, {"prompt_embeds": [_random(TOKENS, WIDTH)], "guidance_scale": 0.0}


def stable_diffusion_3() -> tuple[Any, dict[str, Any]]:
    pipeline = diffusers.StableDiffusion3Pipeline(
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=32, patch_size=2, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=4,
            caption_projection_dim=32, joint_attention_dim=32, pooled_projection_dim=64, out_channels=4,
        ),
        vae=_image_vae(0.0609), scheduler=FlowMatchEulerDiscreteScheduler(), text_encoder=None, tokenizer=None,
        text_encoder_2=None, tokenizer_2=None, text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip
    return pipeline, {
        "prompt_embeds": _random(1, TOKENS, 32), "pooled_prompt_embeds": _random(1, 64), "guidance_scale": 1.0,
    }  # fmt: skip
