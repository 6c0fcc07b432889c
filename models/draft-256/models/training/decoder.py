"""Trains the image decoder: from the latents of `latent_code` to pictures with sharp outlines.

The layers of the two coarsest levels first learn to say, for a grid of points eight pixels apart, how far
the nearest outline is and which colours lie on its two sides. Such distances are smooth, so plain upsampling
keeps outlines exact where they are straight; the finer layers start as just that, followed by a
threshold, and then learn corners from pictures.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from models.training import loop
from models.training.autoencoder import COARSE, MARGIN, STATED, build, to_tensor
from models.training.captions import Captioner, Sample
from models.training.latent_code import CELL, count_for, grid, latents
from models.training.muon import Muon, split
from models.training.scenes import COLOURS, OUTLINES, Scene, draw
from models.training.text import tokenize
from models.training.unet import scheduler

POINT = CELL // 2  # pixels between the points for which distances are learned
WINDOW, HALO = 64, 16  # pixels: side of the part of a picture that is compared, and what is decoded around it
BLUR = 0.2  # strongest noise on latents


def distances(scene: Scene, rows: int, columns: int) -> np.ndarray:
    """What the coarse layers must say about a scene of rows x columns cells: float32 (STATED, 2 rows, 2 columns).

    The first channel is MARGIN plus the distance to the nearest outline in cells, positive within shapes and
    cut off at MARGIN; the others are the colours of the nearest shape and of the background.
    """
    y, x = np.meshgrid((np.arange(2 * rows) + 0.5) / 2, (np.arange(2 * columns) + 0.5) / 2, indexing="ij")
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    side = min(rows, columns)
    each = [
        signed_distance(points, OUTLINES[thing.shape] * thing.radius * side + (thing.x * columns, thing.y * rows))
        for thing in scene.things
    ]
    nearest = np.argmax(each, axis=0)
    made = np.empty((STATED, len(points)), dtype=np.float32)
    made[0] = np.clip(np.max(each, axis=0), -MARGIN, MARGIN) + MARGIN
    made[1:4] = np.array([COLOURS[thing.colour] for thing in scene.things])[nearest].T / 255
    made[4:7] = np.array(COLOURS[scene.background])[:, None] / 255
    return made.reshape(STATED, 2 * rows, 2 * columns)


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


def blurred(clean: torch.Tensor) -> torch.Tensor:
    """Latents with noise of random strengths, part of it spread over several cells: a denoiser is never exact."""
    count, channels, rows, columns = clean.shape
    wide = F.interpolate(torch.randn(count, channels, rows // 4, columns // 4), size=(rows, columns), mode="bilinear")
    fine, coarse = BLUR * torch.rand(2, count, 1, 1, 1)
    return clean + fine * torch.randn_like(clean) + coarse * wide


def coarse_loss(said: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Errors of distances, counted most near outlines, and of colours, counted where they are needed."""
    distance = truth[:, :1] - MARGIN
    error = F.smooth_l1_loss(said[:, :STATED], truth, reduction="none", beta=0.02)
    shape, ground = (distance > -0.5).float(), (distance < 0.5).float()
    return (error[:, :1] * (0.1 + (distance.abs() < 1).float())).mean(), (
        3 * (error[:, 1:4] * (0.02 + shape)).mean() + 2 * (error[:, 4:] * (0.02 + ground)).mean()
    )


def train_coarse(
    target: Path, denoiser: Path, *, steps: int, batch: int = 16, peak: float = 2e-3, seed: int = 7
) -> None:
    """Trains the coarse layers of a new autoencoder, and writes it to the folder `target`; see `train`."""
    loop.start(seed)
    captioner, chance = Captioner(seed), random.Random(seed)
    model = build()
    guess = Guesser(denoiser)
    coarse = model.decoder.layers[:COARSE]
    average = loop.Average(model, 0.99)
    optimizer = Muon(split(coarse, peak, outer=("0.",)), peak)
    counter = loop.Steps(optimizer, steps, every=20)
    for step in counter:
        rows, columns = grid(chance)
        samples = [captioner.image() for _ in range(count_for(batch, rows, columns))]
        clean = torch.from_numpy(np.stack([latents(s.scene, rows, columns) for s in samples]))
        truth = torch.from_numpy(np.stack([distances(s.scene, rows, columns) for s in samples]))
        given = guess(clean, samples) if chance.random() < 0.5 else blurred(clean)
        said = coarse(torch.tanh(given / 3) * 3)
        distance, colour = coarse_loss(said, truth)
        loop.descend(distance + colour, coarse, optimizer)
        average.update(model)
        counter.note(distance=distance, colour=colour)
        if step % 100 == 99 or step + 1 == steps:
            average.model.save_pretrained(target)


