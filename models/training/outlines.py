"""Trains the decoder's outline layers: from a point's place in a shape to its distance from the shape's outline.

The coarse layers state for every point where the centre of the nearest shape is, how large it is, and which of
the six shapes it is. From that, these layers compute the distance to the outline, corners included. They look at
one point at a time, so they are trained as a small network on points alone, without pictures, and then written
into the middles of the decoder's kernels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from torch import nn

from models.training import loop
from models.training.autoencoder import (
    COARSE,
    COLOURED,
    DECODER_BLOCKS,
    DECODER_WIDTH,
    LARGE,
    MARGIN,
    MIDDLE,
    NAMED,
    PLACED,
    REACH,
    SIZED,
    STATED,
    build,
)
from models.training.muon import Muon, split
from models.training.scenes import OUTLINES, SHAPES

SMALLEST, LARGEST = 0.7, 12.0  # cells: radii of the shapes of points
SLACK = 0.4  # cells by which an outline may lie outside the one that the coarse layers state
TABLE = 512  # points per axis of the table of distances, which reaches from -EXTENT to EXTENT radii
EXTENT = 1.5


def signed_distance(points: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Distances (n,) of points (n, 2) to a closed outline (m, 2), positive inside it."""
    start, way = outline, np.roll(outline, -1, axis=0) - outline
    off = points[:, None] - start
    along = np.clip((off * way).sum(2) / (way**2).sum(1), 0, 1)
    apart = np.hypot(*np.moveaxis(off - along[..., None] * way, 2, 0)).min(1)
    below = start[:, 1] <= points[:, None, 1]
    crossing = below != np.roll(below, -1, axis=1)
    side = (way[:, 0] * off[..., 1] - way[:, 1] * off[..., 0] > 0) == below
    inside = (crossing & side).sum(1) % 2 == 1
    return np.where(inside, apart, -apart)


def distance_table() -> torch.Tensor:
    """Distances to the outlines of the shapes with radius one, float32 (shapes, 1, TABLE, TABLE)."""
    axis = np.linspace(-EXTENT, EXTENT, TABLE)
    points = np.stack(np.meshgrid(axis, axis), axis=2).reshape(-1, 2)
    tables = [
        np.concatenate([signed_distance(part, OUTLINES[shape]) for part in np.split(points, 64)]) for shape in SHAPES
    ]
    return torch.from_numpy(np.stack(tables).astype(np.float32)).view(len(SHAPES), 1, TABLE, TABLE)


