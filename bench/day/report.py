"""The report of a day: a table of targets, and the plot."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from bench.common import quantile, table
from bench.day.measures import Measures
from bench.day.plot import Panel, draw
from bench.day.population import WEIGHTS, Size

#: Points of each curve.
POINTS = 240


def tables(measures: Measures, counters: dict[str, str], size: Size) -> str:
    counts = measures.counts
    ended = sum(int(counters.get(state) or 0) for state in ("succeeded", "failed", "cancelled", "expired"))
    ideal = measures.ideal
    by_user, beyond_a_job, by_class = ideal.deviations()
    rows: list[list[Any]] = [
        ["jobs lost (accepted and never ended)", int(counters["submitted"]) - ended, "0"],
        ["runs that ended twice", counts["runs finished"] - counts["jobs succeeded"], "0"],
        ["contended GPU time of an hour that other classes got than in the ideal", percent(by_class), "≤ 2 %"],
        ["… other users of the class, beyond one job for each user", percent(beyond_a_job), "≤ 2 %"],
        ["… other users of the class, in all", percent(by_user), ""],
        ["GPU time idle while a job waits that fits", percent(measures.idle_s / measures.slot_s, 4), "≤ 0.1 %"],
    ]
    for when in ("when submitted", "while waiting"):
        places, times = measures.places[when], measures.etas[when]
        rows += [
            [
                f"place told {when}: error among the jobs that waited",
                _errors([(told, known) for told, _, known in places]),
                "",
            ],
            ["… with those that came later and went first", _errors([(told, real) for told, real, _ in places]), ""],
            [f"seconds told {when}: error", _errors(times), ""],
        ]
    shares = [
        [name, weight, percent(ideal.class_shares()[name][0]), percent(ideal.class_shares()[name][1])]
        for name, weight in WEIGHTS.items()
    ]
    events = [[name, f"{count:,}"] for name, count in sorted(counts.items())]
    models = f"{size.models} models in {size.groups} groups"
    return "\n\n".join(
        [
            f"{size.slots:,} slots, {size.users:,} users, {models}, {_jobs(measures)}",
            table(("day", "measured", "target"), rows),
            table(("class", "weight", "ideal share of contended GPU time", "measured"), shares),
            table(("events of the day", "number"), events),
        ]
    )


def _jobs(measures: Measures) -> str:
    return f"{measures.counts['jobs submitted']:,} jobs in {measures.moments[-1].at_s / 3600:.1f} h"


def percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f} %"


def _errors(pairs: Sequence[tuple[float, float]]) -> str:
    errors = [abs(told - real) for told, real in pairs]
    real = quantile([real for _, real in pairs], 0.5)
    share = sum(errors) / (sum(real for _, real in pairs) or 1)
    return (
        f"median {quantile(errors, 0.5):.0f}, p95 {quantile(errors, 0.95):.0f}, {percent(share, 0)} of all "
        f"(real: median {real:.0f}; {len(pairs):,} jobs)"
    )


def plot(measures: Measures, size: Size) -> str:
    """Return the SVG picture of the day."""
    moments = measures.moments
    per_point = max(1, -(-len(moments) // POINTS))
    points = [range(first, min(first + per_point, len(moments))) for first in range(0, len(moments), per_point)]

    def mean(values: Sequence[float]) -> float:
        return statistics.fmean(values) if values else float("nan")

    waiting = [(name, [mean([moments[n].waiting[name] for n in point]) for point in points]) for name in WEIGHTS]
    waits = [
        (name, [mean([wait for n in point for wait in measures.waits.get((n, name), ())]) / 60 for point in points])
        for name in WEIGHTS
    ]
    use = [
        ("have a job", [mean([moments[n].busy for n in point]) for point in points]),
        ("alive", [mean([moments[n].alive for n in point]) for point in points]),
    ]
    title = f"{measures.counts['jobs submitted']:,} jobs of {size.users:,} users on {size.slots:,} slots"
    panels = [
        Panel("Waiting jobs", waiting, lambda value: f"{value:,.0f}"),
        Panel("Wait of the jobs that got a slot, minutes", waits, lambda value: f"{value:,.1f}"),
        Panel("Share of the slots", use, lambda value: f"{100 * value:.0f} %", top=1.0),
    ]
    return draw(title, panels, moments[-1].at_s / 3600)
