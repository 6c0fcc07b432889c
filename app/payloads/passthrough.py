"""Fields that models of back ends receive unchanged, because a request of this server has no field for them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from jobs.errors import InvalidRequest, Problem

#: Maximum size of all passed fields together, bytes of JSON.
MAX_BYTES = 64 * 1024

#: Fields of AUTOMATIC1111's body that are not passed: the request has fields for them, they are images that are stored
#: as inputs, or the server alone decides on them.
A1111_MAPPED = frozenset(
    {"prompt", "negative_prompt", "seed", "steps", "cfg_scale", "width", "height", "init_images", "mask", "save_images",
     "send_images", "force_task_id", "do_not_save_samples", "do_not_save_grid", "include_init_images"}
)  # fmt: skip
KANDINSKY_MAPPED = frozenset(
    {"prompt", "images_texts", "weights", "steps", "guidance_scale", "width", "height", "negative_decoder_prompt"}
)


def passthrough_fields(payload: Mapping[str, Any], mapped: Collection[str]) -> dict[str, Any]:
    """Return the fields of a body that a back end receives unchanged.

    Args:
        payload: the body.
        mapped: fields that are not passed.

    Raises:
        InvalidRequest: they exceed :data:`MAX_BYTES` (names the longest field), or are not valid JSON.
    """
    fields = {name: value for name, value in payload.items() if name not in mapped}
    sizes = {name: _size(name, value) for name, value in fields.items()}
    if sum(sizes.values()) > MAX_BYTES:
        longest = max(sizes, key=sizes.__getitem__)
        rule = f"must be shorter: it has {sizes[longest]} bytes, and all fields that are passed on may have {MAX_BYTES}"
        raise InvalidRequest(Problem(longest, rule))
    return fields


def _size(name: str, value: Any) -> int:
    """Return the number of bytes as JSON. Raises: InvalidRequest."""
    try:
        return len(json.dumps([name, value], ensure_ascii=False, allow_nan=False).encode())
    except ValueError as exc:  # NaN, or a lone surrogate
        raise InvalidRequest(Problem(name, "must be valid JSON without NaN, infinity and lone surrogates")) from exc
