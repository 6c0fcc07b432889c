"""Calls of tokenizers that are answered in another way for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def called(tokenizer: Any, call: Callable[..., Any]) -> Iterator[None]:
    """Have ``call(tokenizer, *args, **kwargs)`` answer calls of the tokenizer inside the block.

    A call looks ``__call__`` up in the class, so the tokenizer gets a class of its own.
    """
    original = type(tokenizer)
    tokenizer.__class__ = type(original.__name__, (original,), {"__call__": call})
    try:
        yield
    finally:
        tokenizer.__class__ = original
