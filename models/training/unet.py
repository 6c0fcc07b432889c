"""Trains the image denoiser, a UNet over 16x16 latents that reads the text encoder's tokens; writes the pipeline."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from models.training import loop
from models.training.captions import Captioner
from models.training.latent_code import CELL, count_for, grid, latents
from models.training.muon import Muon, split
from models.training.text import WIDTH, tokenize

SIZE = 256


def build() -> UNet2DConditionModel:
    """The denoiser before training."""
    return UNet2DConditionModel(
        sample_size=SIZE // CELL,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 96, 112),
        layers_per_block=1,
        attention_head_dim=4,  # for this class: the number of heads
        cross_attention_dim=WIDTH,
        norm_num_groups=8,
    )


def scheduler() -> DDIMScheduler:
    """The noise schedule. It ends in practically pure noise (signal 0.6 %), so every usual sampler may be
    used.
    """
    return DDIMScheduler(
        beta_schedule="linear",
        beta_start=0.0001,
        beta_end=0.02,
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


def train(
    target: Path,
    parts: Path,
    *,
    steps: int,
    batch: int = 32,
    peak: float = 2e-3,
    seed: int = 4,
    every: int = 100,
    focus: bool = False,
) -> None:
    """Trains the denoiser together with the text encoder, and writes both into the folder `target`.

    `parts` holds the trained text encoder (`text_encoder`, `tokenizer`), and may hold an earlier denoiser
    (`unet`) to go on from. The pictures need no autoencoder: `latent_code.latents` makes their latents. See
    `times_of` for `focus`.
    """
    loop.start(seed)
    captioner, chance = Captioner(seed), random.Random(seed)
    tokenizer = CLIPTokenizer.from_pretrained(parts / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(parts / "text_encoder", dtype=torch.float32)
    nothing = tokenize(tokenizer, [""])[0]

    earlier = (parts / "unet").is_dir()
    unet = UNet2DConditionModel.from_pretrained(parts / "unet", dtype=torch.float32) if earlier else build()
    unet.train()
    groups = split(unet, peak, outer=("conv_in", "conv_out", "time_embedding"))
    groups.append({"params": list(encoder.parameters()), "lr": peak * 0.1, "plain": True, "weight_decay": 0.0})
    optimizer = Muon(groups, peak)
    both = nn.ModuleList([unet, encoder])
    average = loop.Average(both, 0.99)
    noise_schedule = scheduler()
    counter = loop.Steps(optimizer, steps, every=20)
    for step in counter:
        rows, columns = grid(chance)
        count = count_for(batch, rows, columns)
        samples = [captioner.image() for _ in range(count)]
        clean = torch.from_numpy(np.stack([latents(sample.scene, rows, columns) for sample in samples]))
        tokens = tokenize(tokenizer, [sample.caption for sample in samples])[0]
        tokens = torch.where(torch.rand(count, 1) < 0.1, nothing, tokens)
        noise = torch.randn_like(clean)
        times = times_of(count, focus)
        aim = noise_schedule.get_velocity(clean, noise, times)
        states = encoder(tokens).last_hidden_state
        guess = unet(noise_schedule.add_noise(clean, noise, times), times, states).sample
        errors = (guess - aim).square().mean((0, 2, 3))
        loop.descend(errors.mean(), both, optimizer)
        average.update(both)
        counter.note(colours=errors[:3].mean(), pattern=errors[3])
        if step % every == every - 1 or step + 1 == steps:
            for part, name in zip(average.model, ("unet", "text_encoder"), strict=True):
                part.save_pretrained(target / name)
            tokenizer.save_pretrained(target / "tokenizer")


def times_of(batch: int, focus: bool) -> torch.Tensor:
    """Noise levels to train on, int64 (batch,): spread evenly, or three in four near the middle of the
    schedule.

    Places are settled in strong noise and learned soon; outlines are settled near the middle and are learned
    last.
    """
    # One time from each of `batch` equal parts of the schedule: less variance in the loss than independent draws.
    times = (torch.randperm(batch) + torch.rand(batch)) / batch * 1000
    if focus:
        times = torch.where(torch.rand(batch) < 0.75, 500 + 170 * torch.randn(batch), times)
    return times.clamp(0, 999).long()


def write(target: Path, denoiser: Path, vae: Path) -> None:
    """Writes the pipeline folder `target` with float16 weights, readable by everybody.

    `denoiser` is a folder of `train`, `vae` the folder of the autoencoder.
    """
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderTiny.from_pretrained(vae, dtype=torch.float16),
        text_encoder=CLIPTextModel.from_pretrained(denoiser / "text_encoder", dtype=torch.float16),
        tokenizer=CLIPTokenizer.from_pretrained(denoiser / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(denoiser / "unet", dtype=torch.float16),
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(target)
    for config in target.glob("*/config.json"):  # diffusers notes where the parts were
        kept = {name: value for name, value in json.loads(config.read_text()).items() if name != "_name_or_path"}
        config.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    for file in target.rglob("*"):
        if file.is_file():
            file.chmod(0o644)
