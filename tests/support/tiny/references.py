"""FLUX.2 Klein and FLUX.1 Kontext, which edit reference images."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxKontextPipeline,
)
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM

from tests.support.tiny.flux import build

#: The characters of texts, the space as byte-level tokenizers write it.
_PIECES = [*string.ascii_letters, *string.digits, *string.punctuation, "Ġ", "Ċ", "<|endoftext|>"]
_CHAT = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def build_flux_kontext(folder: Path) -> None:
    """Write a FluxKontextPipeline: one image, whose shape the output has; multiples of 4 px."""
    build(FluxKontextPipeline, folder, in_channels=4)


def build_flux2(folder: Path) -> None:
    """Write a Flux2KleinPipeline with guidance: multiples of 4 px, 16 tokens of layers 1 and 2."""
    torch.manual_seed(0)
    Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKLFlux2(
            block_out_channels=(4, 4), layers_per_block=1, latent_channels=2, norm_num_groups=1,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            use_quant_conv=False, use_post_quant_conv=False,
        ),
        text_encoder=Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(_PIECES), hidden_size=16, intermediate_size=16, num_hidden_layers=2,
                num_attention_heads=2, num_key_value_heads=2, head_dim=8, max_position_embeddings=64,
            )
        ),
        tokenizer=Qwen2Tokenizer(
            vocab={piece: index for index, piece in enumerate(_PIECES)}, merges=[], unk_token="<|endoftext|>",
            chat_template=_CHAT,
        ),
        transformer=Flux2Transformer2DModel(
            in_channels=8, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=32, timestep_guidance_channels=32, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
        ),
    ).save_pretrained(folder)  # fmt: skip
