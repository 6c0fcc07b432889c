"""Trains and scores the demo models: `python -m models.training image` or `video`, each from scratch.

Single steps: add the names of the wanted ones, for example `python -m models.training image denoiser score`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from models.training import autoencoder, decoder, dit, evaluate, outlines, shows, text, unet, video_vae

MODELS = Path(__file__).resolve().parent.parent
DOCS = MODELS.parent / "docs"
WORK = MODELS.parent / "build" / "training"


def steps_of(kind: str) -> dict[str, Callable[[], None]]:
    """The training steps of a model by name, in order."""
    parts, target = WORK / kind, MODELS / f"demo-{kind}"
    if kind == "image":
        return {
            "text": lambda: text.teach_image(parts, steps=1200),
            "denoiser": lambda: unet.train(parts / "denoiser", parts, steps=3800),
            "outlines": lambda: outlines.train(parts / "vae", steps=5000),
            "facts": lambda: decoder.train(parts / "vae", parts / "denoiser", steps=1400),
            "encoder": lambda: autoencoder.train_encoder(parts / "vae", steps=900),
            "write": lambda: unet.write(target, parts / "denoiser", parts / "vae"),
            "score": lambda: print(evaluate.score(target, video=False, **shows.IMAGE_OPTIONS)),
            "shapes": lambda: print(evaluate.score_shapes(target, **shows.IMAGE_OPTIONS)),
            "show": lambda: evaluate.sheet(target, DOCS / "demo-image.png", **shows.CONTACT_SHEET),
        }
    return {
        "autoencoder": lambda: video_vae.train(parts / "vae", steps=2400),
        "text": lambda: text.teach_video(parts, steps=1500),
        "denoiser": lambda: dit.train(target, parts, steps=7000, late=3300),
        "score": lambda: print(evaluate.score(target, video=True, **shows.VIDEO_OPTIONS)),
        "animate": lambda: print(evaluate.score(target, video=True, given=True, **shows.VIDEO_OPTIONS)),
        "show": lambda: evaluate.strip(target, DOCS / "demo-video.png", **shows.FILM_STRIP),
    }


def main() -> None:
    """Runs the given steps, or all."""
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__)
    parser.add_argument("kind", choices=("image", "video"))
    parser.add_argument(
        "steps",
        nargs="*",
        help="image: text, denoiser, outlines, facts, encoder, write, score, shapes, show; "
        "video: autoencoder, text, denoiser, score, animate, show; all if none is named",
    )
    wanted = parser.parse_args()
    steps = steps_of(wanted.kind)
    for name in wanted.steps or steps:
        print(f"--- {wanted.kind}: {name}", flush=True)
        steps[name]()


if __name__ == "__main__":
    main()
