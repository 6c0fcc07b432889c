"""Trains the image decoder's coarse layers: from the latents of `latent_code` to facts about the nearest shape.

For a grid of points eight pixels apart, they state how far the nearest outline is, which colours lie on its two
sides, and of which shape it is: where its centre lies, how large it is, which of the six it is. The decoder's
finer layers draw from these facts; see `outlines`.
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
from models.training.autoencoder import (
    COARSE,
    COLOURED,
    LARGE,
    MARGIN,
    MIDDLE,
    NAMED,
    PLACED,
    REACH,
    SIZED,
    STATED,
)
from models.training.captions import Captioner, Sample
from models.training.latent_code import count_for, grid, latents
from models.training.muon import Muon, split
from models.training.outlines import middles, signed_distance
from models.training.scenes import COLOURS, OUTLINES, SHAPES, Scene
from models.training.text import tokenize
from models.training.unet import scheduler

BLUR = 0.2  # strongest noise on latents
GUIDANCE = 3.0


def facts(scene: Scene, rows: int, columns: int) -> np.ndarray:
    """What the coarse layers must state about a scene of rows x columns cells: float32 (STATED, 2 rows, 2 columns).

    By channel: MARGIN plus the distance to the nearest outline in cells, positive within shapes and cut off at
    MARGIN; the colours of the nearest shape and of the background; how far right of and below the centre of that
    shape the point lies; its radius; one for its kind and zero for the others.
    """
    y, x = np.meshgrid((np.arange(2 * rows) + 0.5) / 2, (np.arange(2 * columns) + 0.5) / 2, indexing="ij")
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    side = min(rows, columns)
    centres = np.array([(thing.x * columns, thing.y * rows) for thing in scene.things])
    radii = np.array([thing.radius * side for thing in scene.things])
    each = [
        signed_distance(points, OUTLINES[thing.shape] * radius + centre)
        for thing, radius, centre in zip(scene.things, radii, centres, strict=True)
    ]
    nearest = np.argmax(each, axis=0)
    made = np.empty((STATED, len(points)), dtype=np.float32)
    made[0] = np.clip(np.max(each, axis=0), -MARGIN, MARGIN) + MARGIN
    made[COLOURED : COLOURED + 3] = np.array([COLOURS[thing.colour] for thing in scene.things])[nearest].T / 255
    made[COLOURED + 3 : PLACED] = np.array(COLOURS[scene.background])[:, None] / 255
    made[PLACED:SIZED] = ((points - centres[nearest]) / REACH + MIDDLE).clip(0, 2 * MIDDLE).T
    made[SIZED] = radii[nearest] / LARGE
    made[NAMED:] = np.eye(len(SHAPES))[[SHAPES.index(thing.shape) for thing in scene.things]][nearest].T
    return made.reshape(STATED, 2 * rows, 2 * columns)


def blurred(clean: torch.Tensor) -> torch.Tensor:
    """Latents with noise of random strengths, part of it spread over several cells: a denoiser is never exact."""
    count, channels, rows, columns = clean.shape
    wide = F.interpolate(torch.randn(count, channels, rows // 4, columns // 4), size=(rows, columns), mode="bilinear")
    fine, coarse = BLUR * torch.rand(2, count, 1, 1, 1)
    return clean + fine * torch.randn_like(clean) + coarse * wide


def error_of(stated: torch.Tensor, drawn: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean errors by fact: distances count most near outlines, colours where they are needed, the rest near shapes.

    `drawn` is the distance (n, h, w) that the outline layers compute from what was stated.
    """
    distance = truth[:, :1] - MARGIN
    error = F.smooth_l1_loss(stated[:, :STATED], truth, reduction="none", beta=0.02)
    shape, ground = (distance > -0.5).float(), (distance < 0.5).float()
    line = F.smooth_l1_loss(drawn, distance[:, 0], reduction="none", beta=0.02)
    near = (distance > -0.8).float() + 2 * (distance.abs() < 0.8).float()
    return {
        "distance": (error[:, :1] * (0.1 + (distance.abs() < 1).float())).mean(),
        "line": 6 * (line * (0.02 + (distance[:, 0].abs() < 0.8).float())).mean(),
        "shape": 3 * (error[:, COLOURED : COLOURED + 3] * (0.02 + shape)).mean(),
        "ground": 2 * (error[:, COLOURED + 3 : PLACED] * (0.02 + ground)).mean(),
        "place": REACH / 2 * (error[:, PLACED:SIZED] * near).mean(),
        "radius": LARGE / 4 * (error[:, SIZED:NAMED] * near).mean(),
        "kind": (error[:, NAMED:STATED] * near).mean(),
    }


