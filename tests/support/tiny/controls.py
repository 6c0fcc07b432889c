"""Controls with random weights: ControlNets, T2I-Adapters, and IP-Adapters with their image encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    ControlNetModel,
    ControlNetUnionModel,
    FluxControlNetModel,
    FluxTransformer2DModel,
    T2IAdapter,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

#: Width of the embeddings of images.
_EMBEDDED = 16


def build_controls(families: Path, folder: Path) -> None:
    """Write the controls of the families sd, sdxl and flux.

    Args:
        families: the folder with their pipelines.
        folder: the target.
    """
    torch.manual_seed(2)
    sd = UNet2DConditionModel.from_pretrained(families / "sd" / "unet")
    sdxl = UNet2DConditionModel.from_pretrained(families / "sdxl" / "unet")
    flux = FluxTransformer2DModel.from_pretrained(families / "flux" / "transformer")
    conditioning = {"conditioning_embedding_out_channels": (16, 16, 16, 16)}
    _save(ControlNetModel.from_unet(sd, **conditioning), folder / "sd-edges")
    _save(ControlNetModel.from_unet(sd, **conditioning), folder / "sd-depth")
    _save(ControlNetModel.from_unet(sdxl, **conditioning), folder / "sdxl-edges")
    _save(_union(sdxl), folder / "sdxl-union")
    _save(
        FluxControlNetModel.from_transformer(
            flux, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2
        ),
        folder / "flux-edges",
    )
    adapter = T2IAdapter(
        in_channels=1, channels=[8, 16, 16, 16], num_res_blocks=1, downscale_factor=16, adapter_type="full_adapter_xl"
    )  # fmt: skip
    _save(adapter, folder / "sd-sketch")
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8,
        projection_dim=_EMBEDDED,
    )  # fmt: skip
    CLIPVisionModelWithProjection(vision).save_pretrained(folder / "sd-style" / "image_encoder")
    for name in ("style", "face"):
        save_file(_of_unet(sd), folder / "sd-style" / f"{name}.safetensors")
    (folder / "flux-style").mkdir()
    save_file(_of_flux(flux), folder / "flux-style" / "style.safetensors")


def _save(network: Any, folder: Path) -> None:
    """Write a network; layers that begin with zeros get weights, so that the control has an effect."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    network.save_pretrained(folder)


def _union(unet: UNet2DConditionModel) -> ControlNetUnionModel:
    names = ("block_out_channels", "layers_per_block", "norm_num_groups", "cross_attention_dim", "attention_head_dim",
             "down_block_types", "addition_embed_type", "addition_time_embed_dim", "transformer_layers_per_block",
             "projection_class_embeddings_input_dim", "use_linear_projection")  # fmt: skip
    return ControlNetUnionModel(
        **{name: unet.config[name] for name in names}, conditioning_embedding_out_channels=(16, 16, 16, 16),
        num_control_type=2, num_trans_channel=8, num_proj_channel=8, num_trans_head=2, num_trans_layer=1,
    )  # fmt: skip


def _of_unet(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """Return the weights of an IP-Adapter of four tokens for the cross-attention of a UNet."""
    width = unet.config.cross_attention_dim
    weights = {
        "image_proj.proj.weight": torch.randn(4 * width, _EMBEDDED),
        "image_proj.proj.bias": torch.zeros(4 * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    number = 1
    for name in unet.attn_processors:
        if name.endswith("attn2.processor"):
            side = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
            for part in ("to_k_ip", "to_v_ip"):
                weights[f"ip_adapter.{number}.{part}.weight"] = torch.randn(side, width)
            number += 2
    return weights


def _of_flux(transformer: FluxTransformer2DModel) -> dict[str, torch.Tensor]:
    """Return the same for FLUX, with the names of its published files."""
    width, side = transformer.config.joint_attention_dim, transformer.inner_dim
    weights = {
        "ip_adapter_proj_model.proj.weight": torch.randn(4 * width, _EMBEDDED),
        "ip_adapter_proj_model.proj.bias": torch.zeros(4 * width),
        "ip_adapter_proj_model.norm.weight": torch.ones(width),
        "ip_adapter_proj_model.norm.bias": torch.zeros(width),
    }
    for number in range(transformer.config.num_layers):
        for part in "kv":
            name = f"double_blocks.{number}.processor.ip_adapter_double_stream_{part}_proj"
            weights |= {f"{name}.weight": torch.randn(side, width), f"{name}.bias": torch.randn(side)}
    return weights
