"""The image autoencoder before training, and the training of its encoder: 256x256 pictures to 16x16 latents."""

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
from models.training.latent_code import CELL, CHANNELS, COLOUR_SCALE, COLOUR_SHIFT, count_for, grid, latents
from models.training.muon import Muon, split
from models.training.scenes import draw

ENCODER_WIDTH, DECODER_WIDTH = 24, 48
ENCODER_BLOCKS, DECODER_BLOCKS = (0, 0, 1, 2, 4), (4, 3, 0, 3, 1)
# The decoder's layers up to the end of the second level, which work on points eight pixels apart.
COARSE = 2 + DECODER_BLOCKS[0] + 2 + DECODER_BLOCKS[1]
# What the coarse layers state, by channel: distance, colours, place, radius, kind; see `decoder.facts`.
COLOURED, PLACED, SIZED, NAMED, STATED = 1, 7, 9, 10, 16
SHARES = 4  # into which the last layers divide a pixel on an outline
MARGIN = 1.5  # cells from an outline beyond which the distance to it is cut off
REACH, MIDDLE, LARGE = 7.0, 2.0, 4.0  # a place is stated as cells / REACH + MIDDLE, a radius as cells / LARGE


def build() -> AutoencoderTiny:
    """The autoencoder before training: its encoder averages colours, its last layers draw outlines from distances."""
    model = AutoencoderTiny(
        encoder_block_out_channels=(ENCODER_WIDTH,) * 5,
        decoder_block_out_channels=(DECODER_WIDTH,) * 5,
        num_encoder_blocks=ENCODER_BLOCKS,
        num_decoder_blocks=DECODER_BLOCKS,
        latent_channels=CHANNELS,
        upsample_fn="bilinear",
    )
    with torch.no_grad():
        for conv in (module for module in model.modules() if isinstance(module, nn.Conv2d)):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
        for block in (module for module in model.modules() if isinstance(module, AutoencoderTinyBlock)):
            block.conv[-1].weight *= 0.2
        average_colours(model.encoder.layers)
        pass_colours(model.decoder.layers[0])
        upsample(model.decoder.layers[COARSE:])
        threshold(model.decoder.layers[COARSE:])
    return model


def average_colours(layers: nn.Sequential) -> None:
    """Makes an encoder's first three channels pass the mean colours on, as the latents want them."""
    for block in (layer for layer in layers if isinstance(layer, AutoencoderTinyBlock)):
        block.conv[-1].weight[:3] = 0
    for conv in (layer for layer in layers if isinstance(layer, nn.Conv2d)):
        conv.weight[:3] = 0
        for colour in range(3):
            if conv.stride == (2, 2):
                conv.weight[colour, colour, 1:, 1:] = 0.25
            else:
                conv.weight[colour, colour, 1, 1] = 1
    layers[-1].weight[:3] *= COLOUR_SCALE
    layers[-1].bias[:3] = COLOUR_SHIFT


def pass_colours(first: nn.Conv2d) -> None:
    """Makes a decoder's first layer state the cell's colour as that of both the shape and the background."""
    first.weight[:STATED] = 0
    for colour in range(3):
        for channel in (COLOURED + colour, COLOURED + 3 + colour):
            first.weight[channel, colour, 1, 1] = 1 / COLOUR_SCALE
            first.bias[channel] = -COLOUR_SHIFT / COLOUR_SCALE
    first.bias[0] = MARGIN
    first.bias[PLACED:SIZED] = MIDDLE
    first.bias[NAMED:STATED] = 1 / (STATED - NAMED)


def upsample(layers: nn.Sequential) -> None:
    """Makes a decoder's fine layers, except the last ones, upsample what the coarse layers state."""
    for block in [layer for layer in layers if isinstance(layer, AutoencoderTinyBlock)][:-1]:
        for conv in (layer for layer in block.conv if isinstance(layer, nn.Conv2d)):
            conv.weight.zero_()
    for conv in [layer for layer in layers if isinstance(layer, nn.Conv2d)][:-1]:
        conv.weight.zero_()
        for channel in range(STATED):
            conv.weight[channel, channel, 1, 1] = 1


