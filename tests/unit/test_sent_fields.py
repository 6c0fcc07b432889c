"""Fields that a body lacks are not looked at; what is accepted and how the rest is refused does not depend on that."""

from __future__ import annotations

import random
from typing import Any

import pytest
from marshmallow import Schema, ValidationError

from app import fields
from app.protocols.lightx2v import schemas as lightx2v
from app.protocols.native.wire import job_list
from app.protocols.native.wire import schemas as native

BODIES = 400
#: Values of which each is right for some fields and wrong for others.
VALUES: list[Any] = [
    None, True, "", " ", "true", "1", "1.0", "a red circle", "premium", "keep", "x\0", 0, 1, -1, 2.5, 1e30,
    float("nan"), [], {}, ["a"], [1], [{"name": "x"}], [{"name": "x", "weight": "y", "more": 1}], [{}],
    {"scale": 2}, {"steps": "x"}, {"unknown": 1}, "finished", ["succeeded", "nonsense"],
]  # fmt: skip
SCHEMAS = [
    value for module in (native, lightx2v) for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Schema) and value.__module__ == module.__name__
]  # fmt: skip


def outcome(schema: Schema, body: dict[str, Any]) -> tuple[Any, Any]:
    """Return the values and the errors."""
    try:
        return repr(schema.load(dict(body))), None
    except ValidationError as exc:
        return repr(exc.valid_data), repr(exc.normalized_messages())


@pytest.mark.parametrize("cls", SCHEMAS, ids=lambda cls: cls.__name__)
def test_a_schema_without_the_fields_that_were_not_sent_gives_the_same_outcome(cls: type[Schema]) -> None:
    schema = cls()
    names = [field.data_key or name for name, field in schema.fields.items()]
    chance = random.Random(cls.__name__)
    bodies: list[dict[str, Any]] = [{}, {"unknown": 1}]
    for _ in range(BODIES):
        sent = chance.sample(names, chance.randint(0, min(6, len(names))))
        bodies.append({name: chance.choice(VALUES) for name in sent})
    seen = set()
    for body in bodies:
        expected = outcome(schema, body)
        assert outcome(fields._of_sent_fields(schema, body), body) == expected, body
        seen.add(expected[1] is None)
    assert seen == {True, False}  # some were accepted, some refused
    assert len(schema.load_fields) == len(schema.fields)  # the schema itself is left as it was


def test_only_sent_fields_are_looked_at() -> None:
    reduced = fields._of_sent_fields(native.SUBMIT, {"prompt": "x", "class": "general", "unknown": 1})
    assert list(reduced.load_fields) == ["prompt", "job_class"]
    assert list(fields._of_sent_fields(job_list.ListSchema(), {}).load_fields) == ["limit"]  # it has a default
    assert list(fields._of_sent_fields(native.LoraSchema(), {}).load_fields) == ["name"]  # it is required
