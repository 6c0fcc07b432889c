"""Trains the video denoiser: a transformer over 9x8x8 latents that reads the text encoder's tokens (flow
matching).

One model learns both tasks: in a part of the batches the first frame's latents stay clean and have the time
zero, which is what the image-to-video pipeline does with the given picture.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    SanaVideoPipeline,
    SanaVideoTransformer3DModel,
)
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import T5EncoderModel, T5Tokenizer

from models.training import loop
from models.training.captions import Captioner
from models.training.muon import Muon, split
from models.training.scenes import draw_clip
from models.training.text import T5_USED, WIDTH, tokenize
from models.training.video_vae import FRAMES, LATENTS, SIZE, encode, frame_by_frame, to_tensor

INNER, HEADS, LAYERS = 128, 4, 6
TOKEN = (1, 2, 2)  # latents per token: frames, rows, columns
SHIFT = 3.0
OUTER = ("patch_embedding", "proj_out", "time_embed", "caption_projection", "scale_shift_table")


def build() -> SanaVideoTransformer3DModel:
    """The denoiser before training."""
    model = SanaVideoTransformer3DModel(
        in_channels=LATENTS,
        out_channels=LATENTS,
        num_attention_heads=HEADS,
        attention_head_dim=INNER // HEADS,
        num_layers=LAYERS,
        num_cross_attention_heads=HEADS,
        cross_attention_head_dim=INNER // HEADS,
        cross_attention_dim=INNER,
        caption_channels=WIDTH,
        patch_size=TOKEN,
        rope_max_seq_len=128,
    )
    with torch.no_grad():
        # Every block starts as a pass-through that reads no text: training is then calm at a large learning
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


class Clips:
    """Captioned clips as latents and text states; a stock that is slowly replaced by new ones.

    Attributes:
        latents: of mean zero and deviation one, bfloat16 (count, LATENTS, FRAMES, h, w).
        states: the text encoder's outputs, bfloat16 (count, T5_USED, WIDTH).
        masks: which of the states are no padding, int64 (count, T5_USED).
    """

    def __init__(self, parts: Path, seed: int, count: int) -> None:
        self.vae = AutoencoderKLWan.from_pretrained(parts / "vae").eval()
        self.coder = frame_by_frame(copy.deepcopy(self.vae))
        self.tokenizer = T5Tokenizer.from_pretrained(parts / "tokenizer")
        self.encoder = T5EncoderModel.from_pretrained(parts / "text_encoder", dtype=torch.float32)
        self.captioner = Captioner(seed)
        made = [self.make(10) for _ in range(0, count, 10)]
        self.latents, self.states, self.masks = (torch.cat(column) for column in zip(*made, strict=True))
        self.oldest = 0

    @torch.no_grad()
    def make(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """New clips: latents, states and masks."""
        samples = [self.captioner.clip() for _ in range(count)]
        frames = to_tensor(np.concatenate([draw_clip(sample.scene, FRAMES, SIZE) for sample in samples]))
        with torch.autocast("cpu", torch.bfloat16):
            codes = encode(self.coder, frames).float()
        mean, deviation = (
            torch.tensor(self.vae.config[name]).view(1, -1, 1, 1) for name in ("latents_mean", "latents_std")
        )
        latents = ((codes - mean) / deviation).unflatten(0, (count, FRAMES)).transpose(1, 2)
        return latents.bfloat16(), *self.read([sample.caption for sample in samples])

    @torch.no_grad()
    def read(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """States and masks of captions, in lower case as the pipelines put them."""
        ids, mask = tokenize(self.tokenizer, [caption.lower() for caption in captions], T5_USED)
        return self.encoder(ids, attention_mask=mask).last_hidden_state.bfloat16(), mask

    def refresh(self, count: int) -> None:
        """Puts new clips in the place of the oldest ones."""
        places = (self.oldest + torch.arange(count)) % len(self.latents)
        self.latents[places], self.states[places], self.masks[places] = self.make(count)
        self.oldest = (self.oldest + count) % len(self.latents)


def noisy(clean: torch.Tensor, given: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noised latents, the aim, and times from 0 to 1000: (n,), or (n, 1, frames, rows, columns) of tokens if
    the first frame is given.
    """
    batch = len(clean)
    # One time from each of `batch` equal parts of the range: less chance in the loss than free draws.
    times = (torch.randperm(batch) + torch.rand(batch)) / batch
    times = SHIFT * times / (1 + (SHIFT - 1) * times)
    noise = torch.randn_like(clean)
    mixed = torch.lerp(clean, noise, times.view(-1, 1, 1, 1, 1))
    times = times * 1000
    if given:
        mixed[:, :, :1] = clean[:, :, :1]
        tokens = [side // own for side, own in zip(clean.shape[2:], TOKEN, strict=True)]
        times = times.view(-1, 1, 1, 1, 1).repeat(1, 1, *tokens)
        times[:, :, 0] = 0
    return mixed, noise - clean, times


def train(
    target: Path,
    parts: Path,
    *,
    steps: int,
    count: int = 8000,
    fresh: int = 4,
    batch: int = 48,
    peak: float = 2e-3,
    seed: int = 7,
    every: int = 300,
) -> None:
    """Trains the denoiser (the text encoder stays as it is) and writes the pipeline folder `target`.

    `parts` holds the trained autoencoder (`vae`) and text encoder (`text_encoder`, `tokenizer`). If it holds
    a checkpoint too (`denoiser.pt`), training goes on from there.
    """
    loop.start(seed)
    model = build()
    optimizer = Muon(split(model, peak, outer=OUTER), peak)
    average = loop.Average(model, 0.998)
    checkpoint, begin = parts / "denoiser.pt", 0
    if checkpoint.exists():
        begin = loop.restore(checkpoint, model=model, average=average.model, optimizer=optimizer)
        average.steps = begin
        for group in optimizer.param_groups:
            group["lr"] = peak
        torch.manual_seed(seed + begin)
    clips = Clips(parts, seed + begin, count)
    print(f"{count} clips, deviation {float(clips.latents.float().std()):.3f}", flush=True)
    no_state, no_mask = clips.read([""])
    counter = loop.Steps(optimizer, steps, every=50, begin=begin, hold=0.7)
    for step in counter:
        clips.refresh(fresh)
        chosen = torch.randint(count, (batch,))
        dropped = torch.rand(batch, 1) < 0.1
        mask = torch.where(dropped, no_mask, clips.masks[chosen])
        used = int(mask.sum(1).max())
        state = torch.where(dropped[:, :, None], no_state, clips.states[chosen])[:, :used]
        given = bool(torch.rand(()) < 0.25)
        mixed, aim, times = noisy(clips.latents[chosen].float(), given)
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            guess = model(
                mixed,
                encoder_hidden_states=state.float(),
                encoder_attention_mask=mask[:, :used],
                timestep=times,
            ).sample
        loss = (guess.float() - aim)[:, :, int(given) :].square().mean()
        loop.descend(loss, model, optimizer)
        average.update(model)
        counter.note(**{"loss, first given" if given else "loss": loss})
        if step % every == every - 1 or step + 1 == steps:
            loop.save(checkpoint, step=step + 1, model=model, average=average.model, optimizer=optimizer)
            write(target, average.model, clips)


def write(target: Path, model: SanaVideoTransformer3DModel, clips: Clips) -> None:
    """Writes the pipeline folder, weights as float16, readable by all."""
    model, encoder, vae = (copy.deepcopy(part).half() for part in (model, clips.encoder, clips.vae))
    pipeline = SanaVideoPipeline(
        scheduler=scheduler(), vae=vae, text_encoder=encoder, tokenizer=clips.tokenizer, transformer=model
    )
    pipeline.save_pretrained(target)
    for file in target.rglob("*"):
        if file.is_file():
            file.chmod(0o644)
