"""Anima, which diffusers has only as modular blocks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AnimaAutoBlocks,
    AnimaTextConditioner,
    AutoencoderKLQwenImage,
    CosmosTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
)

from tests.support.tiny.text import qwen3, qwen_tokenizer, t5_tokenizer


def build_anima(folder: Path) -> None:
    """Write an AnimaModularPipeline: multiples of 16 px; image to image as well."""
    torch.manual_seed(0)
    blocks: Any = AnimaAutoBlocks()
    pipeline = blocks.init_pipeline()
    pipeline.update_components(
        text_encoder=qwen3(),
        tokenizer=qwen_tokenizer(),
        t5_tokenizer=t5_tokenizer(),
        vae=AutoencoderKLQwenImage(
            base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
            latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
        ),
        text_conditioner=AnimaTextConditioner(
            source_dim=32, target_dim=32, model_dim=32, num_layers=1, num_attention_heads=2, target_vocab_size=128,
            min_sequence_length=16,
        ),
        transformer=CosmosTransformer3DModel(
            in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=1, mlp_ratio=2,
            text_embed_dim=32, adaln_lora_dim=4, max_size=(4, 32, 32), patch_size=(1, 2, 2),
            rope_scale=(1.0, 1.0, 1.0), concat_padding_mask=False, extra_pos_embed_type=None,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )  # fmt: skip
    pipeline.save_pretrained(str(folder), overwrite_modular_index=True)
    # The folder may be moved: it says nothing about where its components are.
    index = folder / "modular_model_index.json"
    described = json.loads(index.read_text())
    for entry in described.values():
        if isinstance(entry, list):
            entry[2]["pretrained_model_name_or_path"] = None
    index.write_text(json.dumps(described, indent=2))
