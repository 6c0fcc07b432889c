"""Weights in prompts, as AUTOMATIC1111's users write them."""

from __future__ import annotations

import time

import pytest

from workers.prompts.weights import Part, is_plain, parts_of


def read(prompt: str) -> list[tuple[str, float]]:
    return [("BREAK" if part.begins_chunk else part.text, round(part.weight, 4)) for part in parts_of(prompt)]


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("", []),
        ("a cat", [("a cat", 1)]),
        ("a (cat)", [("a ", 1), ("cat", 1.1)]),
        ("a ((cat))", [("a ", 1), ("cat", 1.21)]),
        ("a [cat]", [("a ", 1), ("cat", 0.9091)]),
        ("a (cat:1.3) here", [("a ", 1), ("cat", 1.3), (" here", 1)]),
        ("(cat: 0.5 )", [("cat", 0.5)]),
        ("(cat:.5)", [("cat", 0.5)]),
        ("(a (cat:2))", [("a ", 1.1), ("cat", 2.2)]),
        ("((a) b:2)", [("a", 2.2), (" b", 2)]),
        ("[(cat:1.1)]", [("cat", 1.0)]),
        (r"a \(cat\) \[dog\] \\", [("a (cat) [dog] \\", 1)]),
        ("12:30 o'clock", [("12:30 o'clock", 1)]),
        ("(at 12:30)", [("at 12", 30)]),  # as there: a number before the bracket is its weight
        ("a :) face", [("a :) face", 1)]),
        ("(cat", [("cat", 1.1)]),
        ("[cat", [("cat", 0.9091)]),
        ("cat)", [("cat)", 1)]),
        ("(cat]", [("cat]", 1.1)]),
        ("[cat:1.5]", [("cat:1.5", 0.9091)]),
        ("a BREAK b", [("a ", 1), ("BREAK", 1), (" b", 1)]),
        ("BREAKFAST, break", [("BREAKFAST, break", 1)]),
        ("(a BREAK b:1.2)", [("a ", 1.2), ("BREAK", 1.2), (" b", 1.2)]),
        ("Bob (Big:1.5)", [("Bob ", 1), ("Big", 1.5)]),
    ],
)
def test_parts(prompt: str, parts: list[tuple[str, float]]) -> None:
    assert read(prompt) == parts


def test_what_has_neither_weights_nor_chunks_is_plain() -> None:
    assert is_plain(parts_of("a cat, (dog:1.0)"))
    assert not is_plain(parts_of("a (cat)"))
    assert not is_plain([Part("", begins_chunk=True)])


LONG = ["(" * 20_000, "(a:1" * 20_000, "BREA" * 20_000, "\\" * 20_000, "[(" * 9_000 + ")]" * 9_000, "()a" * 9_000]


@pytest.mark.parametrize("text", LONG)
def test_long_prompts_take_no_longer_than_they_must(text: str) -> None:
    begun = time.process_time()
    parts_of(text)
    assert time.process_time() - begun < 5
