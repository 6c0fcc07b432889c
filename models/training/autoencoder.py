"""Trains the image autoencoder: 128x128 pictures to 16x16 latents of four channels and back."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from torch import nn

from models.training import loop
from models.training.captions import Captioner
from models.training.scenes import draw

SIZE = 128
CROP = 64
WIDTH = 48


def build() -> AutoencoderTiny:
    """The autoencoder before training: it starts as plain downscaling and upscaling of the picture.

    Three channels of every layer pass the colours through (averaged on the way down, repeated on the way
    up); all others start at random. From there, edges are learned within minutes; a wholly random start
    stays grey for long.
    """
    model = AutoencoderTiny(
        encoder_block_out_channels=(WIDTH,) * 4,
        decoder_block_out_channels=(WIDTH,) * 4,
        num_encoder_blocks=(0, 1, 1, 2),
        num_decoder_blocks=(3, 2, 1, 0),
        latent_channels=4,
    )
    layers = [*model.encoder.layers, *model.decoder.layers]
    with torch.no_grad():
        for conv in (module for module in model.modules() if isinstance(module, nn.Conv2d)):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
        for block in (layer for layer in layers if isinstance(layer, AutoencoderTinyBlock)):
            block.conv[-1].weight *= 0.1
            block.conv[-1].weight[:3] = 0
        for conv in (layer for layer in layers if isinstance(layer, nn.Conv2d)):
            conv.weight[:3] = 0
            for colour in range(3):
                if conv.stride == (2, 2):
                    conv.weight[colour, colour, 1:, 1:] = 0.25
                else:
                    conv.weight[colour, colour, 1, 1] = 1
        last, first = model.encoder.layers[-1], model.decoder.layers[0]
        last.weight[:3] *= 4  # colours 0..1 become latents -2..2
        last.weight[3] *= 0.3
        last.bias[:3] = -2
        first.weight[:3] /= 4
        first.bias[:3] = 0.5
    return model


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """uint8 pictures (n, h, w, 3) as floats (n, 3, h, w) between -1 and 1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def crops(captioner: Captioner, chance: random.Random, count: int) -> torch.Tensor:
    """Crops of pictures near shapes, floats (count, 3, CROP, CROP): plain background teaches little."""
    pieces = []
    while len(pieces) < count:
        scene = captioner.image().scene
        picture = draw(scene.background, scene.things, SIZE)
        if chance.random() < 0.3:  # other hues too, so that pictures from other sources survive encoding
            gain = np.array([chance.uniform(0.3, 1) for _ in range(3)])
            shift = np.array([chance.uniform(0, 1) for _ in range(3)]) * 255 * (1 - gain)
            picture = (picture * gain + shift).astype(np.uint8)
        for thing in chance.sample(scene.things, 1):
            left = min(max(int(thing.x * SIZE) - CROP // 2 + chance.randint(-24, 24), 0), SIZE - CROP)
            top = min(max(int(thing.y * SIZE) - CROP // 2 + chance.randint(-24, 24), 0), SIZE - CROP)
            pieces.append(picture[top : top + CROP, left : left + CROP])
    return to_tensor(np.stack(pieces[:count]))


def train(target: Path, *, steps: int, batch: int = 16, peak: float = 1.5e-3, seed: int = 1) -> None:
    """Trains the autoencoder and writes it to the folder `target`."""
    loop.start(seed)
    captioner, chance = Captioner(seed), random.Random(seed)
    model = build()
    average = loop.Average(model, 0.998)
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=1e-4)
    counter = loop.Steps(optimizer, steps)
    for step in counter:
        pictures = crops(captioner, chance, batch)
        with torch.autocast("cpu", torch.bfloat16):
            latents = model.encoder(pictures)
            # Noise makes the decoder robust: a denoiser never produces a latent exactly.
            decoded = model.decoder(latents + 0.05 * torch.randn_like(latents))
        decoded = decoded.float()
        error, square = F.l1_loss(decoded, pictures), F.mse_loss(decoded, pictures)
        loop.descend(error + square + 1e-3 * latents.float().square().mean(), model, optimizer)
        average.update(model)
        counter.note(l1=error, mse=square)
        if step % 500 == 499:
            average.model.save_pretrained(target)
    average.model.register_to_config(scaling_factor=scale(average.model, Captioner(seed + 1)))
    average.model.save_pretrained(target)
    print(f"held-out pictures: {quality(average.model, Captioner(seed + 2, held_out=True)):.1f} dB")


def pictures_of(captioner: Captioner, count: int) -> torch.Tensor:
    """Whole pictures, floats (count, 3, SIZE, SIZE)."""
    scenes = [captioner.image().scene for _ in range(count)]
    return to_tensor(np.stack([draw(scene.background, scene.things, SIZE) for scene in scenes]))


@torch.no_grad()
def scale(model: AutoencoderTiny, captioner: Captioner) -> float:
    """The factor that scales the latents to a standard deviation of one."""
    return round(float(1 / model.encoder(pictures_of(captioner, 64)).square().mean().sqrt()), 4)


@torch.no_grad()
def quality(model: AutoencoderTiny, captioner: Captioner) -> float:
    """Peak signal-to-noise ratio of whole pictures after encoding and decoding, in decibels."""
    pictures = pictures_of(captioner, 32)
    decoded = model.decoder(model.encoder(pictures)).clamp(-1, 1)
    return float(10 * torch.log10(4 / F.mse_loss(decoded, pictures)))
