"""LoRA files with random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import FluxPipeline, StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

_CONFIG = {"r": 2, "lora_alpha": 2, "init_lora_weights": False}
_ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


def build_loras(sd: Path, flux: Path, folder: Path) -> None:
    """Write ``grain`` and ``glow`` (which also changes the text encoder) for Stable Diffusion, ``foreign`` for FLUX."""
    torch.manual_seed(1)
    for name in ("grain", "glow"):
        pipeline = StableDiffusionPipeline.from_pretrained(sd)
        pipeline.unet.add_adapter(LoraConfig(target_modules=_ATTENTION, **_CONFIG))
        layers = {"unet_lora_layers": get_peft_model_state_dict(pipeline.unet)}
        if name == "glow":
            pipeline.text_encoder.add_adapter(LoraConfig(target_modules=["q_proj", "v_proj"], **_CONFIG))
            layers["text_encoder_lora_layers"] = get_peft_model_state_dict(pipeline.text_encoder)
        pipeline.save_lora_weights(folder, weight_name=f"{name}.safetensors", **layers)
    foreign = FluxPipeline.from_pretrained(flux)
    foreign.transformer.add_adapter(LoraConfig(target_modules=_ATTENTION, **_CONFIG))
    layers = get_peft_model_state_dict(foreign.transformer)
    foreign.save_lora_weights(folder, weight_name="foreign.safetensors", transformer_lora_layers=layers)
