"""Load the inputs and outputs of an endpoint's configuration file."""

from __future__ import annotations

from typing import Any

from app.protocols.aime.endpoints.spec import IMPLICIT, MEDIA, OUTPUT_TYPES, TYPES, Input, Output, Rule
from app.protocols.aime.endpoints.tables import Table

#: Media type → its attributes and the types of their values.
ATTRIBUTES: dict[str, dict[str, type | tuple[type, ...]]] = {
    "image": {"format": str, "color_space": str, "size": list},
    "audio": {"format": str, "sample_rate": int, "sample_bit_depth": int, "audio_bit_rate": int, "channels": int,
              "duration": (int, float)},
}  # fmt: skip
ATTRIBUTES["video"] = {**ATTRIBUTES["image"], **ATTRIBUTES["audio"]}

#: Type → the types of its default in a file. JSON and chats may be written as text or as TOML's own values.
_SCALARS: dict[str, type | tuple[type, ...]] = {
    "string": str, "text_context": str, "chat_context": (str, list), "integer": (int, float),
    "float": (int, float), "bool": bool, "image": str, "audio": str, "video": str,
}  # fmt: skip
_WITH_MAX_LENGTH = ("string", "text_context", "chat_context", "json")
#: Accepted and ignored: conversions need no temporary files here and are always checked.
_IGNORED = ("check_conversion", "input_temp_file", "output_temp_file")


def load_inputs(table: Table, *, implicit: bool = True) -> dict[str, Input]:
    """Load ``[INPUTS]`` or ``[SESSION.VARS]``.

    Args:
        table: the section.
        implicit: whether the names of the implicit inputs, which files may repeat, are left out.

    Raises:
        BadSetting: names the file, line and key.
    """
    inputs = {}
    for name in table.names():
        if implicit and name in IMPLICIT:
            table.any(name)
            continue
        inputs[name] = _load_input(name, table.table(name))
    return inputs


def load_outputs(table: Table) -> dict[str, Output]:
    """Load ``[OUTPUTS]`` or ``[PROGRESS.OUTPUTS]``. Raises: BadSetting."""
    outputs = {}
    for name in table.names():
        output = table.table(name)
        kind = OUTPUT_TYPES[output.one_of("type", OUTPUT_TYPES, "string")]
        outputs[name] = Output(name, kind, output.text("format"), output.text("color_space"), dict(output.values))
        output.done()
    return outputs


def _load_input(name: str, table: Table) -> Input:
    kind = TYPES[table.one_of("type", TYPES, "string")]
    required, convert = table.flag("required"), table.flag("auto_convert")
    default = table.any("default")
    _check_default(table, kind, default)
    details: dict[str, Any] = {"rule": _rule(kind, table, default, convert)}
    if kind in _WITH_MAX_LENGTH:
        details["max_length"] = table.whole("max_length")
    if kind == "chat_context":
        details["items"] = _load_chat_items(table, convert)
    if kind in MEDIA:
        details |= _load_media(kind, table, convert)
    table.done()
    return Input(name, kind, required, default, declaration=dict(table.values), **details)


def _check_default(table: Table, kind: str, default: Any) -> None:
    if default is None or kind not in _SCALARS:
        return
    is_misplaced_flag = isinstance(default, bool) and kind != "bool"
    if is_misplaced_flag or not isinstance(default, _SCALARS[kind]):
        raise table.bad("default", f"must be of type {kind}")


def _rule(kind: str, table: Table, default: Any, convert: bool) -> Rule:
    if kind in ("integer", "float"):
        return _number_rule(table, default, convert)
    if kind != "selection":
        return Rule(default=default, convert=convert)
    supported = table.take("supported", list, "must be a list of the values to choose from")
    if not supported:
        raise table.bad("supported", "is missing: the list of values to choose from")
    if default is not None and default not in supported and not convert:
        raise table.bad("default", "must be one of supported")
    return Rule(tuple(supported), default, convert=convert)


def _load_chat_items(table: Table, convert: bool) -> dict[str, Input]:
    """Load the media that a chat context may contain."""
    types = table.texts("support")
    if unknown := [name for name in types if name not in MEDIA]:
        raise table.bad("support", f"must be out of {', '.join(sorted(MEDIA))}, not {unknown[0]}")
    items = {}
    for kind in sorted(MEDIA):
        if isinstance(table.values.get(kind), bool):  # between 0.9.0 and 0.9.6, in place of support
            if table.flag(kind):
                items[kind] = Input(kind, kind)
            continue
        attributes = table.table(kind)
        if kind in types or attributes:
            items[kind] = Input(kind, kind, **_load_media(kind, attributes, convert))
            attributes.done()
    return items


