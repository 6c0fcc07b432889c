"""Nothing that callers send is without a bound: bodies, lists, texts, and the time that patterns take."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Iterator
from typing import Any

import marshmallow
import pytest
from marshmallow import Schema, fields, validate

import app
import jobs
from app.fields import PictureText
from app.protocols.a1111 import bodies
from app.protocols.aime.endpoints.spec import Input
from app.protocols.aime.inputs.values import MAX_MESSAGES, MAX_TEXT_CHARS, BadValue, check_value
from jobs.settings import PROJECT_ROOT

#: Where bodies are read, and what reads what this server wrote itself.
READERS = {"app/bodies/json_body.py", "app/bodies/form_body.py"}
FORBIDDEN = {"get_json", "get_data", "form", "files", "stream", "json", "values"}


def modules(package: Any) -> Iterator[Any]:
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        yield importlib.import_module(info.name)


@pytest.mark.parametrize("path", sorted((PROJECT_ROOT / "app").rglob("*.py")), ids=lambda path: path.stem)
def test_bodies_are_read_in_one_place(path: Any) -> None:
    name = str(path.relative_to(PROJECT_ROOT))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute) or name in READERS:
            continue
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        assert not (owner == "request" and node.attr in FORBIDDEN), f"{name}:{node.lineno}: use app.fields.body_of"
        assert not (owner == "json" and node.attr in ("loads", "load")), f"{name}:{node.lineno}: use jobs.strict_json"


def schemas() -> list[type[Schema]]:
    """The schemas of what callers send; answers are checked elsewhere."""
    for _ in modules(app):
        pass
    found, waiting = [], list(Schema.__subclasses__())
    while waiting:
        schema = waiting.pop()
        waiting += schema.__subclasses__()
        is_ours = schema.__module__.startswith("app.") and not schema.__module__.startswith("app.openapi")
        if is_ours and "Answer" not in schema.__name__ and schema.__name__ != "GeneratedSchema":
            found.append(schema)
    return found


def unbounded(name: str, field: Any) -> Iterator[str]:
    lengths = [check for check in field.validators if isinstance(check, validate.Length | validate.OneOf)]
    is_bounded = any(isinstance(check, validate.OneOf) or check.max for check in lengths)
    if isinstance(field, fields.List):
        if not is_bounded:
            yield name
        yield from unbounded(f"{name}[]", field.inner)
    elif isinstance(field, fields.String) and not isinstance(field, PictureText) and not is_bounded:
        yield name
    elif isinstance(field, fields.Nested):
        for inner, one in field.schema.fields.items():
            yield from unbounded(f"{name}.{inner}", one)


def test_every_list_and_text_of_a_schema_is_bounded() -> None:
    known = schemas()
    assert len(known) > 15
    tables = [bodies.schema("Txt2Img", bodies.TXT2IMG), bodies.schema("Img2Img", bodies.IMG2IMG)]
    instances = [schema() for schema in known if schema.__init__ is Schema.__init__] + tables
    assert [found for one in instances for name, field in one.fields.items()
            for found in unbounded(f"{type(one).__name__}.{name}", field)] == []  # fmt: skip


def test_a_list_that_is_too_long_is_refused_before_its_items_are_looked_at() -> None:
    from app.protocols.native.wire.schemas import SUBMIT

    with pytest.raises(marshmallow.ValidationError) as caught:
        SUBMIT.load({"loras": [{"no": "name"}] * 10_000})
    assert caught.value.normalized_messages() == {"loras": ["must have at most 8 items"]}


@pytest.mark.parametrize("kind", ["string", "text_context", "json", "chat_context"])
def test_inputs_of_endpoints_without_a_length_are_bounded(kind: str) -> None:
    text = "x" * (MAX_TEXT_CHARS + 1)
    chats = [{"role": "user", "content": "x"}] * (MAX_MESSAGES + 1)
    sent = {"json": "[" * 100, "chat_context": chats}.get(kind, text)
    with pytest.raises(BadValue):
        check_value(Input("x", kind), sent)


def patterns() -> dict[str, re.Pattern[Any]]:
    """All patterns of the app and the domain, by the names of their constants."""
    found = {}
    for module in (*modules(app), *modules(jobs)):
        for name, value in vars(module).items():
            for one in value if isinstance(value, tuple) else (value,):
                inner = one if isinstance(one, re.Pattern) else next(
                    (part for part in one if isinstance(part, re.Pattern)), None
                ) if isinstance(one, tuple) else None  # fmt: skip
                if inner is not None:
                    found[f"{module.__name__}.{name}"] = inner
    return found


#: Beginnings, and what is repeated after them.
HEADS = ("", "<lora:", "data:image/png", "data:image/png;base64", '"', "x: ", 'x: "', " [", ",", "/", "http://")
UNITS = ("a", " ", "<lora:", "a:", ":", ";a", ",", '"', 'x:"', 'x:"\\",', "/a", "-", "0", "@", "[a", "a.", "\n")


def source_of(module: str) -> str:
    return inspect.getsource(importlib.import_module(module))


def seconds(pattern: re.Pattern[Any], text: Any, tries: int, *, searches: bool) -> float:
    """CPU time that a pattern takes for a text, the least of some tries. ``searches``: at every place of the text."""
    taken = []
    for _ in range(tries):
        begun = time.process_time()
        pattern.fullmatch(text)
        if searches:
            pattern.sub(text[:0], text)
        taken.append(time.process_time() - begun)
    return min(taken)


def is_slow(
    pattern: re.Pattern[Any], head: str, unit: str, *, searches: bool = True, suspicious_s: float = 0.002
) -> bool:
    """Return whether a text of four times the length takes more than eight times as long (linear: 4, quadratic: 16)."""

    def text(chars: int) -> Any:
        made = head + unit * (chars // len(unit))
        return made.encode() if isinstance(pattern.pattern, bytes) else made

    if seconds(pattern, text(1000), 1, searches=searches) < suspicious_s:
        return False
    small, large = (seconds(pattern, text(chars), 3, searches=searches) for chars in (1000, 4000))
    return large > 8 * small


def test_a_quadratic_pattern_would_be_found() -> None:
    quadratic = re.compile(r"<lora:([^:<>]+)(?::([^<>:]*))?[^<>]*>")
    assert is_slow(quadratic, "<lora:", "a")


def test_patterns_take_time_in_proportion_to_the_text() -> None:
    known = patterns()
    searching = {
        name for name in known
        if re.search(rf"\b{name.rpartition('.')[2]}\.(?:search|sub|find|split)", source_of(name.rpartition(".")[0]))
    }  # fmt: skip
    expected = {"jobs.requests.prompts.tags._TAG", "jobs.requests.infotext._PAIR", "app.media.inputs._DATA_URL"}
    assert expected <= known.keys()
    slow = [
        (name, head, unit)
        for name, pattern in known.items()
        for head in HEADS
        for unit in UNITS
        if is_slow(pattern, head, unit, searches=name in searching)
    ]
    assert slow == []
