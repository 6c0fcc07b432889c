"""Prompts of ``framemill submit``: words of the command line, lines of a file or of standard input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click


def read_prompts(words: Sequence[str], prompt: str | None, file: str | None) -> list[dict[str, Any]]:
    """Return the fields that each job has of its own; one empty object if there is no prompt at all.

    Args:
        words: prompts as arguments; ``-`` is standard input.
        prompt: value of ``--prompt``.
        file: value of ``--prompts``; ``-`` is standard input.

    Raises:
        click.UsageError: there are prompts of two kinds.
        ValueError: a line is wrong, or the file has no prompts.
    """
    if sum(map(bool, (words, prompt is not None, file))) > 1:
        raise click.UsageError("give prompts as arguments, with --prompt, or with --prompts FILE; not in two ways")
    if "-" in words and len(words) > 1:
        raise click.UsageError("PROMPT - reads standard input, so it stands alone")
    source = "-" if "-" in words else file
    if source is None:
        return [{"prompt": word} for word in (words or (() if prompt is None else (prompt,)))] or [{}]
    with click.open_file(source, encoding="utf-8") as lines:
        found = list(_of_lines(lines, "standard input" if source == "-" else source))
    if not found:
        raise ValueError(f"{'standard input' if source == '-' else source} has no prompts: it needs one on each line")
    return found


def _of_lines(lines: Iterable[str], name: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith("{"):
            try:
                fields = json.loads(text)
            except ValueError as exc:
                raise ValueError(f"{name}, line {number}: it begins with {{ but is not JSON: {exc}") from None
            yield {"job_class" if field == "class" else field: value for field, value in fields.items()}
        elif text:
            yield {"prompt": text}
