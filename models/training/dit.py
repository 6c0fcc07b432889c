"""Trains the video denoiser: a transformer over 3x6x6 latents that reads the text encoder's tokens (flow
matching).

One model learns both tasks: in a part of the clips the first latent frame stays clean and has the time zero,
which is what the image-to-video pipeline does with the given picture.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
)
from transformers import T5EncoderModel, T5Tokenizer

from models.training import loop
from models.training.captions import Captioner
from models.training.muon import Muon, split
from models.training.scenes import draw_clip
from models.training.text import T5_USED, WIDTH, tokenize
from models.training.video_vae import FRAMES, LATENTS, SIZE, to_tensor

GRID = (3, 6, 6)  # latent frames, rows, columns
RATE = 25  # frames per second that the pipelines assume by default; it scales the positions in time
FIRST = GRID[1] * GRID[2]  # tokens of the first latent frame, which is the first frame alone
INNER = 128
SHIFT = 3.0


def build() -> LTXVideoTransformer3DModel:
    """The denoiser before training."""
    model = LTXVideoTransformer3DModel(
        in_channels=LATENTS,
        out_channels=LATENTS,
        num_attention_heads=4,
        attention_head_dim=INNER // 4,
        cross_attention_dim=INNER,
        num_layers=6,
        caption_channels=WIDTH,
    )
    with torch.no_grad():
        # Every block starts as a pass-through that says nothing: training is then calm at a large learning
        # rate.
        for block in model.transformer_blocks:
            block.attn2.to_out[0].weight.zero_()
            block.scale_shift_table.mul_(0.1)
        model.proj_out.weight.zero_()
    return model


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """The sampler. The fixed shift spends more of the steps in strong noise, where motion and place are
    decided.
    """
    return FlowMatchEulerDiscreteScheduler(shift=SHIFT)


@torch.no_grad()
def cache(
    vae: AutoencoderKLLTXVideo, tokenizer: T5Tokenizer, encoder: T5EncoderModel, seed: int, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents of mean zero and deviation one, bfloat16 (count, tokens, LATENTS), and what `read` gives."""
    captioner = Captioner(seed)
    mean, deviation = (value.view(1, -1, 1, 1, 1) for value in (vae.latents_mean, vae.latents_std))
    latents, states, masks = [], [], []
    for _ in range(0, count, 10):
        samples = [captioner.clip() for _ in range(10)]
        clips = to_tensor(np.stack([draw_clip(sample.scene, FRAMES, SIZE) for sample in samples]))
        with torch.autocast("cpu", torch.bfloat16):
            codes = vae.encode(clips).latent_dist.mode().float()
        latents.append(((codes - mean) / deviation).flatten(2).transpose(1, 2).bfloat16())
        state, mask = read(tokenizer, encoder, [sample.caption for sample in samples])
        states.append(state)
        masks.append(mask)
    return torch.cat(latents), torch.cat(states), torch.cat(masks)


@torch.no_grad()
def read(tokenizer: T5Tokenizer, encoder: T5EncoderModel, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """The text encoder's outputs, bfloat16 (n, T5_USED, WIDTH), and their mask, int64 (n, T5_USED)."""
    ids, mask = tokenize(tokenizer, captions)
    return encoder(ids).last_hidden_state[:, :T5_USED].bfloat16(), mask[:, :T5_USED]


def noisy(clean: torch.Tensor, given: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noised latents, the aim, and times from 0 to 1: one per clip, or one per token if the first frame is
    given.
    """
    batch, tokens = clean.shape[:2]
    times = (torch.randperm(batch) + torch.rand(batch)) / batch
    times = (SHIFT * times / (1 + (SHIFT - 1) * times))[:, None]
    if given:
        times = times.repeat(1, tokens)
        times[:, :FIRST] = 0
    noise = torch.randn_like(clean)
    return torch.lerp(clean, noise, times[:, :, None]), noise - clean, times


def train(
    target: Path,
    parts: Path,
    *,
    steps: int,
    count: int = 12000,
    batch: int = 32,
    peak: float = 2e-3,
    seed: int = 7,
    every: int = 400,
) -> None:
    """Trains the denoiser (the text encoder stays as it is) and writes the pipeline folder `target`.

    `parts` holds the trained autoencoder (`vae`) and text encoder (`text_encoder`, `tokenizer`).
    """
    loop.start(seed)
    vae = AutoencoderKLLTXVideo.from_pretrained(parts / "vae").eval()
    tokenizer = T5Tokenizer.from_pretrained(parts / "tokenizer")
    encoder = T5EncoderModel.from_pretrained(parts / "text_encoder", dtype=torch.float32)
    latents, states, masks = cache(vae, tokenizer, encoder, seed, count)
    print(f"{count} clips, deviation {float(latents.float().std()):.3f}", flush=True)
    no_state, no_mask = read(tokenizer, encoder, [""])

    model = build()
    outer = ("proj_in", "proj_out", "time_embed", "caption_projection", "scale_shift_table")
    optimizer = Muon(split(model, peak, outer=outer), peak)
    average = loop.Average(model, 0.9985)
    counter = loop.Steps(optimizer, steps, every=50)
    order = torch.empty(0, dtype=torch.int64)
    for step in counter:
        if len(order) < batch:
            order = torch.randperm(count)
        chosen, order = order[:batch], order[batch:]
        dropped = torch.rand(batch, 1) < 0.1
        state = torch.where(dropped[:, :, None], no_state, states[chosen])
        mask = torch.where(dropped, no_mask, masks[chosen])
        given = bool(torch.rand(()) < 0.3)
        mixed, aim, times = noisy(latents[chosen].float(), given)
        with torch.autocast("cpu", torch.bfloat16):
            guess = model(
                hidden_states=mixed,
                encoder_hidden_states=state.float(),
                timestep=times * 1000,
                encoder_attention_mask=mask,
                num_frames=GRID[0],
                height=GRID[1],
                width=GRID[2],
                rope_interpolation_scale=(4 / RATE, 16, 16),
            ).sample
        wanted = slice(FIRST if given else 0, None)
        loss = (guess.float() - aim)[:, wanted].square().mean()
        loop.descend(loss, model, optimizer)
        average.update(model)
        counter.note(**{"loss, first given" if given else "loss": loss})
        if step % every == every - 1 or step + 1 == steps:
            write(target, average.model, vae, encoder, tokenizer)


def write(
    target: Path,
    model: LTXVideoTransformer3DModel,
    vae: AutoencoderKLLTXVideo,
    encoder: T5EncoderModel,
    tokenizer: T5Tokenizer,
) -> None:
    """Writes the pipeline folder, weights as float16, readable by all."""
    model, encoder, vae = (copy.deepcopy(part).half() for part in (model, encoder, vae))
    pipeline = LTXPipeline(scheduler=scheduler(), vae=vae, text_encoder=encoder, tokenizer=tokenizer, transformer=model)
    pipeline.save_pretrained(target)
    for file in target.rglob("*"):
        if file.is_file():
            file.chmod(0o644)
