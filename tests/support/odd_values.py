"""Values that no client means: for the fuzzing of bodies, queries, headers and messages."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

#: Number of examples of each test; more than in continuous integration with ``FUZZ_EXAMPLES``.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))

_ODD_TEXTS = (
    "", " ", "\0", "\ud800", "\udfff\ud800", "NaN", "null", "true", "-1", "1e999", "0x10", "\u0661", "../..", "a\r\nb",
    "%00", "{}", "[]", "data:,", "data:image/png;base64,AAAA", "http://127.0.0.1:1/", "file:///etc/passwd",
    "<lora:a:1>", "x" * 300, "\u202e", "\U0001f600", "tiny-image", "gpu0", "job.succeeded",
)  # fmt: skip
_ODD_NUMBERS = (-1, 0, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**30, 1e308, float("nan"), float("inf"), -0.0)

TEXTS = st.one_of(st.sampled_from(_ODD_TEXTS), st.text(st.characters(), max_size=12))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.sampled_from(_ODD_NUMBERS), st.integers(-200, 200), st.floats(), TEXTS
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=6
)


def bodies(example: Mapping[str, Any], names: Sequence[str]) -> st.SearchStrategy[Any]:
    """Return objects like an example with some fields replaced by odd values; rarely, something else."""
    odd = st.dictionaries(st.sampled_from([*names, "unknown"]), VALUES, min_size=1, max_size=4)
    objects = st.builds(lambda kept, fields: {**kept, **fields}, st.sampled_from([dict(example), {}]), odd)
    return st.one_of(objects, objects, objects, VALUES)


def encoded(body: Any) -> bytes:
    """Return a body as JSON, surrogates and numbers that are none included."""
    return json.dumps(body).encode()


def profile(examples: int) -> Any:
    """Return the settings of a test: the same examples in each run of continuous integration."""
    return settings(
        max_examples=EXAMPLES or examples, derandomize=not EXAMPLES, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
