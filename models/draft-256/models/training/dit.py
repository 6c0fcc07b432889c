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
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import T5EncoderModel, T5Tokenizer

from models.training import loop
from models.training.captions import Captioner
from models.training.muon import Muon, split
from models.training.scenes import draw_clip
from models.training.text import T5_USED, WIDTH, tokenize
from models.training.video_vae import FRAMES, LATENTS, SIZE, encode, frame_by_frame, to_tensor

INNER, HEADS, LAYERS = 128, 4, 6
TOKEN = (3, 2, 2)  # latents per token: frames, rows, columns
SHIFT = 6.0  # puts most times of sampling and of early training into strong noise
LATE_SHIFT = 2.0  # of later training, when only outlines are left to learn
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
    pass_noise_through(model)
    return model


@torch.no_grad()
def pass_noise_through(model: SanaVideoTransformer3DModel) -> None:
    """Sets the start weights so that the output is close to the input, and no block reads text yet.

    In strong noise, input and aim are nearly alike, so a copy is a better start than nothing.
    """
    for block in model.transformer_blocks:
        block.attn2.to_out[0].weight.zero_()
        block.scale_shift_table.mul_(0.1)
    model.scale_shift_table.mul_(0.1)
    into, out = model.patch_embedding, model.proj_out
    size = into.weight[0].numel()  # values of a token
    basis = nn.init.orthogonal_(torch.empty(INNER, size))
    into.weight.copy_(basis.view_as(into.weight))
    into.bias.zero_()
    # The input's order is (channel, frame, row, column), the output's (frame, row, column, channel). The norm
    # before the last layer brings the deviation of the INNER values to one.
    back = basis.T.view(LATENTS, -1, INNER).transpose(0, 1).reshape(size, INNER)
    out.weight.copy_(back * (size / INNER) ** 0.5)
    out.bias.zero_()


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """The sampler. The fixed shift spends more of the steps in strong noise, where motion and place are
    decided.
    """
    return FlowMatchEulerDiscreteScheduler(shift=SHIFT)


class Clips:
    """Captioned clips as latents and text states; a pool that grows and is slowly renewed.

    Attributes:
        latents: of mean zero and deviation one, bfloat16 (room, LATENTS, FRAMES, h, w).
        states: the text encoder's outputs, bfloat16 (room, T5_USED, WIDTH).
        masks: which of the states are no padding, int64 (room, T5_USED).
        made: how many clips were made so far.
    """

    def __init__(self, parts: Path, seed: int, room: int) -> None:
        self.vae = AutoencoderKLWan.from_pretrained(parts / "vae").eval()
        self.coder = frame_by_frame(copy.deepcopy(self.vae))
        self.tokenizer = T5Tokenizer.from_pretrained(parts / "tokenizer")
        self.encoder = T5EncoderModel.from_pretrained(parts / "text_encoder", dtype=torch.float32)
        self.captioner = Captioner(seed)
        self.latents, self.states, self.masks = (
            torch.zeros(room, *one.shape[1:], dtype=one.dtype) for one in self.make(1)
        )
        self.made = 0

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
        """Adds new clips; replaces the oldest ones when the pool is full."""
        places = (self.made + torch.arange(count)) % len(self.latents)
        self.latents[places], self.states[places], self.masks[places] = self.make(count)
        self.made += count

    def __len__(self) -> int:
        return min(self.made, len(self.latents))


def noisy(clean: torch.Tensor, given: bool, shift: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noised latents, the target, and times from 0 to 1000: (n,), or (n, 1, frames, rows, columns) of tokens if
    the first frame is given.
    """
    batch = len(clean)
    # One time from each of `batch` equal parts of the range: less variance in the loss than independent draws.
    times = (torch.randperm(batch) + torch.rand(batch)) / batch
    times = shift * times / (1 + (shift - 1) * times)
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
    late: int,
    stock: int = 2500,
    count: int = 8000,
    fresh: int = 4,
    batch: int = 32,
    peak: float = 5e-3,
    seed: int = 7,
    every: int = 300,
) -> None:
    """Trains the denoiser (the text encoder stays as it is) and writes the pipeline folder `target`.

    It learns from `stock` clips at first, from `fresh` more after every step, and from `count` in the end.
    Up to the step `late` times lie mostly in strong noise, where places and motion are settled.
    `parts` holds the trained autoencoder (`vae`) and text encoder (`text_encoder`, `tokenizer`). If it holds
    a checkpoint too (`denoiser.pt`), training goes on from there.
    """
    loop.start(seed)
    model = build()
    optimizer = Muon(split(model, peak, outer=OUTER), peak)
    peaks = [peak, peak * 0.4]  # the second for vectors and outer layers
    average = loop.Average(model, 0.998)
    checkpoint, begin = parts / "denoiser.pt", 0
    if checkpoint.exists():
        begin = loop.restore(checkpoint, model=model, average=average.model, optimizer=optimizer)
        average.steps = begin
        torch.manual_seed(seed + begin)
    for group, own in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = own
    clips = Clips(parts, seed + begin, count)
    for _ in range(0, stock, 10):
        clips.refresh(10)
    print(f"{stock} clips, deviation {float(clips.latents[:stock].float().std()):.3f}", flush=True)
    no_state, no_mask = clips.read([""])
    counter = loop.Steps(optimizer, steps, every=50, begin=begin, hold=0.7)
    for step in counter:
        clips.refresh(fresh)
        chosen = torch.randint(len(clips), (batch,))
        dropped = torch.rand(batch, 1) < 0.1
        mask = torch.where(dropped, no_mask, clips.masks[chosen])
        used = int(mask.sum(1).max())
        state = torch.where(dropped[:, :, None], no_state, clips.states[chosen])[:, :used]
        given = bool(torch.rand(()) < 0.25)
        mixed, aim, times = noisy(clips.latents[chosen].float(), given, SHIFT if step < late else LATE_SHIFT)
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
    """Writes the pipeline folder with float16 weights, readable by everybody."""
    model, encoder, vae = (copy.deepcopy(part).half() for part in (model, clips.encoder, clips.vae))
    pipeline = SanaVideoPipeline(
        scheduler=scheduler(), vae=vae, text_encoder=encoder, tokenizer=clips.tokenizer, transformer=model
    )
    pipeline.save_pretrained(target)
    for file in target.rglob("*"):
        if file.is_file():
            file.chmod(0o644)
