"""JSON schemas of arguments and results, made from marshmallow's schemas and the models on offer."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema

from jobs.models.spec import DEFAULT_LIMITS, ModelSpec


def arguments_schema(schema: type[Schema], models: Sequence[ModelSpec]) -> dict[str, Any]:
    """Return the schema of a tool's arguments.

    Args:
        schema: the arguments.
        models: those that the tool can use. Their names are the choices of ``model``, and numbers have the widest of
            their limits; a request is checked against those of its model.
    """
    described = deepcopy(_written(schema))
    properties = {name: _without_null(one) for name, one in described.get("properties", {}).items()}
    if models and "model" in properties:
        del properties["model"]["maxLength"]
        properties["model"]["enum"] = [spec.name for spec in models]
    for name in properties.keys() & DEFAULT_LIMITS.keys() - {"images"} if models else ():
        limits = [spec.limit(name) for spec in models]
        properties[name] |= {
            "minimum": min(limit.low for limit in limits), "maximum": max(limit.high for limit in limits)
        }  # fmt: skip
    return {**described, "properties": properties, "additionalProperties": False}


def result_schema(schema: type[Schema]) -> dict[str, Any]:
    """Return the schema of a tool's result."""
    return _written(schema)


@cache
def _written(schema: type[Schema]) -> dict[str, Any]:
    # Nested schemas are written where they are used: not every client follows references.
    plugin = MarshmallowPlugin(schema_name_resolver=lambda schema: "")
    APISpec("", "", "3.1.0", plugins=[plugin])
    assert plugin.converter is not None
    described: dict[str, Any] = plugin.converter.schema2jsonschema(schema)
    return described


def _without_null(part: dict[str, Any]) -> dict[str, Any]:
    """Return a property whose value is left out instead of being null, which is accepted as well."""
    types = part.get("type")
    if isinstance(types, list):
        named = [name for name in types if name != "null"]
        part = {**part, "type": named[0] if len(named) == 1 else named}
    if "enum" in part:
        part = {name: value for name, value in part.items() if name != "maxLength"}
    if isinstance(part.get("items"), dict) and "properties" in part["items"]:
        inner = part["items"]["properties"]
        part = {**part, "items": {**part["items"], "properties": {n: _without_null(p) for n, p in inner.items()}}}
    return part