class Guesser:
    """Makes latents that a trained denoiser takes for the clean ones, with its typical mistakes."""

    def __init__(self, folder: Path) -> None:
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet", dtype=torch.float32).eval()
        self.encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.schedule = scheduler()

    @torch.no_grad()
    def __call__(self, clean: torch.Tensor, samples: list[Sample]) -> torch.Tensor:
        """The denoiser's guesses (n, 4, h, w) from clean latents with noise of up to 40 % of the schedule."""
        times = (torch.rand(len(clean)) * 400).long()
        noise = torch.randn_like(clean)
        noisy = self.schedule.add_noise(clean, noise, times)
        states = self.encoder(tokenize(self.tokenizer, [sample.caption for sample in samples])[0]).last_hidden_state
        velocity = self.unet(noisy, times, states).sample
        kept = self.schedule.alphas_cumprod[times].view(-1, 1, 1, 1)
        return kept.sqrt() * noisy - (1 - kept).sqrt() * velocity


def train(target: Path, denoiser: Path, *, steps: int, batch: int = 12, peak: float = 4e-4, seed: int = 8) -> None:
    """Trains the whole decoder of the autoencoder in the folder `target`, for latents as `denoiser` makes them."""
    loop.start(seed)
    captioner, chance = Captioner(seed), random.Random(seed)
    model = AutoencoderTiny.from_pretrained(target, dtype=torch.float32)
    coarse, fine = model.decoder.layers[:COARSE], model.decoder.layers[COARSE:]
    guess = Guesser(denoiser)
    average = loop.Average(model, 0.99)
    optimizer = torch.optim.AdamW(model.decoder.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=1e-4)
    counter = loop.Steps(optimizer, steps, every=20)
    for step in counter:
        rows, columns = grid(chance)
        samples = [captioner.image() for _ in range(count_for(batch, rows, columns))]
        clean = torch.from_numpy(np.stack([latents(s.scene, rows, columns) for s in samples]))
        truth = torch.from_numpy(np.stack([distances(s.scene, rows, columns) for s in samples]))
        given = guess(clean, samples) if chance.random() < 0.5 else blurred(clean)
        stated = coarse(torch.tanh(given / 3) * 3)
        distance, colour = coarse_loss(stated, truth)
        corners = [window(s.scene, rows, columns, chance) for s in samples]
        parts = torch.stack([cut(piece, *corner) for piece, corner in zip(stated, corners, strict=True)])
        drawn = fine(parts).mul(2).sub(1)[..., HALO:-HALO, HALO:-HALO]
        size = (columns * CELL, rows * CELL)
        pictures = [
            draw(s.scene.background, s.scene.things, size, window=(*corner, WINDOW, WINDOW))
            for s, corner in zip(samples, corners, strict=True)
        ]
        wanted = to_tensor(np.stack(pictures))
        error, square = F.l1_loss(drawn, wanted), F.mse_loss(drawn, wanted)
        loop.descend(error + 0.2 * square + 0.5 * (distance + colour), model.decoder, optimizer)
        average.update(model)
        counter.note(l1=error, mse=square, distance=distance)
        if step % 100 == 99 or step + 1 == steps:
            average.model.save_pretrained(target)


def window(scene: Scene, rows: int, columns: int, chance: random.Random) -> tuple[int, int]:
    """Left and top, in pixels, of a window near an outline; multiples of POINT, at least HALO from the rim."""
    thing = chance.choice(scene.things)
    spot = chance.choice(OUTLINES[thing.shape].tolist())
    radius = thing.radius * min(rows, columns)
    corner = []
    for place, offset, cells in ((thing.x, spot[0], columns), (thing.y, spot[1], rows)):
        middle = (place * cells + offset * radius) * CELL + chance.uniform(-0.4, 0.4) * WINDOW
        first = round((middle - WINDOW / 2) / POINT) * POINT
        corner.append(min(max(first, HALO), cells * CELL - WINDOW - HALO))
    return corner[0], corner[1]


def cut(stated: torch.Tensor, left: int, top: int) -> torch.Tensor:
    """The part of coarse features (n, 2 rows, 2 columns) that a window with its halo needs."""
    side = (WINDOW + 2 * HALO) // POINT
    x, y = (left - HALO) // POINT, (top - HALO) // POINT
    return stated[:, y : y + side, x : x + side]
