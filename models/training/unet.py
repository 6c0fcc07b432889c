"""Trains the image denoiser: a UNet over 16x16 latents that reads the text encoder's tokens."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from models.training import loop
from models.training.autoencoder import to_tensor
from models.training.captions import Captioner
from models.training.muon import Muon, split
from models.training.scenes import draw
from models.training.text import WIDTH, tokenize

SIZE = 128


def build() -> UNet2DConditionModel:
    """The denoiser before training."""
    return UNet2DConditionModel(
        sample_size=SIZE // 8,
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


@torch.no_grad()
def cache(vae: AutoencoderTiny, tokenizer: CLIPTokenizer, seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scaled latents, bfloat16 (count, 4, 16, 16), and token ids, int64 (count, length)."""
    captioner = Captioner(seed)
    latents, ids = [], []
    for _ in range(0, count, 50):
        samples = [captioner.image() for _ in range(50)]
        pictures = to_tensor(np.stack([draw(s.scene.background, s.scene.things, SIZE) for s in samples]))
        with torch.autocast("cpu", torch.bfloat16):
            latents.append(vae.encoder(pictures).float().mul(vae.config.scaling_factor).bfloat16())
        ids.append(tokenize(tokenizer, [sample.caption for sample in samples])[0])
    return torch.cat(latents), torch.cat(ids)


def train(
    target: Path,
    parts: Path,
    *,
    steps: int,
    count: int = 30000,
    batch: int = 48,
    peak: float = 2e-3,
    seed: int = 4,
    every: int = 400,
    focus: bool = False,
) -> None:
    """Trains the denoiser together with the text encoder, and writes the pipeline folder `target`.

    `parts` holds the trained autoencoder (`vae`) and text encoder (`text_encoder`, `tokenizer`), and may
    hold an earlier denoiser (`unet`) to go on from. See `times_of` for `focus`.
    """
    loop.start(seed)
    vae = AutoencoderTiny.from_pretrained(parts / "vae", dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(parts / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(parts / "text_encoder", dtype=torch.float32)
    latents, ids = cache(vae, tokenizer, seed, count)
    print(f"{count} latents, deviation {float(latents.float().std()):.3f}", flush=True)
    nothing = tokenize(tokenizer, [""])[0]

    earlier = (parts / "unet").is_dir()
    unet = UNet2DConditionModel.from_pretrained(parts / "unet", dtype=torch.float32) if earlier else build()
    unet.train()
    groups = split(unet, peak, outer=("conv_in", "conv_out", "time_embedding"))
    groups.append({"params": list(encoder.parameters()), "lr": peak * 0.1, "plain": True, "weight_decay": 0.0})
    optimizer = Muon(groups, peak)
    both = nn.ModuleList([unet, encoder])
    average = loop.Average(both, 0.9985)
    noise_schedule = scheduler()
    counter = loop.Steps(optimizer, steps, every=50)
    order = torch.empty(0, dtype=torch.int64)
    for step in counter:
        if len(order) < batch:
            order = torch.randperm(count)
        chosen, order = order[:batch], order[batch:]
        clean, tokens = latents[chosen].float(), ids[chosen]
        tokens = torch.where(torch.rand(batch, 1) < 0.1, nothing, tokens)
        noise = torch.randn_like(clean)
        times = times_of(batch, focus)
        noisy = noise_schedule.add_noise(clean, noise, times)
        aim = noise_schedule.get_velocity(clean, noise, times)
        with torch.autocast("cpu", torch.bfloat16):
            states = encoder(tokens).last_hidden_state
            guess = unet(noisy, times, states).sample
        loss = (guess.float() - aim).square().mean()
        loop.descend(loss, both, optimizer)
        average.update(both)
        counter.note(loss=loss)
        if step % every == every - 1 or step + 1 == steps:
            write(target, average.model, vae, tokenizer)


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


def write(target: Path, averaged: nn.ModuleList, vae: AutoencoderTiny, tokenizer: CLIPTokenizer) -> None:
    """Writes the pipeline folder with float16 weights, readable by everybody."""
    unet, encoder, vae = (copy.deepcopy(part).half() for part in (*averaged, vae))
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(target)
    for file in target.rglob("*"):
        if file.is_file():
            file.chmod(0o644)