class Points:
    """Draws points with what the coarse layers state about them, and the distances that are wanted there."""

    def __init__(self, generator: torch.Generator) -> None:
        self.table, self.generator = distance_table(), generator
        both_ways = [np.concatenate([OUTLINES[shape], OUTLINES[shape][::-1]]) for shape in SHAPES]
        self.outlines = [torch.from_numpy(points.astype(np.float32)) for points in both_ways]

    def __call__(self, each: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Facts (n, DECODER_WIDTH) as the coarse layers state them, and distances (n,), for `each` points a shape."""
        kinds, random = len(SHAPES), self.generator
        radius = SMALLEST * (LARGEST / SMALLEST) ** torch.rand(kinds, each, generator=random)
        spot = (torch.rand(kinds, each, 2, generator=random) * 2 - 1) * (EXTENT - 0.01)
        # Two points in three are near the outline, and most of those near a corner, if the shape has few of them.
        for kind, outline in enumerate(self.outlines):
            first = torch.randint(0, len(outline), (2 * each // 3,), generator=random)
            along = torch.rand(len(first), 1, generator=random) ** 2
            line = outline[first].lerp(outline[(first + 1) % len(outline)], along)
            off = 0.1 * torch.randn(len(first), 2, generator=random) / radius[kind, : len(first), None]
            spot[kind, : len(first)] = (line + off).clamp(-EXTENT + 0.01, EXTENT - 0.01)
        apart = F.grid_sample(self.table, spot[:, None] / EXTENT, align_corners=True)[:, 0, 0] * radius
        stated = apart + 0.12 * torch.randn(kinds, each, generator=random)
        # Between two shapes, places are blends of both and mean nothing; there, only the stated distance counts.
        astray = torch.rand(kinds, each, generator=random) < 0.2
        stated = torch.where(astray, -MARGIN * torch.rand(kinds, each, generator=random), stated)
        facts = torch.zeros(kinds, each, DECODER_WIDTH)
        facts[..., 0] = stated.clamp(-MARGIN, MARGIN) + MARGIN
        facts[..., PLACED:SIZED] = spot * radius[..., None] / REACH + MIDDLE
        facts[..., SIZED] = radius / LARGE
        named = torch.eye(kinds)[:, None] + 0.05 * torch.randn(kinds, each, kinds, generator=random)
        facts[..., NAMED:STATED] = named.clamp(min=0)
        wanted = torch.minimum(apart, facts[..., 0] - MARGIN + SLACK).clamp(-MARGIN, MARGIN)
        return facts.flatten(0, 1), wanted.flatten()


class Outliner(nn.Module):
    """The outline layers for single points: the same sums as those of the decoder, without neighbours."""

    def __init__(self) -> None:
        super().__init__()
        width = DECODER_WIDTH
        self.enter = nn.Linear(width, width, bias=False)
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, width) for _ in range(3)) for _ in range(DECODER_BLOCKS[3])
        )
        self.leave = nn.Linear(width, 1, bias=False)
        # Colours pass these layers unchanged, and have no influence on outlines.
        other = torch.ones(width, 1)
        other[COLOURED:PLACED] = 0
        self.register_buffer("other", other)
        with torch.no_grad():
            for layer in (module for module in self.modules() if isinstance(module, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            for block in self.blocks:
                block[2].weight *= 0.3
            self.enter.weight[:STATED] = torch.eye(width)[:STATED]
            self.leave.weight.copy_(torch.eye(width)[:1])

    def weights(self) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        """The weights and biases of all layers in order, as the decoder wants them."""
        keep, passed = self.other.T, self.other
        enter = torch.cat([torch.eye(DECODER_WIDTH)[:STATED], (self.enter.weight * keep)[STATED:]])
        made: list[tuple[torch.Tensor, torch.Tensor | None]] = [(enter, None)]
        for first, second, third in self.blocks:
            made.append((first.weight * keep, first.bias))
            made.append((second.weight, second.bias))
            made.append((third.weight * passed, third.bias * passed[:, 0]))
        made.append((self.leave.weight * keep, None))
        return made

    def forward(self, facts: torch.Tensor) -> torch.Tensor:
        """Distances (n,), in cells, from facts (n, DECODER_WIDTH) as the coarse layers state them."""
        (enter, _), *inner, (leave, _) = self.weights()
        stream = F.linear(facts, enter)
        for start in range(0, len(inner), 3):
            made = stream
            for weight, bias in inner[start : start + 2]:
                made = F.relu(F.linear(made, weight, bias))
            stream = F.relu(F.linear(made, *inner[start + 2]) + stream)
        return F.linear(stream, leave)[:, 0] - MARGIN


def train(target: Path, *, steps: int, each: int = 3000, peak: float = 6e-3, seed: int = 8) -> None:
    """Trains the outline layers, and writes them into the autoencoder in the folder `target`, or into a new one."""
    loop.start(seed)
    points, outliner = Points(torch.Generator().manual_seed(seed)), Outliner()
    average = loop.Average(outliner, 0.995)
    optimizer = Muon(split(outliner, peak, outer=("leave",)), peak)
    counter = loop.Steps(optimizer, steps, every=100)
    for _ in counter:
        facts, wanted = points(each)
        error = (outliner(facts) - wanted).abs()
        near = (-(wanted.square()) / 0.1).exp()
        loop.descend((error * (0.02 + near)).mean(), outliner, optimizer)
        average.update(outliner)
        counter.note(all=error.mean(), near=(error * near).sum() / near.sum())
    model = AutoencoderTiny.from_pretrained(target, dtype=torch.float32) if target.is_dir() else build()
    place(average.model, model)
    model.save_pretrained(target)


def parts_of(fine: nn.Sequential) -> tuple[nn.Conv2d, list[nn.Conv2d], nn.Conv2d]:
    """The first, the inner and the last kernels of the outline layers among a decoder's fine layers."""
    blocks = [layer for layer in fine if isinstance(layer, AutoencoderTinyBlock)][:-1]
    _, enter, leave, *_ = [layer for layer in fine if isinstance(layer, nn.Conv2d)]
    return enter, [layer for block in blocks for layer in block.conv if isinstance(layer, nn.Conv2d)], leave


@torch.no_grad()
def place(outliner: Outliner, model: AutoencoderTiny) -> None:
    """Writes the weights of trained outline layers into the middles of a decoder's kernels."""
    enter, inner, leave = parts_of(model.decoder.layers[COARSE:])
    (entry, _), *pairs, (way_out, _) = outliner.weights()
    for conv, (weight, bias) in zip([enter, *inner], [(entry, None), *pairs], strict=True):
        conv.weight.zero_()
        conv.weight[:, :, 1, 1] = weight
        if bias is not None:
            conv.bias.copy_(bias)
    leave.weight[:1] = 0
    leave.weight[:1, :, 1, 1] = way_out


def middles(fine: nn.Sequential, stated: torch.Tensor) -> torch.Tensor:
    """Distances (n, h, w), in cells, that a decoder's outline layers compute from facts (n, DECODER_WIDTH, h, w)."""
    enter, inner, leave = parts_of(fine)

    def at(conv: nn.Conv2d, given: torch.Tensor) -> torch.Tensor:
        return F.conv2d(given, conv.weight[:, :, 1:2, 1:2], conv.bias)

    stream = at(enter, stated)
    for first, second, third in zip(inner[::3], inner[1::3], inner[2::3], strict=True):
        stream = F.relu(at(third, F.relu(at(second, F.relu(at(first, stream))))) + stream)
    return at(leave, stream)[:, 0] - MARGIN