def _load_media(kind: str, table: Table, convert: bool) -> dict[str, Any]:
    attributes = {
        name: _load_attribute(name, value_type, table.table(name), convert)
        for name, value_type in ATTRIBUTES[kind].items()
        if name in table.values and name != "size"
    }
    for key in _IGNORED:
        table.any(key)
    if kind == "audio":
        return {"attributes": attributes}
    size = table.table("size")
    fits = [_load_fit(holder) for holder in (size, table)]
    if size:
        attributes["size"] = _size_rule(size, convert)
    return {
        "attributes": attributes,
        # Files name these beside the size or within it.
        **{key: fits[0][key] if fits[0][key] is not None else fits[1][key] for key in fits[0]},
        "black_and_white": table.flag("option_convert_bw"),
        "convert": attributes["size"].convert if size else convert,
    }


def _load_fit(table: Table) -> dict[str, Any]:
    """Load how pictures are brought to their size; None where the table does not say it."""
    method = table.text("resize_method", None)
    if method is not None and method.lower() not in ("scale", "crop"):
        raise table.bad("resize_method", "must be one of crop, scale")
    low, high = (table.number(f"aspect_ratio_{end}", least=0) for end in ("min", "max"))
    if (low or 0) > (high or float("inf")) or 0 in (low, high):
        raise table.bad("aspect_ratio_min", "must be above 0, and not above aspect_ratio_max")
    keep = table.take("keep_aspect_ratio", bool, "must be true or false")
    return {"resize_method": method and method.lower(), "min_ratio": low, "max_ratio": high, "keep_aspect_ratio": keep}


def _load_attribute(name: str, value_type: type | tuple[type, ...], table: Table, convert: bool) -> Rule:
    convert = table.flag("auto_convert", convert)
    supported = tuple(table.take("supported", list, "must be a list", []))
    default = table.any("default")
    for key, values in (("supported", supported), ("default", () if default is None else (default,))):
        if not all(isinstance(value, value_type) and not isinstance(value, bool) for value in values):
            raise table.bad(key, "holds a value of a wrong type")
    if value_type is str:
        table.done()
        words = tuple(word_of(value) for value in supported)
        return Rule(words, word_of(default) if default else None, convert=convert)
    rule = _number_rule(table, default, convert)
    table.done()
    return Rule(supported, default, rule.low, rule.high, rule.align, convert)


def word_of(name: str) -> str:
    """Return a format or color space as it is compared: files write ``JPG`` for ``jpeg``."""
    return {"jpg": "jpeg", "tif": "tiff"}.get(name.lower(), name.lower())


def _size_rule(table: Table, convert: bool) -> Rule:
    convert = table.flag("auto_convert", convert)
    choices = tuple(_size(table, "supported", size) for size in table.take("supported", list, "must be a list", []))
    sizes = {key: _size(table, key, table.any(key)) for key in ("default", "minimum", "min", "maximum", "max")}
    align = table.any("align")
    align = _size(table, "align", [align, align] if isinstance(align, int) else align)
    table.done()
    low, high = sizes["minimum"] or sizes["min"], sizes["maximum"] or sizes["max"]
    if low and high and (low[0] > high[0] or low[1] > high[1]):
        raise table.bad("minimum", "must not be above maximum")
    return Rule(choices, sizes["default"], low, high, align, convert)


def _size(table: Table, key: str, value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if not (isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)):
        raise table.bad(key, "must be [width, height] in pixels")
    return (value[0], value[1])


def _number_rule(table: Table, default: Any, convert: bool) -> Rule:
    low, short_low = table.number("minimum", least=None), table.number("min", least=None)
    high, short_high = table.number("maximum", least=None), table.number("max", least=None)
    low, high = low if low is not None else short_low, high if high is not None else short_high
    align = table.number("align", least=None)
    if align is not None and align <= 0:
        raise table.bad("align", "must be above 0")
    if low is not None and high is not None and low > high:
        raise table.bad("minimum" if "minimum" in table.values else "min", "must not be above the maximum")
    is_outside = default is not None and ((low is not None and default < low) or (high is not None and default > high))
    if is_outside and not convert:
        raise table.bad("default", "must be within minimum and maximum")
    return Rule((), default, low, high, align, convert)
