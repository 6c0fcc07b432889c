"""Trains the video autoencoder: 9 frames of 96x96 to 3x6x6 latents and back (16 in space, 4 in time)."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLLTXVideo
from torch import nn

from models.training import loop
from models.training.captions import Captioner
from models.training.scenes import draw_clip

SIZE, FRAMES, CROP = 96, 9, 64
LATENTS = 24
PATCH = 4


def build() -> AutoencoderKLLTXVideo:
    """The autoencoder before training: like the image autoencoder it starts as a shrinking and enlarging."""
    model = AutoencoderKLLTXVideo(
        latent_channels=LATENTS,
        block_out_channels=(24, 48, 96),
        down_block_types=("LTXVideo095DownBlock3D",) * 2,
        downsample_type=("spatiotemporal",) * 2,
        spatio_temporal_scaling=(True, True),
        layers_per_block=(0, 1, 1),
        decoder_block_out_channels=(48, 96),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_layers_per_block=(1, 1, 1),
        decoder_inject_noise=(False,) * 3,
        upsample_residual=(False, False),
        upsample_factor=(2, 2),
        patch_size=PATCH,
    )
    pass_colours_through(model)
    return model


@torch.no_grad()
def pass_colours_through(model: AutoencoderKLLTXVideo) -> None:
    """Sets the start weights so that mean colours reach the other end unchanged.

    At full resolution, channels 0-2 carry a colour, 3-5 its negative and 6-7 a constant. Halving the time
    turns channel c into channels 2c and 2c + 1, one per moment. The constant keeps the RMS norms at the ends
    nearly constant, and SiLU(x) - SiLU(-x) = x undoes the activations.
    """
    encoder, decoder = model.encoder, model.decoder
    for conv in (module for module in model.modules() if isinstance(module, nn.Conv3d)):
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)
    for name, module in model.named_modules():
        if name.endswith("conv2.conv"):
            module.weight *= 0.1
            module.weight[: module.out_channels // 3] = 0
        if "downsamplers" in name and isinstance(module, nn.Conv3d):
            module.weight *= 0.1
            module.weight[: module.out_channels // 3] = 0
    now, middle = 2, 1  # the tap of the present frame in a causal kernel, and the middle tap of all others
    first = encoder.conv_in.conv
    first.weight[:8], first.bias[6:8] = 0, 3
    area = PATCH**2
    for colour in range(3):
        first.weight[colour, colour * area : (colour + 1) * area, now, 1, 1] = 1 / area
        first.weight[3 + colour, colour * area : (colour + 1) * area, now, 1, 1] = -1 / area
    last = encoder.conv_out.conv
    last.weight[:12] = 0
    last.weight[12:] *= 0.3
    for index in range(12):
        last.weight[index, index, now, 1, 1], last.weight[index, 12 + index, now, 1, 1] = 1.2, -1.2
    # The last channel is the log variance, which the image-to-video pipeline draws from: next to none.
    last.weight[-1], last.bias[-1] = 0, -14

    first = decoder.conv_in.conv
    first.weight[:32], first.bias[24:32] = 0, 3
    for index in range(12):
        first.weight[index, index, middle, 1, 1], first.weight[12 + index, index, middle, 1, 1] = 1, -1
    for block, kept in ((decoder.up_blocks[0], 16), (decoder.up_blocks[1], 8)):
        wider = block.upsamplers[0].conv.conv
        wider.weight[: kept * 8] = 0
        for channel in range(kept):
            for moment in (0, 1):
                rows = channel * 8 + moment * 4
                wider.weight[rows : rows + 4, 2 * channel + moment, middle, 1, 1] = 1
    last = decoder.conv_out.conv
    last.weight *= 0.1
    last.weight[:, :8] = 0
    for colour in range(3):
        last.weight[colour * area : (colour + 1) * area, colour, middle, 1, 1] = 1.6
        last.weight[colour * area : (colour + 1) * area, 3 + colour, middle, 1, 1] = -1.6


def to_tensor(clips: np.ndarray) -> torch.Tensor:
    """uint8 clips (n, frames, h, w, 3) as floats (n, 3, frames, h, w) between -1 and 1."""
    return torch.from_numpy(np.ascontiguousarray(clips)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def crops(captioner: Captioner, chance: random.Random, count: int) -> torch.Tensor:
    """Pieces of clips, floats (count, 3, FRAMES, CROP, CROP), on a grid of 16 pixels, two from each clip."""
    made = []
    while len(made) < count:
        clip = draw_clip(captioner.clip().scene, FRAMES, SIZE)
        for _ in range(2):
            left, top = (chance.randrange(0, SIZE - CROP + 1, 8) for _ in range(2))
            piece = clip[:, top : top + CROP, left : left + CROP]
            if piece.min(axis=(0, 1, 2)).tolist() != piece.max(axis=(0, 1, 2)).tolist():
                made.append(piece)
    return to_tensor(np.stack(made[:count]))


def train(
    target: Path,
    *,
    steps: int,
    batch: int = 12,
    peak: float = 1.2e-3,
    seed: int = 5,
    decoder_only: bool = False,
) -> None:
    """Trains the autoencoder and writes it to the folder `target`.

    With `decoder_only` the one that lies there gets a better decoder: latents, and so a denoiser that was
    trained on them, stay valid.
    """
    loop.start(seed)
    captioner, chance = Captioner(seed), random.Random(seed)
    model = AutoencoderKLLTXVideo.from_pretrained(target, dtype=torch.float32) if decoder_only else build()
    model.train().encoder.requires_grad_(not decoder_only)
    average = loop.Average(model, 0.998)
    learning = [param for param in model.parameters() if param.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=peak, betas=(0.9, 0.98), weight_decay=1e-4)
    counter = loop.Steps(optimizer, steps, every=50)
    for step in counter:
        clips = crops(captioner, chance, batch)
        with torch.autocast("cpu", torch.bfloat16):
            latents = model.encode(clips).latent_dist.mean
            decoded = model.decode(latents + 0.05 * torch.randn_like(latents)).sample
        decoded = decoded.float()
        error, square = F.l1_loss(decoded, clips), F.mse_loss(decoded, clips)
        loop.descend(error + square + 1e-3 * latents.float().square().mean(), model, optimizer)
        average.update(model)
        counter.note(l1=error, mse=square)
        if step % 250 == 249 and not decoder_only:
            average.model.save_pretrained(target)
    if not decoder_only:
        level(average.model, Captioner(seed + 1))
    average.model.save_pretrained(target)
    print(f"held-out clips: {quality(average.model, Captioner(seed + 2, held_out=True)):.1f} dB")


def clips_of(captioner: Captioner, count: int) -> torch.Tensor:
    """Whole clips, floats (count, 3, FRAMES, SIZE, SIZE)."""
    return to_tensor(np.stack([draw_clip(captioner.clip().scene, FRAMES, SIZE) for _ in range(count)]))


@torch.no_grad()
def level(model: AutoencoderKLLTXVideo, captioner: Captioner) -> None:
    """Stores every latent channel's mean and deviation; the pipelines bring the latents to zero and one
    with them.
    """
    latents = model.encode(clips_of(captioner, 64)).latent_dist.mode()
    model.latents_mean.copy_(latents.mean((0, 2, 3, 4)))
    model.latents_std.copy_(latents.std((0, 2, 3, 4)))


@torch.no_grad()
def quality(model: AutoencoderKLLTXVideo, captioner: Captioner) -> float:
    """Peak signal-to-noise ratio of whole clips that went through the autoencoder, in decibels."""
    clips = clips_of(captioner, 16)
    decoded = model.decode(model.encode(clips).latent_dist.mode()).sample.clamp(-1, 1)
    return float(10 * torch.log10(4 / F.mse_loss(decoded, clips)))
