"""The reader of JSON: what it reads is what :mod:`json` reads, in pieces of any size; what it refuses, it names."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import strict_json
from jobs.errors import InvalidRequest, MalformedBody, TooLarge
from jobs.strict_json import JsonReader, Limits
from tests.support import hostile_bodies

LIMITS = Limits(total_bytes=10_000_000, text_bytes=100_000)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
LONG = st.builds(lambda unit, number: unit * number, st.sampled_from(["AbC/+9==", "é\"\\", "a b", "\U0001f600"]),
                 st.integers(200, 1200))  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS | LONG,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=20,
)  # fmt: skip
OF_JSON = [name for name, make in hostile_bodies.BODIES.items() if make(3000).media_type == hostile_bodies.JSON]


def read(text: bytes, piece_bytes: int, **options: Any) -> Any:
    reader = JsonReader(Limits(10_000_000, 1_000_000), **options)
    for start in range(0, len(text), piece_bytes):
        reader.feed(text[start : start + piece_bytes])
    return reader.finish()


@settings(max_examples=60, deadline=None)
@given(VALUES, st.booleans(), st.sampled_from([1, 2, 3, 7, 100, 2049, 100_000]))
def test_it_reads_what_json_reads(value: Any, is_ascii: bool, piece_bytes: int) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii).encode()
    assert read(text[:20_000] if len(text) < 20_000 else text, max(piece_bytes, len(text) // 500)) == value


@pytest.mark.parametrize("head", ["", "data:image/png;base64,", "data:image\\/png;base64,"])
@pytest.mark.parametrize(
    ("plain", "escaped"), [("/", "\\/"), ("+", "\\u002B"), ("A", "A\\n"), ("=", "="), ("B", "\\r\\nB")]
)
def test_pictures_are_not_text_however_they_are_escaped(head: str, plain: str, escaped: str) -> None:
    picture = base64.b64encode(bytes(range(256)) * 80).decode().replace(plain, escaped)
    text = f'{{"image":"{head}{picture}","images":["{head}{picture}"],"prompt":"x"}}'.encode()
    for piece_bytes in (7, 1000, 5001, len(text)):
        reader = JsonReader(Limits(total_bytes=len(text), text_bytes=500))
        for start in range(0, len(text), piece_bytes):
            reader.feed(text[start : start + piece_bytes])
        assert reader.finish() == json.loads(text)


@pytest.mark.parametrize(
    "name", [n for n, m in hostile_bodies.BODIES.items() if m(3000).media_type == hostile_bodies.JSON]
)
def test_a_body_that_costs_more_than_it_weighs_is_refused(name: str) -> None:
    content = hostile_bodies.BODIES[name](1_000_000).content
    if name in (hostile_bodies.HONEST | {"escaped_letters"}):  # base64, as far as anybody can tell
        assert strict_json.loads(content, LIMITS) == json.loads(content)
        return
    reader, scanned = JsonReader(LIMITS), 0
    with pytest.raises(MalformedBody):
        for start in range(0, len(content), 1000):
            reader.feed(content[start : start + 1000])
            scanned += 1000
        reader.finish()
    assert scanned < 500_000 or name == "open_text"  # and most of it was never looked at


@pytest.mark.parametrize("text", hostile_bodies.NO_TEXTS.values(), ids=hostile_bodies.NO_TEXTS)
def test_what_is_no_text_is_refused_by_its_name(text: str) -> None:
    for body, name in ((f'{{"a":{{"b":[1,{text}]}}}}', "a.b[1]"), (f"[[{text}]]", "[0][0]"), (text, "body")):
        with pytest.raises(InvalidRequest) as caught:
            strict_json.loads(body, LIMITS)
        assert [problem.field for problem in caught.value.problems] == [name]
    with pytest.raises(InvalidRequest):
        strict_json.loads(f"{{{text}:1}}", LIMITS)
    repaired = strict_json.loads(f"[{text}]", LIMITS, repair=True)[0]
    assert strict_json.is_text(repaired)
    assert "\ufffd" in repaired


@pytest.mark.parametrize("text", hostile_bodies.NO_NUMBERS.values(), ids=hostile_bodies.NO_NUMBERS)
def test_what_is_no_number_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        strict_json.loads(f'{{"a":[{{"b":{text}}}]}}', LIMITS)
    assert [problem.field for problem in caught.value.problems] == ["a[0].b"]
    assert strict_json.loads(f"[{text}]", LIMITS, repair=True) == [None]


@pytest.mark.parametrize("content", hostile_bodies.MALFORMED.values(), ids=hostile_bodies.MALFORMED)
def test_what_is_not_json_is_refused(content: bytes) -> None:
    try:
        value = strict_json.loads(content, LIMITS)
    except MalformedBody:
        return
    assert not isinstance(value, dict)


def test_each_limit_is_exact() -> None:
    limits = Limits(total_bytes=1000, text_bytes=400, values=5, depth=3)
    assert strict_json.loads("[1,2,3,4,5]", limits) == [1, 2, 3, 4, 5]
    assert strict_json.loads("[[[]]]", limits) == [[[]]]
    for text, error in (("[1,2,3,4,5,6]", MalformedBody), ("[[[[]]]]", MalformedBody), ("]", MalformedBody),
                        (" " * 401, TooLarge), ('"' + "a" * 1000, TooLarge)):  # fmt: skip
        with pytest.raises(error):
            strict_json.loads(text, limits)


def test_what_is_written_can_be_read_by_everybody() -> None:
    value = {"a": [math.nan, {"b": -math.inf}], "c": 1.5}
    assert json.loads(strict_json.dumps(value), parse_constant=pytest.fail) == {"a": [None, {"b": None}], "c": 1.5}
