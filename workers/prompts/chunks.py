"""Split a weighted prompt into chunks of as many tokens as a text encoder takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.prompts.weights import Part

#: A full chunk ends at its last comma if that is among so many last tokens: phrases are kept together.
MAX_MOVED_TOKENS = 20


@dataclass
class Chunk:
    """Token ids without markers of begin and end, and the weight of each."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


def chunks_of(parts: Sequence[Part], tokenizer: Any) -> list[Chunk]:
    """Return at least one chunk.

    Args:
        parts: the prompt.
        tokenizer: of the text encoder; its ``model_max_length`` includes the two markers.
    """
    size, comma = tokenizer.model_max_length - 2, _ids(tokenizer, ",")[-1]
    chunks = [Chunk()]
    for part in parts:
        if part.begins_chunk:
            chunks.append(Chunk())
            continue
        for token in _ids(tokenizer, part.text):
            if len(chunks[-1].ids) == size:
                chunks.append(_moved(chunks[-1], comma))
            chunks[-1].ids.append(token)
            chunks[-1].weights.append(part.weight)
    return chunks


def _moved(full: Chunk, comma: int) -> Chunk:
    """Begin the chunk after a full one: with the tokens after its last comma, if those are few."""
    last = next((index for index in reversed(range(len(full.ids))) if full.ids[index] == comma), -1)
    if last < 0 or len(full.ids) - 1 - last > MAX_MOVED_TOKENS:
        return Chunk()
    moved = Chunk(full.ids[last + 1 :], full.weights[last + 1 :])
    del full.ids[last + 1 :], full.weights[last + 1 :]
    return moved


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids)
