"""Find what of a prompt no text encoder reads, because it has more tokens than they take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from jobs.requests.generation import GenerationRequest
from workers.prompts.tokenizers import called

#: Most characters of a text that a warning quotes.
QUOTED_CHARS = 200
#: Argument of calls: how many tokens of a prompt count.
_LONGEST = "max_sequence_length"
#: Pipelines that shorten the embedding to :data:`_LONGEST`, not the text.
_SHORTENING_LATER = ("QwenImage", "JoyImage")
#: Characters by which the beginning of a text is found that a pipeline has shortened itself.
_BEGINNING_CHARS = 16


@dataclass(frozen=True)
class _Cut:
    """What one encoder does not read of a text."""

    kept_tokens: int
    rest: str


@contextmanager
def told(
    pipeline: Any, request: GenerationRequest, fixed: Mapping[str, Any], tell: Callable[[str], None]
) -> Iterator[None]:  # fmt: skip
    """Say at the end of the block what of the request's texts was cut off by every tokenizer of the pipeline.

    A text that one of several encoders reads to its end is not cut off.

    Args:
        pipeline: the pipeline.
        request: its texts.
        fixed: the arguments of the call that the models file sets.
        tell: is called with each warning.
    """
    texts = {"prompt": request.prompt.strip(), "negative_prompt": request.negative_prompt.strip()}
    limit = fixed.get(_LONGEST) or _default_of(pipeline)
    later = limit if type(pipeline).__name__.startswith(_SHORTENING_LATER) else None
    cuts: dict[str, _Cut | None] = {}
    with ExitStack() as stack:
        for part in pipeline.components.values():
            # Processors of models that see pictures contain the tokenizer.
            tokenizer = part if isinstance(part, PreTrainedTokenizerBase) else getattr(part, "tokenizer", None)
            if isinstance(tokenizer, PreTrainedTokenizerBase):
                stack.enter_context(called(tokenizer, _watching(type(tokenizer), texts, later, cuts)))
        yield
    for field, cut in cuts.items():
        if cut:
            shown = cut.rest if len(cut.rest) <= QUOTED_CHARS else cut.rest[:QUOTED_CHARS] + "…"
            tell(f"{field} is longer than the {cut.kept_tokens} tokens that the model reads; cut off: {shown}")


def _default_of(pipeline: Any) -> int | None:
    """Return how many tokens of a prompt count if the call does not say it; None: unknown."""
    parameter = inspect.signature(pipeline.__call__).parameters.get(_LONGEST)
    return parameter.default if parameter is not None and isinstance(parameter.default, int) else None


def _watching(
    original: Any, texts: Mapping[str, str], later: int | None, cuts: dict[str, _Cut | None]
) -> Any:  # fmt: skip
    """Return a ``__call__`` that notes for each field what it cut off; None once an encoder read all of it."""

    def call(self: Any, text: Any = None, *arguments: Any, **options: Any) -> Any:
        if options.get("truncation"):
            for one in [text] if isinstance(text, str) else text if isinstance(text, list) else []:
                if isinstance(one, str) and one.strip():
                    field, value = _field_of(one, texts)
                    cut = _cut(original, self, one, value, options.get("max_length") or self.model_max_length, later)
                    before = cuts.get(field, cut)
                    # Of several encoders, the one that reads most counts.
                    cuts[field] = min(cut, before, key=lambda one: len(one.rest)) if cut and before else None
        return original.__call__(self, text, *arguments, **options)

    return call


def _field_of(text: str, texts: Mapping[str, str]) -> tuple[str, str]:
    """Return the field whose value a text has, perhaps inside of a template, and the value as it is in there."""
    found = [(field, value) for field, value in texts.items() if value and value in text]
    if not found:  # shortened by the pipeline, or cleaned
        starts = {field: value[:_BEGINNING_CHARS] for field, value in texts.items()}
        found = [(field, texts[field]) for field, start in starts.items() if start and start in text]
    return max(found, key=lambda one: len(one[1]), default=("prompt", text))


def _cut(original: Any, tokenizer: Any, text: str, value: str, max_length: int, later: int | None) -> _Cut | None:
    """Return what of a value is not read; None if all of it is.

    Args:
        original: class of the tokenizer.
        tokenizer: the tokenizer.
        text: what it gets.
        value: what of it the caller wrote.
        max_length: how many tokens it keeps.
        later: how many tokens of the value the pipeline keeps of these; None: all.
    """

    def ids_of(part: str) -> list[int]:
        call = original.__call__(tokenizer, part, add_special_tokens=False, truncation=False, verbose=False)
        return list(call.input_ids)

    start = max(0, text.find(value[:_BEGINNING_CHARS]))
    common = _common_chars(text[start:], value)
    is_shortened = common < len(value) and start + common == len(text)
    end = start + common if is_shortened or common == len(value) else len(text)  # else the pipeline has cleaned it
    before = len(ids_of(text[:start])) if start else 0
    kept = max_length - tokenizer.num_special_tokens_to_add() - before
    kept = kept if later is None else min(kept, later)
    ids = ids_of(text[:end])[before:]
    rest = value[common:] if is_shortened else ""
    if len(ids) > kept:
        return _Cut(max(0, kept), (tokenizer.decode(ids[max(0, kept) :]) + rest).strip())
    return _Cut(len(ids), rest.strip()) if rest.strip() else None


def _common_chars(one: str, other: str) -> int:
    """Return how many characters both texts begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))
