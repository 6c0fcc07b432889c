"""Tags in prompts, as AUTOMATIC1111 has them: ``<lora:name:weight>``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: Nothing is matched twice: otherwise a long text without an end would take quadratic time.
_TAG = re.compile(r"<(\w++):([^<>]++)>")
#: Most tags and characters of each that a message quotes.
_QUOTED_TAGS, _QUOTED_CHARS = 8, 80


@dataclass(frozen=True)
class Tag:
    """A tag: ``<name:argument:argument>``."""

    name: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"<{':'.join([self.name, *self.arguments])}>"


def taken_out(prompt: str) -> tuple[str, list[Tag]]:
    """Return the prompt without its tags, and the tags."""
    tags = [Tag(name, tuple(arguments.split(":"))) for name, arguments in _TAG.findall(prompt)]
    return _TAG.sub("", prompt), tags


def quoted(texts: Iterable[object]) -> str:
    """Return a short list of the texts for a message."""
    unique = list(dict.fromkeys(str(text)[:_QUOTED_CHARS] for text in texts))
    more = len(unique) - _QUOTED_TAGS
    return ", ".join(unique[:_QUOTED_TAGS]) + (f" and {more} more" if more > 0 else "")


def with_loras(prompt: str, loras: Iterable[Mapping[str, Any]] | None) -> str:
    """Return the prompt with tags for the LoRAs of a request."""
    return " ".join([prompt, *map(_tag, loras or ())])


def _tag(lora: Mapping[str, Any]) -> str:
    """Return the tag of a LoRA. AUTOMATIC1111 knows a file by its name without the folder."""
    name, weight = str(lora["name"]).rpartition("/")[2], f"{lora['weight']:g}"
    text_weight = lora.get("text_encoder_weight")
    return f"<lora:{name}:{weight}>" if text_weight is None else f"<lora:{name}:{text_weight:g}:{weight}>"
