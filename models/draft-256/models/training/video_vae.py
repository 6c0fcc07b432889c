"""Trains the video autoencoder: every frame of 64x64 to an 8x8 latent of four channels and back.

Frames are coded one by one: the class could compress time too, but so its convolutions learn as fast as those of a
picture's autoencoder, and the denoiser alone is answerable for the motion.
"""

from __future__ import annotations

import random
from pathlib import Path
from types import MethodType

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, patchify, unpatchify
from torch import nn

from models.training import loop
from models.training.captions import Captioner
from models.training.scenes import at_time, draw, draw_clip

SIZE, FRAMES = 64, 9
LATENTS = 4
PATCH = 2
FACTOR = 8  # pixels per latent, both ways
PASSED = 8  # channels that carry the plain colours at the start: three, their negatives, two constants
NOW = 2  # the tap of the present frame in a causal kernel


def build() -> AutoencoderKLWan:
    """The autoencoder before training: like the image autoencoder, it starts as downscaling and upscaling."""
    model = AutoencoderKLWan(
        base_dim=32,
        decoder_base_dim=40,
        z_dim=LATENTS,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, False],
        latents_mean=[0.0] * LATENTS,
        latents_std=[1.0] * LATENTS,
        in_channels=3 * PATCH**2,
        out_channels=3 * PATCH**2,
        patch_size=PATCH,
        scale_factor_temporal=1,
        scale_factor_spatial=FACTOR,
    )
    pass_colours_through(model)
    return model


@torch.no_grad()
def pass_colours_through(model: AutoencoderKLWan) -> None:
    """Sets the start weights so that mean colours pass through nearly unchanged.

    Channels 0-2 carry a colour, 3-5 its negative and 6-7 a constant. The constant keeps the RMS norms at the
    ends nearly constant, and SiLU(x) - SiLU(-x) = x undoes the activations. Taps of earlier frames are zero
    and stay it.
    """
    for module in model.modules():
        if isinstance(module, WanCausalConv3d):
            nn.init.zeros_(module.weight)
            nn.init.kaiming_normal_(module.weight[:, :, -1], nonlinearity="relu")
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    own = torch.eye(PASSED)
    for name, module in model.named_modules():
        if name.endswith("conv2"):  # the end of a residual branch
            module.weight *= 0.1
            module.weight[:PASSED] = 0
        elif name.endswith("conv_shortcut") and isinstance(module, WanCausalConv3d):
            module.weight[:PASSED] = 0
            module.weight[:PASSED, :PASSED, 0, 0, 0] = own
        elif name.endswith("resample.1") and isinstance(module, nn.Conv2d):
            down = module.stride == (2, 2)
            module.weight[:PASSED] = 0
            taps = (0, 1) if down else (1,)
            for row in taps:
                for column in taps:
                    module.weight[:PASSED, :PASSED, row, column] = own / len(taps) ** 2
        elif name.endswith("proj"):  # the end of an attention block
            module.weight.zero_()
    area = PATCH**2
    first, last = model.encoder.conv_in, model.encoder.conv_out
    first.weight[:PASSED], first.bias[6:PASSED] = 0, 3
    for colour in range(3):
        first.weight[colour, colour * area : (colour + 1) * area, NOW, 1, 1] = 1 / area
        first.weight[3 + colour, colour * area : (colour + 1) * area, NOW, 1, 1] = -1 / area
    last.weight *= 0.3
    last.weight[:3], last.weight[LATENTS:], last.bias[LATENTS:] = 0, 0, -14  # the second half are log variances
    for colour in range(3):
        last.weight[colour, colour, NOW, 1, 1], last.weight[colour, 3 + colour, NOW, 1, 1] = 1.2, -1.2
    for thin in (model.quant_conv, model.post_quant_conv):
        thin.weight[:, :, 0, 0, 0] = torch.eye(thin.out_channels)

    first, last = model.decoder.conv_in, model.decoder.conv_out
    first.weight[:PASSED], first.bias[6:PASSED] = 0, 3
    for colour in range(3):
        first.weight[colour, colour, NOW, 1, 1], first.weight[3 + colour, colour, NOW, 1, 1] = 1, -1
    last.weight *= 0.1
    last.weight[:, :PASSED] = 0
    for colour in range(3):
        rows = slice(colour * area, (colour + 1) * area)
        last.weight[rows, colour, NOW, 1, 1], last.weight[rows, 3 + colour, NOW, 1, 1] = 2.5, -2.5


