"""Prometheus' text format, version 0.0.4. All names begin with ``framemill_``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from jobs.store.measuring.families import INFINITE, Counter, Histogram
from jobs.store.measuring.measures import COUNT, SUM
from jobs.store.monitoring.figures import Series

#: Media type of the format.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: What the values of labels must not contain as they are.
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
#: Series whose lines are kept: most do not change from one look to the next.
_WRITTEN = 8192


def gauge(name: str, text: str, labels: Sequence[str], values: Mapping[Any, float]) -> Iterator[str]:
    """Write a gauge; ``values``: by the values of its labels."""
    return _family("gauge", f"framemill_{name}", text, labels, values)


def counter(name: str, text: str, labels: Sequence[str], values: Mapping[Any, float]) -> Iterator[str]:
    """Write a counter; ``name`` without ``_total``."""
    return _family("counter", f"framemill_{name}_total", text, labels, values)


def measured_counter(family: Counter, series: Iterable[Series], others: Mapping[Any, float]) -> Iterator[str]:
    """Write a counter of all processes; ``others``: values of it that do not come from them, such as zeros."""
    values = {**others, **{one.labels: one.values.get(COUNT, 0) for one in series}}
    return _family("counter", f"framemill_{family.name}", family.text, family.labels, values)


def histogram(family: Histogram, series: Iterable[Series]) -> Iterator[str]:
    """Write a histogram of all processes."""
    name = f"framemill_{family.name}"
    yield f"# HELP {name} {family.text}\n# TYPE {name} histogram\n"
    for one in [*series] or ([Series(family.name, (), {})] if not family.labels else []):
        if len(one.labels) == len(family.labels):  # not one of another version
            yield _lines(family, one.labels, tuple(one.values.items()))


@lru_cache(maxsize=_WRITTEN)
def _lines(family: Histogram, labels: tuple[str, ...], values: tuple[tuple[str, float], ...]) -> str:
    """Return the lines of a series. A bucket of other bounds than today's counts in the next higher one."""
    counts = dict.fromkeys(family.buckets, 0)
    total = 0.0
    for bucket, number in values:
        if bucket == SUM:
            total = number
        else:
            counts[INFINITE if bucket == INFINITE else family.bucket_of(float(bucket))] += int(number)
    shown = "".join(f'{name}="{_escaped(value)}",' for name, value in zip(family.labels, labels, strict=True))
    name, lines, count = f"framemill_{family.name}", [], 0
    for bucket in family.buckets:
        count += counts[bucket]
        lines.append(f'{name}_bucket{{{shown}le="{bucket}"}} {count}\n')
    braces = f"{{{shown[:-1]}}}" if shown else ""
    return "".join([*lines, f"{name}_sum{braces} {total:.10g}\n", f"{name}_count{braces} {count}\n"])


def _family(kind: str, name: str, text: str, labels: Sequence[str], values: Mapping[Any, float]) -> Iterator[str]:
    """A family is written in one pass: slots are many."""
    yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
    names = ",".join(f'{label}="%s"' for label in labels)
    line = f"{name}{{{names}}} " if labels else f"{name} "
    for shown, value in values.items():
        yield f"{line % tuple(map(_escaped, shown))}{value}\n"


@lru_cache(maxsize=8192)
def _escaped(text: str) -> str:
    return text.translate(_ESCAPED)