class Guesser:
    """Makes latents that a trained denoiser takes for the clean ones, with its typical mistakes."""

    def __init__(self, folder: Path) -> None:
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet", dtype=torch.float32).eval()
        self.encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.schedule = scheduler()

    @torch.no_grad()
    def __call__(self, clean: torch.Tensor, samples: list[Sample]) -> torch.Tensor:
        """The denoiser's guesses (n, 4, h, w), some with guidance, from clean latents with noise of up to 35 % of the
        schedule.
        """
        times = (torch.rand(len(clean)) * 350).long()
        noise = torch.randn_like(clean)
        noisy = self.schedule.add_noise(clean, noise, times)
        tokens = tokenize(self.tokenizer, [sample.caption for sample in samples] + [""])[0]
        states = self.encoder(tokens).last_hidden_state
        velocity = self.unet(noisy, times, states[:-1]).sample
        plain = self.unet(noisy, times, states[-1:].expand(len(clean), -1, -1)).sample
        velocity += (GUIDANCE - 1) * torch.randint(0, 2, (len(clean), 1, 1, 1)) * (velocity - plain)
        kept = self.schedule.alphas_cumprod[times].view(-1, 1, 1, 1)
        return kept.sqrt() * noisy - (1 - kept).sqrt() * velocity


class Lessons:
    """Makes batches for the coarse layers: clean latents, the denoiser's guesses of them, and the facts."""

    def __init__(self, denoiser: Path, batch: int) -> None:
        self.guess, self.batch = Guesser(denoiser), batch

    def __call__(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The batch with a number, as float32 arrays (n, channels, height, width)."""
        loop.start(seed)
        rows, columns = grid(random.Random(seed))
        captioner = Captioner(seed)
        samples = [captioner.image() for _ in range(count_for(self.batch, rows, columns))]
        clean = np.stack([latents(sample.scene, rows, columns) for sample in samples])
        guessed = self.guess(torch.from_numpy(clean), samples).numpy()
        return clean, guessed, np.stack([facts(sample.scene, rows, columns) for sample in samples])


def train(
    target: Path,
    denoiser: Path,
    *,
    steps: int,
    batches: int = 300,
    batch: int = 24,
    peak: float = 2e-3,
    seed: int = 7,
) -> None:
    """Trains the coarse layers of the autoencoder in the folder `target`, whose outline layers are trained, for latents
    as the denoiser in the folder `denoiser` makes them.
    """
    lessons = loop.prepared(Lessons(denoiser, batch), batches, seed)
    loop.start(seed)
    chance = random.Random(seed)
    model = AutoencoderTiny.from_pretrained(target, dtype=torch.float32)
    coarse, fine = model.decoder.layers[:COARSE], model.decoder.layers[COARSE:].requires_grad_(False)
    average = loop.Average(model, 0.99)
    optimizer = Muon(split(coarse, peak, outer=("0.",)), peak)
    counter = loop.Steps(optimizer, steps, every=20)
    for step in counter:
        clean, guessed, truth = map(torch.from_numpy, chance.choice(lessons))
        given = guessed if chance.random() < 0.5 else blurred(clean)
        stated = coarse(torch.tanh(given / 3) * 3)
        errors = error_of(stated, middles(fine, stated), truth)
        loop.descend(torch.stack(list(errors.values())).sum(), coarse, optimizer)
        average.update(model)
        counter.note(**errors)
        if step % 100 == 99 or step + 1 == steps:
            average.model.save_pretrained(target)
