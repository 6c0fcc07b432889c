"""How the image of a control is turned into what the control reads: the part of it that needs no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.errors import Problem
from jobs.models.spec import Range

#: ``canny``: the edges, white on black. ``invert``: dark lines on white become white lines on black.
PREPROCESSORS = ("canny", "invert")
#: Thresholds of edges, by the names and defaults of OpenCV's users.
THRESHOLDS = {"low_threshold": 100.0, "high_threshold": 200.0}
_GRADIENT = Range(1, 2040)
#: AUTOMATIC1111 replaces greater thresholds by its defaults.
_GRADIENT_OF_BACK_ENDS = Range(1, 255)


def preprocess_of(
    one: Mapping[str, Any], label: str, problems: list[Problem], *, is_spatial: bool, is_remote: bool
) -> dict[str, Any]:  # fmt: skip
    """Return ``preprocess`` and the thresholds of a control, as far as it has them.

    Args:
        one: the control that the caller sent.
        label: its name in problems.
        problems: receives a problem for each value that is refused.
        is_spatial: whether its image is laid over the output.
        is_remote: whether a back end does it.
    """
    name = str(one.get("preprocess") or "none")
    given = {key: float(one[key]) for key in THRESHOLDS if one.get(key) is not None}
    if name != "none" and not is_spatial:
        problems.append(Problem(f"{label}.preprocess", "does not apply: an IP-Adapter reads the image itself", name))
    elif name not in ("none", *PREPROCESSORS):
        problems.append(Problem(f"{label}.preprocess", f"must be one of none, {', '.join(PREPROCESSORS)}", name))
    if name != "canny":
        rule = "applies to preprocess canny only"
        problems += [Problem(f"{label}.{key}", rule, value) for key, value in given.items()]
        return {} if name == "none" else {"preprocess": name}
    allowed = _GRADIENT_OF_BACK_ENDS if is_remote else _GRADIENT
    outside = [(key, value) for key, value in given.items() if value not in allowed]
    problems += [Problem(f"{label}.{key}", f"must be {allowed}", value) for key, value in outside]
    return {"preprocess": name, **THRESHOLDS, **given}
