"""Tiny pipelines with random weights: genuine diffusers folders for the tests, made in a second.

They load, step and stop like large ones; their pictures mean nothing. ``python -m tests.tiny FOLDER``.
"""

from __future__ import annotations

import string
import sys
from pathlib import Path


def build_image(folder: Path) -> None:
    """A StableDiffusionPipeline: 16 px and up, multiples of 8."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    pieces = [*string.printable, *(char + "</w>" for char in string.printable), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=16)
    text = CLIPTextConfig(
        vocab_size=len(pieces), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, bos_token_id=len(pieces) - 2, eos_token_id=len(pieces) - 1,
        pad_token_id=len(pieces) - 1,
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(8, 8, 8, 8), norm_num_groups=2, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=2, cross_attention_dim=16,
            attention_head_dim=2, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        ),
        # As many steps as a test of stopping can ask for, with the usual total noise.
        scheduler=DDIMScheduler(
            clip_sample=False, steps_offset=1, num_train_timesteps=110_000, beta_start=1e-6, beta_end=2e-4
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def build_video(folder: Path) -> None:
    """An LTXPipeline: multiples of 32 px, 8n+1 frames; the same folder serves LTXImageToVideoPipeline."""
    import torch
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    torch.manual_seed(0)
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_letters, *string.digits, *string.punctuation]
    tokenizer = T5Tokenizer(vocab=[(piece, 0.0) for piece in pieces], extra_ids=0)
    text = T5Config(vocab_size=len(pieces) + 8, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKLLTXVideo(
            latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
            layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1),
            spatio_temporal_scaling=(True, True, False, False),
            decoder_spatio_temporal_scaling=(True, True, False, False),
            decoder_inject_noise=(False, False, False, False, False), upsample_residual=(False, False, False, False),
            upsample_factor=(1, 1, 1, 1), timestep_conditioning=False, patch_size=1, patch_size_t=1,
            encoder_causal=True, decoder_causal=False,
        ),
        text_encoder=T5EncoderModel(text),
        tokenizer=tokenizer,
        transformer=LTXVideoTransformer3DModel(
            in_channels=8, out_channels=8, num_attention_heads=4, attention_head_dim=8, cross_attention_dim=32,
            num_layers=1, caption_channels=32,
        ),
    ).save_pretrained(folder)  # fmt: skip


def build(folder: Path) -> Path:
    """Make both below ``folder``, with a models file beside them; returns the models file. Existing ones stay."""
    for name, builder in (("tiny-image", build_image), ("tiny-video", build_video)):
        if not (folder / name / "model_index.json").exists():
            builder(folder / name)
    models = folder / "models.toml"
    models.write_text(MODELS)
    return models


MODELS = """
[tiny-image]
source = "./tiny-image"
kinds = ["text2img", "img2img"]
pipelines = { img2img = "StableDiffusionImg2ImgPipeline" }
defaults = { steps = 4, width = 32, height = 32 }
limits = { steps = [1, 100000], width = [16, 128], height = [16, 128], prompt_chars = [0, 200] }

[tiny-video]
source = "./tiny-video"
kinds = ["text2video", "img2video"]
pipelines = { img2video = "LTXImageToVideoPipeline" }
size_multiple_px = 32
frames_step = 8
defaults = { steps = 4, width = 32, height = 32, frames = 9, fps = 8 }
limits = { steps = [1, 100000], width = [32, 64], height = [32, 64], frames = [9, 33], prompt_chars = [0, 200] }

[broken]
source = "./nothing-here"
kinds = ["text2img"]
"""

if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