def threshold(layers: nn.Sequential) -> None:
    """Makes a decoder's last layers draw: the colour of the shape within the outline, that of the background outside.

    A pixel is the mean of SHARES thin shares of it, each nearly all shape or all background.
    """
    block = [layer for layer in layers if isinstance(layer, AutoencoderTinyBlock)][-1]
    first, second, third = (layer for layer in block.conv if isinstance(layer, nn.Conv2d))
    before, last = [layer for layer in layers if isinstance(layer, nn.Conv2d)][-2:]
    colours, shown = 2 * SHARES, slice(STATED, STATED + 3)
    before.weight[shown] = 0
    for conv in (first, second, third, last):
        conv.weight.zero_()
        conv.bias.zero_()
    for share in range(SHARES):
        # Within the shape or not: relu(x + 1/2) - relu(x - 1/2), x the pixel's distance in shares.
        for half, sign in ((2 * share, 0.5), (2 * share + 1, -0.5)):
            first.weight[half, 0, 1, 1] = CELL * SHARES
            first.bias[half] = sign - CELL * SHARES * MARGIN - share + (SHARES - 1) / 2
    for colour in range(3):
        last.weight[colour, STATED + colour, 1, 1] = 1
        for side, sign in ((0, 1.0), (3, -1.0)):  # the colour of the shape is kept within it, the other one outside
            first.weight[colours + side + colour, COLOURED + side + colour, 1, 1] = 1
            for share in range(SHARES):
                kept = 6 * share + side + colour
                second.weight[kept, colours + side + colour, 1, 1] = 1
                second.weight[kept, 2 * share : 2 * share + 2, 1, 1] = torch.tensor([sign, -sign])
                second.bias[kept] = -1 if sign > 0 else 0
                third.weight[STATED + colour, kept, 1, 1] = 1 / SHARES


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """uint8 pictures (n, h, w, 3) as floats (n, 3, h, w) between -1 and 1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


class Pictures:
    """Makes batches for the encoder: pictures and their latents."""

    def __init__(self, batch: int, held_out: bool = False) -> None:
        self.batch, self.held_out = batch, held_out

    def __call__(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch with a number: pictures, uint8 (n, h, w, 3), and latents, float32 (n, 4, h / CELL, w / CELL)."""
        captioner = Captioner(seed, held_out=self.held_out)
        rows, columns = (16, 16) if self.held_out else grid(random.Random(seed))
        scenes = [captioner.image().scene for _ in range(count_for(self.batch, rows, columns))]
        size = (columns * CELL, rows * CELL)
        pictures = [draw(scene.background, scene.things, size) for scene in scenes]
        return np.stack(pictures), np.stack([latents(scene, rows, columns) for scene in scenes])


def train_encoder(
    target: Path, *, steps: int, batches: int = 250, batch: int = 12, peak: float = 3e-3, seed: int = 9
) -> None:
    """Trains the encoder of the autoencoder in the folder `target`."""
    lessons = loop.prepared(Pictures(batch), batches, seed)
    loop.start(seed)
    chance = random.Random(seed)
    model = AutoencoderTiny.from_pretrained(target, dtype=torch.float32)
    average = loop.Average(model, 0.99)
    optimizer = Muon(split(model.encoder, peak, outer=("layers.0.",)), peak)
    counter = loop.Steps(optimizer, steps, every=20)
    for step in counter:
        pictures, truth = chance.choice(lessons)
        given = to_tensor(pictures)
        made = model.encoder(given + 0.02 * torch.randn_like(given))
        errors = (made - torch.from_numpy(truth)).square().mean((0, 2, 3))
        loop.descend(errors.sum(), model.encoder, optimizer)
        average.update(model)
        counter.note(colours=errors[:3].mean(), pattern=errors[3])
        if step % 100 == 99 or step + 1 == steps:
            average.model.save_pretrained(target)
    print(f"held-out pictures: {quality(average.model):.1f} dB")


@torch.no_grad()
def quality(model: AutoencoderTiny) -> float:
    """Peak signal-to-noise ratio of whole pictures after encoding and decoding, in decibels."""
    pictures = to_tensor(Pictures(32, held_out=True)(1)[0])
    decoded = model.decoder(model.encoder(pictures)).clamp(-1, 1)
    return float(10 * torch.log10(4 / F.mse_loss(decoded, pictures)))
