"""The inputs and outputs of an endpoint's configuration file."""

from __future__ import annotations

from typing import Any

from app.protocols.aime.endpoints.spec import IMPLICIT, MEDIA, OUTPUT_TYPES, TYPES, Input, Output, Rule
from app.protocols.aime.endpoints.tables import Table

#: Attributes that each kind of media has, and what their values are.
ATTRIBUTES: dict[str, dict[str, type | tuple[type, ...]]] = {
    "image": {"format": str, "color_space": str, "size": list},
    "audio": {"format": str, "sample_rate": int, "sample_bit_depth": int, "audio_bit_rate": int, "channels": int,
              "duration": (int, float)},
}  # fmt: skip
ATTRIBUTES["video"] = {**ATTRIBUTES["image"], **ATTRIBUTES["audio"]}

_SCALARS: dict[str, type | tuple[type, ...]] = {
    "string": str, "text_context": str, "chat_context": str, "json": str, "integer": (int, float),
    "float": (int, float), "bool": bool, "image": str, "audio": str, "video": str,
}  # fmt: skip
#: Keys of older files that change nothing here: conversions never need files, and are always checked.
_WITHOUT_EFFECT = ("check_conversion", "input_temp_file", "output_temp_file")


def read_inputs(table: Table) -> dict[str, Input]:
    """``[INPUTS]``. Raises: BadSetting."""
    found = {}
    for name in table.names():
        if name in IMPLICIT:
            raise table.bad(name, f"is an input of every endpoint: {', '.join(IMPLICIT)}")
        found[name] = read_input(name, table.table(name))
    return found


def read_input(name: str, table: Table) -> Input:
    """One parameter. Raises: BadSetting."""
    kind = TYPES[table.one_of("type", TYPES, "string")]
    required, convert = table.flag("required"), table.flag("auto_convert")
    default = table.any("default")
    if default is not None and kind in _SCALARS:
        allowed = _SCALARS[kind]
        wrong_flag = isinstance(default, bool) and kind != "bool"
        if wrong_flag or not isinstance(default, allowed):
            raise table.bad("default", f"must be of type {kind}")
    more: dict[str, Any] = {"rule": Rule(default=default, convert=convert)}
    if kind in ("string", "text_context", "chat_context", "json"):
        more["max_length"] = table.whole("max_length")
    if kind in ("integer", "float"):
        more["rule"] = _number_rule(table, default, convert)
    if kind == "selection":
        supported = table.take("supported", list, "must be a list of the values to choose from")
        if not supported:
            raise table.bad("supported", "is missing: the list of values to choose from")
        if default is not None and default not in supported:
            raise table.bad("default", "must be one of supported")
        more["rule"] = Rule(tuple(supported), default, convert=convert)
    if kind == "chat_context":
        types = table.texts("support")
        if unknown := [one for one in types if one not in MEDIA]:
            raise table.bad("support", f"must be out of {', '.join(sorted(MEDIA))}, not {unknown[0]}")
        items = {one: table.table(one) for one in sorted(MEDIA)}
        more["items"] = {
            one: Input(one, one, **_media(one, items[one], convert)) for one in MEDIA if one in types or items[one]
        }
        for one in more["items"]:
            items[one].done()
    if kind in MEDIA:
        more |= _media(kind, table, convert)
    table.done()
    return Input(name, kind, required, default, described=dict(table.values), **more)


def _media(kind: str, table: Table, convert: bool) -> dict[str, Any]:
    attributes = {
        name: _attribute(name, of, table.table(name), convert)
        for name, of in ATTRIBUTES[kind].items()
        if name in table.values
    }
    for key in _WITHOUT_EFFECT:
        table.any(key)
    size = table.values.get("size")
    keep = isinstance(size, dict) and bool(size.get("keep_aspect_ratio"))
    return {
        "attributes": attributes,
        "resize_method": table.one_of("resize_method", ("scale", "crop"), "scale"),
        "keep_aspect_ratio": table.flag("keep_aspect_ratio", keep),
    }


def _attribute(name: str, of: type | tuple[type, ...], table: Table, convert: bool) -> Rule:
    convert = table.flag("auto_convert", convert)
    if name == "size":
        table.flag("keep_aspect_ratio")
        choices = tuple(_size(table, "supported", one) for one in table.take("supported", list, "must be a list", []))
        sizes = {key: _size(table, key, table.any(key)) for key in ("default", "minimum", "min", "maximum", "max")}
        align = table.any("align")
        align = _size(table, "align", [align, align] if isinstance(align, int) else align)
        table.done()
        low, high = sizes["minimum"] or sizes["min"], sizes["maximum"] or sizes["max"]
        if low and high and (low[0] > high[0] or low[1] > high[1]):
            raise table.bad("minimum", "must not be above maximum")
        return Rule(choices, sizes["default"], low, high, align, convert)
    supported = tuple(table.take("supported", list, "must be a list", []))
    default = table.any("default")
    for key, values in (("supported", supported), ("default", () if default is None else (default,))):
        if not all(isinstance(one, of) and not isinstance(one, bool) for one in values):
            raise table.bad(key, "holds a value of a wrong type")
    if of is str:
        table.done()
        lowered = tuple(one.lower() for one in supported)
        return Rule(lowered, str(default).lower() if default else None, convert=convert)
    rule = _number_rule(table, default, convert)
    table.done()
    return Rule(supported, default, rule.low, rule.high, rule.align, convert)


def _size(table: Table, key: str, value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if not (isinstance(value, list) and len(value) == 2 and all(type(one) is int and one > 0 for one in value)):
        raise table.bad(key, "must be [width, height] in pixels")
    return (value[0], value[1])


def _number_rule(table: Table, default: Any, convert: bool) -> Rule:
    low, low_too = table.number("minimum", least=None), table.number("min", least=None)
    high, high_too = table.number("maximum", least=None), table.number("max", least=None)
    low, high = low if low is not None else low_too, high if high is not None else high_too
    align = table.number("align", least=None)
    if align is not None and align <= 0:
        raise table.bad("align", "must be above 0")
    if low is not None and high is not None and low > high:
        raise table.bad("minimum" if "minimum" in table.values else "min", "must not be above the maximum")
    outside = default is not None and ((low is not None and default < low) or (high is not None and default > high))
    if outside:
        raise table.bad("default", "must be within minimum and maximum")
    return Rule((), default, low, high, align, convert)


def read_outputs(table: Table) -> dict[str, Output]:
    """``[OUTPUTS]`` and ``[PROGRESS.OUTPUTS]``. Raises: BadSetting."""
    found = {}
    for name in table.names():
        own = table.table(name)
        kind = OUTPUT_TYPES[own.one_of("type", OUTPUT_TYPES, "string")]
        found[name] = Output(name, kind, own.text("format"), own.text("color_space"), dict(own.values))
        own.done()
    return found


def read_session_vars(table: Table) -> dict[str, Input]:
    """``[SESSION.VARS]``. Raises: BadSetting."""
    return {name: read_input(name, table.table(name)) for name in table.names()}
