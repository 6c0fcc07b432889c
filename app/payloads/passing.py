"""Bodies for models that only back ends have: what our request does not carry is passed on as it was sent."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from jobs.errors import InvalidRequest, Problem

#: Most that is passed on, bytes of JSON.
MAX_BYTES = 64 * 1024

#: What of AUTOMATIC1111's body is not: what the request carries (the wire has that from there), pictures that are
#: stored as inputs, and what is no business of the sender's.
A1111_OWN = frozenset(
    {"prompt", "negative_prompt", "seed", "steps", "cfg_scale", "width", "height", "init_images", "mask", "save_images",
     "send_images", "force_task_id", "do_not_save_samples", "do_not_save_grid", "include_init_images"}
)  # fmt: skip
KANDINSKY_OWN = frozenset(
    {"prompt", "images_texts", "weights", "steps", "guidance_scale", "width", "height", "negative_decoder_prompt"}
)


def passed_on(payload: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    """The fields of a body that a back end gets as they are.

    Raises:
        InvalidRequest: they are more than :data:`MAX_BYTES` (names the longest), or no proper JSON.
    """
    found = {name: value for name, value in payload.items() if name not in own}
    sizes = {name: _bytes(name, value) for name, value in found.items()}
    if sum(sizes.values()) > MAX_BYTES:
        longest = max(sizes, key=sizes.__getitem__)
        rule = f"must be shorter: it has {sizes[longest]} bytes, and all fields that are passed on may have {MAX_BYTES}"
        raise InvalidRequest(Problem(longest, rule))
    return found


def _bytes(name: str, value: Any) -> int:
    try:
        return len(json.dumps([name, value], ensure_ascii=False, allow_nan=False).encode())
    except ValueError as exc:  # NaN, or half of a surrogate pair
        raise InvalidRequest(Problem(name, "must be JSON that other servers read")) from exc
