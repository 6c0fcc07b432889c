"""Scores a finished model on held-out captions with fixed seeds, and draws contact sheet and film strip."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline, SanaImageToVideoPipeline
from PIL import Image, ImageDraw

from models.training.captions import Captioner, Sample
from models.training.judge import edge_width, judge_clip, judge_image
from models.training.scenes import SHAPES, at_time, draw

HELD_OUT_SEED = 1000


def load(folder: Path) -> DiffusionPipeline:
    """A model folder as a pipeline, in float32, as a CPU needs it."""
    pipeline = DiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def paint(pipeline: DiffusionPipeline, captions: list[str], **options: object) -> np.ndarray:
    """One picture (n, h, w, 3) or clip (n, frames, h, w, 3) per caption, uint8; caption i has the seed i."""
    made = []
    for first in range(0, len(captions), 8):
        part = captions[first : first + 8]
        seeds = [torch.Generator().manual_seed(first + index) for index in range(len(part))]
        result = pipeline(part, generator=seeds, output_type="np", **options)
        made.append(np.asarray(result.images if hasattr(result, "images") else result.frames))
    return (np.concatenate(made) * 255).round().astype(np.uint8)


def animate(pipeline: DiffusionPipeline, samples: list[Sample], **options: object) -> np.ndarray:
    """One clip (n, frames, h, w, 3) per sample, uint8, from its caption and its drawn first frame; sample i has
    the seed i.
    """
    pipeline = SanaImageToVideoPipeline(**pipeline.components)
    pipeline.set_progress_bar_config(disable=True)
    made = []
    for index, sample in enumerate(samples):
        first = Image.fromarray(draw(sample.scene.background, at_time(sample.scene, 0.0), int(str(options["height"]))))
        seed = torch.Generator().manual_seed(index)
        made.append(pipeline(first, sample.caption, generator=seed, output_type="np", **options).frames[0])
    return (np.stack(made) * 255).round().astype(np.uint8)


def score(folder: Path, *, video: bool, count: int = 200, given: bool = False, **options: object) -> str:
    """A table in Markdown: how often each fact that the captions state is right; `given` for clips from a drawn
    first frame.
    """
    torch.set_num_threads(1)
    pipeline, captioner = load(folder), Captioner(HELD_OUT_SEED, held_out=True)
    samples = [captioner.clip() if video else captioner.image() for _ in range(count)]
    began = time.monotonic()
    if given:
        made = animate(pipeline, samples, **options)
    else:
        made = paint(pipeline, [sample.caption for sample in samples], **options)
    seconds = time.monotonic() - began
    marks: dict[str, list[bool]] = defaultdict(list)
    for sample, picture in zip(samples, made, strict=True):
        right = (judge_clip if video else judge_image)(sample, picture)
        for name, mark in right.items():
            marks[name].append(mark)
        marks[f"all, kind: {group(sample)}"].append(right["all"])
    lines = ["| what | right | of | share |", "|---|---|---|---|"]
    lines += [f"| {name} | {sum(got)} | {len(got)} | {sum(got) / len(got):.1%} |" for name, got in marks.items()]
    how = ", ".join(f"{name} {value}" for name, value in options.items())
    return "\n".join([f"{count} held-out captions, {how}; {seconds / count:.2f} s each on one thread", "", *lines])


def score_shapes(folder: Path, *, count: int = 200, **options: object) -> str:
    """A table in Markdown: for each shape, how often pictures of held-out captions that name it are right."""
    samples = samples_by_caption(count)
    return table_of_shapes(samples, paint(load(folder), list(samples), **options), count)


def samples_by_caption(count: int) -> dict[str, Sample]:
    """Held-out samples of different captions, of which at least `count` name each shape."""
    captioner = Captioner(HELD_OUT_SEED, held_out=True)
    samples: dict[str, Sample] = {}
    while any(len(naming(samples, shape)) < count for shape in SHAPES):
        sample = captioner.image()
        if any(len(naming(samples, thing.shape)) < count for thing in sample.scene.things):
            samples.setdefault(sample.caption, sample)
    return samples


def table_of_shapes(samples: dict[str, Sample], pictures: np.ndarray, count: int) -> str:
    """The table of `score_shapes` for the pictures (n, h, w, 3) of the samples."""
    marks = {
        name: judge_image(sample, picture) for (name, sample), picture in zip(samples.items(), pictures, strict=True)
    }
    facts = ("shapes", "outlines", "colours", "all")
    lines = ["| shape | captions | shape right | outline drawn | colours right | all |", "|---|---|---|---|---|---|"]
    for shape in SHAPES:
        named = [marks[sample.caption] for sample in naming(samples, shape)[:count]]
        shares = (f"{np.mean([mark[fact] for mark in named]):.1%}" for fact in facts)
        lines.append(f"| {shape} | {len(named)} | {' | '.join(shares)} |")
    side = pictures.shape[1]
    drawn = [draw(sample.scene.background, sample.scene.things, side) for sample in list(samples.values())[:100]]
    widths = [np.mean([edge_width(picture) for picture in some]) for some in (pictures[:100], drawn)]
    edges = "Edges are {:.2f} pixels wide, those of drawn pictures {:.2f}.".format(*widths)
    return "\n".join([f"{len(samples)} pictures", "", *lines, "", edges])


def naming(samples: dict[str, Sample], shape: str) -> list[Sample]:
    """The samples whose caption names a shape."""
    return [sample for sample in samples.values() if any(thing.shape == shape for thing in sample.scene.things)]


def group(sample: Sample) -> str:
    """The rows of the table that the result of a sample counts towards."""
    return sample.scene.motion or sample.kind


def sheet(folder: Path, target: Path, captions: list[str], *, columns: int = 6, **options: object) -> None:
    """A contact sheet: one picture per caption with the caption below it."""
    pictures = paint(load(folder), captions, **options)
    side, below = pictures.shape[1], 26
    rows = -(-len(captions) // columns)
    page = Image.new("RGB", (columns * (side + 6) + 6, rows * (side + below + 6) + 6), "white")
    pen = ImageDraw.Draw(page)
    for index, (caption, picture) in enumerate(zip(captions, pictures, strict=True)):
        left, top = 6 + index % columns * (side + 6), 6 + index // columns * (side + below + 6)
        page.paste(Image.fromarray(picture), (left, top))
        for line, text in enumerate(wrapped(caption, 24)[:2]):
            pen.text((left, top + side + 1 + 12 * line), text, fill="black", font_size=10)
    page.quantize(256).save(target, optimize=True)


def wrapped(text: str, width: int) -> list[str]:
    """A text as lines of at most `width` letters, broken between words."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def strip(folder: Path, target: Path, captions: list[str], **options: object) -> None:
    """A film strip: one row per caption, one column per frame."""
    clips = paint(load(folder), captions, **options)
    frames, side = clips.shape[1], clips.shape[2]
    page = Image.new("RGB", (frames * (side + 4) + 4, len(captions) * (side + 18) + 4), "white")
    pen = ImageDraw.Draw(page)
    for row, (caption, clip) in enumerate(zip(captions, clips, strict=True)):
        top = 4 + row * (side + 18)
        for column, frame in enumerate(clip):
            page.paste(Image.fromarray(frame), (4 + column * (side + 4), top))
        pen.text((4, top + side + 1), caption, fill="black", font_size=10)
    page.save(target, optimize=True)
