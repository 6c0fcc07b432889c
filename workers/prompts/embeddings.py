"""Embed weighted and long prompts for pipelines whose text encoders are all CLIP: Stable Diffusion 1.5, 2 and XL.

Each chunk of tokens is embedded by the pipeline's own ``encode_prompt``, which gets token ids instead of a text. The
embedding of a token is multiplied by its weight, and the mean of the chunk is restored, as AUTOMATIC1111 does it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers import BatchEncoding, CLIPTokenizer

from jobs.errors import ModelLoadFailed
from workers.prompts.chunks import Chunk, chunks_of
from workers.prompts.tokenizers import called
from workers.prompts.weights import is_plain, parts_of

_EMPTY = Chunk()


def check(pipeline: Any) -> None:
    """Raises: ModelLoadFailed: the pipeline cannot weight parts of a prompt."""
    encoders = [name for name, part in pipeline.components.items() if part is not None and "text_encoder" in name]
    takes = inspect.signature(pipeline.__call__).parameters
    if len(encoders) != len(_tokenizers(pipeline)) or not encoders or "negative_prompt_embeds" not in takes:
        name = type(pipeline).__name__
        raise ModelLoadFailed(f"option prompt_weighting: the text encoders of {name} are not those of Stable Diffusion")


def weighted(pipeline: Any, call: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call with embeddings in place of prompts that have weights or are long.

    Prompts without either are passed as text: their pictures are those of a model without weighting.

    Args:
        pipeline: the pipeline.
        call: the arguments, with ``prompt`` and perhaps ``negative_prompt`` and ``clip_skip``.
    """
    [tokenizer, *_], negative = _tokenizers(pipeline), call.get("negative_prompt")
    texts = [call.get("prompt") or "", negative or ""]
    parts = [parts_of(text) for text in texts]
    chunks = [chunks_of(part, tokenizer) for part in parts]
    if all(is_plain(part) for part in parts) and all(len(chunk) == 1 for chunk in chunks):
        plain = ["".join(piece.text for piece in part) for part in parts]
        named = zip(("prompt", "negative_prompt"), plain, strict=True)
        return {**call, **{name: text for name, text in named if name in call}}
    count = max(map(len, chunks))
    positive, pooled = _embedded(pipeline, _padded(chunks[0], count), clip_skip=call.get("clip_skip"))
    if negative is None and pipeline.config.get("force_zeros_for_empty_prompt"):
        opposite, opposite_pooled = torch.zeros_like(positive), None if pooled is None else torch.zeros_like(pooled)
    else:
        opposite, opposite_pooled = _embedded(pipeline, _padded(chunks[1], count))
    embeddings: dict[str, Any] = {"prompt_embeds": positive, "negative_prompt_embeds": opposite}
    if pooled is not None:
        embeddings |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": opposite_pooled}
    replaced = ("prompt", "negative_prompt", "clip_skip")
    return {**{name: value for name, value in call.items() if name not in replaced}, **embeddings}


def _padded(chunks: list[Chunk], count: int) -> list[Chunk]:
    return chunks + [_EMPTY] * (count - len(chunks))


def _embedded(
    pipeline: Any, chunks: Sequence[Chunk], clip_skip: int | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:  # fmt: skip
    """Return (1, tokens, width) embeddings, and the pooled one of the first chunk, if the pipeline has one."""
    options: dict[str, Any] = {"num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    if clip_skip is not None:
        options["clip_skip"] = clip_skip
    embeddings, pooled = [], None
    for number, chunk in enumerate(chunks):
        with _given(_tokenizers(pipeline), chunk.ids):
            encoded = pipeline.encode_prompt(prompt="", device=pipeline._execution_device, **options)
        embeddings.append(_scaled(encoded[0], chunk.weights))
        if number == 0 and len(encoded) > 2:
            pooled = encoded[2]
    return torch.cat(embeddings, dim=1), pooled


def _scaled(embedding: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """Multiply the tokens after the marker of the beginning by their weights, and restore the mean."""
    if all(weight == 1 for weight in weights):
        return embedding
    factors = torch.ones(embedding.shape[1], dtype=embedding.dtype, device=embedding.device)
    factors[1 : len(weights) + 1] = torch.tensor(weights, dtype=embedding.dtype)
    scaled = embedding * factors[None, :, None]
    return scaled * (embedding.mean() / scaled.mean())


def _tokenizers(pipeline: Any) -> list[CLIPTokenizer]:
    return [part for part in pipeline.components.values() if isinstance(part, CLIPTokenizer)]


@contextmanager
def _given(tokenizers: Sequence[CLIPTokenizer], ids: Sequence[int]) -> Iterator[None]:
    """Let tokenizers answer any text with these token ids inside the block, between their markers."""
    with ExitStack() as stack:
        for tokenizer in tokenizers:
            stack.enter_context(called(tokenizer, _answer(tokenizer, ids)))
        yield


def _answer(tokenizer: CLIPTokenizer, ids: Sequence[int]) -> Any:
    used = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
    unused = tokenizer.model_max_length - len(used)
    encoding = BatchEncoding(
        {
            "input_ids": torch.tensor([used + [tokenizer.pad_token_id] * unused]),
            "attention_mask": torch.tensor([[1] * len(used) + [0] * unused]),
        }
    )
    return lambda self, *arguments, **options: encoding
