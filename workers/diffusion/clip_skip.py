"""Text encoders whose last layers are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def supported(pipeline: Any, clip_skip: int | None) -> Iterator[None]:
    """Let a pipeline skip layers inside the block.

    diffusers takes the final norm of ``text_encoder.text_model``; since transformers 5 that is the encoder itself.
    LoRAs are loaded differently if this attribute exists, so it exists only during the call.
    """
    encoders = [
        part
        for name, part in pipeline.components.items()
        if clip_skip and name.startswith("text_encoder")
        and hasattr(part, "final_layer_norm") and not hasattr(part, "text_model")
    ]  # fmt: skip
    for encoder in encoders:
        object.__setattr__(encoder, "text_model", encoder)  # not registered as a module of itself
    try:
        yield
    finally:
        for encoder in encoders:
            object.__delattr__(encoder, "text_model")
