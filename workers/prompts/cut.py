"""Find what of a prompt no text encoder reads, because it has more tokens than they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from transformers import PreTrainedTokenizerBase

from jobs.requests.generation import GenerationRequest
from workers.prompts.tokenizers import called

#: Most characters of a text that a warning quotes.
QUOTED_CHARS = 200


@contextmanager
def told(pipeline: Any, request: GenerationRequest, tell: Callable[[str], None]) -> Iterator[None]:
    """Say at the end of the block what of the request's texts was cut off by every tokenizer of the pipeline.

    A text that one of several encoders reads to its end is not cut off.
    """
    cuts: dict[str, tuple[int, str] | None] = {}
    with ExitStack() as stack:
        for part in pipeline.components.values():
            if isinstance(part, PreTrainedTokenizerBase):
                stack.enter_context(called(part, _watching(type(part), cuts)))
        yield
    for text, cut in cuts.items():
        field = "negative_prompt" if text.strip() == request.negative_prompt.strip() else "prompt"
        if cut:
            kept, rest = cut
            shown = rest if len(rest) <= QUOTED_CHARS else rest[:QUOTED_CHARS] + "…"
            tell(f"{field} is longer than the {kept} tokens that the model reads; cut off: {shown}")


def _watching(original: Any, cuts: dict[str, tuple[int, str] | None]) -> Any:
    """Return a ``__call__`` that notes for each text what it cut off; None once an encoder read all of it."""

    def call(self: Any, text: Any = None, *arguments: Any, **options: Any) -> Any:
        if options.get("truncation"):
            for one in [text] if isinstance(text, str) else text if isinstance(text, list) else []:
                if isinstance(one, str) and one.strip():
                    cut = _cut(original, self, one, options.get("max_length") or self.model_max_length)
                    if cut is None or one not in cuts:
                        cuts[one] = cut
        return original.__call__(self, text, *arguments, **options)

    return call


def _cut(original: Any, tokenizer: Any, text: str, max_length: int) -> tuple[int, str] | None:
    """Return the number of tokens that are kept, and the text of the others; None if there are no others."""
    ids = original.__call__(tokenizer, text, add_special_tokens=False, truncation=False, verbose=False).input_ids
    kept = max_length - tokenizer.num_special_tokens_to_add()
    return (kept, tokenizer.decode(ids[kept:]).strip()) if len(ids) > kept else None