def frame_by_frame(model: AutoencoderKLWan) -> AutoencoderKLWan:
    """Makes the convolutions work on single frames as 2D ones, at a third of the cost; weights keep their
    form.
    """

    def flat(conv: WanCausalConv3d, x: torch.Tensor, cache_x: None = None) -> torch.Tensor:
        done = F.conv2d(x[:, :, 0], conv.weight[:, :, -1], conv.bias, padding=conv._padding[0])
        return done[:, :, None]

    for module in model.modules():
        if isinstance(module, WanCausalConv3d):
            module.forward = MethodType(flat, module)
    return model


def encode(model: AutoencoderKLWan, frames: torch.Tensor) -> torch.Tensor:
    """Latents (n, LATENTS, h, w) of single frames (n, 3, 8 h, 8 w); the model must be `frame_by_frame`."""
    return model.quant_conv(model.encoder(patchify(frames[:, :, None], PATCH)))[:, :LATENTS, 0]


def decode(model: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    """The reverse of `encode`, not clamped."""
    return unpatchify(model.decoder(model.post_quant_conv(latents[:, :, None])), PATCH)[:, :, 0]


def to_tensor(frames: np.ndarray) -> torch.Tensor:
    """uint8 frames (n, h, w, 3) as floats (n, 3, h, w) between -1 and 1."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def stills(captioner: Captioner, chance: random.Random, count: int) -> torch.Tensor:
    """Single frames of clips at any moment, floats (count, 3, SIZE, SIZE), some in other hues."""
    made = []
    for _ in range(count):
        scene = captioner.clip().scene
        frame = draw(scene.background, at_time(scene, chance.random()), SIZE)
        if chance.random() < 0.2:  # so that pictures from other sources survive encoding
            gain = np.array([chance.uniform(0.3, 1) for _ in range(3)])
            shift = np.array([chance.uniform(0, 1) for _ in range(3)]) * 255 * (1 - gain)
            frame = (frame * gain + shift).astype(np.uint8)
        made.append(frame)
    return to_tensor(np.stack(made))


def train(target: Path, *, steps: int, batch: int = 16, peak: float = 1.5e-3, seed: int = 5) -> None:
    """Trains the autoencoder and writes it to the folder `target`."""
    loop.start(seed)
    captioner, chance = Captioner(seed), random.Random(seed)
    model = frame_by_frame(build()).train()
    average = loop.Average(model, 0.998)
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.0)
    counter = loop.Steps(optimizer, steps)
    for step in counter:
        frames = stills(captioner, chance, batch)
        with torch.autocast("cpu", torch.bfloat16):
            latents = encode(model, frames)
            # Noise makes the decoder robust: a denoiser never produces a latent exactly.
            decoded = decode(model, latents + 0.05 * torch.randn_like(latents))
        decoded = decoded.float()
        error, square = F.l1_loss(decoded, frames), F.mse_loss(decoded, frames)
        loop.descend(error + square + 1e-3 * latents.float().square().mean(), model, optimizer)
        average.update(model)
        counter.note(l1=error, mse=square)
        if step % 500 == 499 or step + 1 == steps:
            level(average.model, seed + 1)
            average.model.save_pretrained(target)
            print(f"held-out clips: {quality(average.model, seed + 2):.1f} dB", flush=True)


@torch.no_grad()
def level(model: AutoencoderKLWan, seed: int) -> None:
    """Stores mean and standard deviation of each latent channel, by which the pipelines normalise latents."""
    latents = encode(model, stills(Captioner(seed), random.Random(seed), 256))
    model.register_to_config(
        latents_mean=[round(value, 4) for value in latents.mean((0, 2, 3)).tolist()],
        latents_std=[round(value, 4) for value in latents.std((0, 2, 3)).tolist()],
    )


@torch.no_grad()
def quality(model: AutoencoderKLWan, seed: int) -> float:
    """Peak signal-to-noise ratio of frames of held-out clips after encoding and decoding, in decibels."""
    captioner = Captioner(seed, held_out=True)
    frames = to_tensor(np.concatenate([draw_clip(captioner.clip().scene, FRAMES, SIZE)[::4] for _ in range(16)]))
    decoded = decode(model, encode(model, frames)).clamp(-1, 1)
    return float(10 * torch.log10(4 / F.mse_loss(decoded, frames)))
