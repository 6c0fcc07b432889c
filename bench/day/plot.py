"""Draw the day as an SVG picture: waiting jobs, waits by class, use of the slots."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 900, 170, 70, 150, 46, 44
COLOURS = ("#2563a8", "#c2541b", "#2f7d4f", "#6b4fa0")
INK, LINES = "#24292f", "#d0d7de"


@dataclass(frozen=True)
class Panel:
    """Curves with one scale."""

    title: str
    #: (name, values at equal distances of time; NaN where there is none).
    curves: Sequence[tuple[str, Sequence[float]]]
    #: Text of a value on the axis.
    label: Callable[[float], str]
    #: Upper end of the scale; 0: the largest value.
    top: float = 0.0


def draw(title: str, panels: Sequence[Panel], hours: float) -> str:
    """Return the picture; all panels share the axis of time."""
    height = TOP + len(panels) * (PANEL + GAP)
    box = f'viewBox="0 0 {WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(LEFT, 22, title, size=15, weight="bold"),
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, TOP + number * (PANEL + GAP), hours, is_last=number == len(panels) - 1)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, y: float, hours: float, *, is_last: bool) -> list[str]:
    values = [value for _, curve in panel.curves for value in curve if value == value]
    top = panel.top or _rounded_up(max(values, default=1.0))
    width, floor = WIDTH - LEFT - RIGHT, y + PANEL
    parts = [_text(LEFT, y - 6, panel.title, weight="bold")]
    for share in (0, 0.25, 0.5, 0.75, 1):
        at = floor - share * PANEL
        parts.append(f'<path d="M{LEFT} {at:.1f}H{LEFT + width}" stroke="{LINES}"/>')
        parts.append(_text(LEFT - 8, at + 4, panel.label(share * top), anchor="end"))
    every = next(step for step in (0.25, 0.5, 1, 2, 3, 4, 6, 12, 24, 1e9) if hours / step <= 9)
    for tick in range(int(hours / every) + 1):
        at = LEFT + width * tick * every / hours
        parts.append(f'<path d="M{at:.1f} {floor}v5" stroke="{INK}"/>')
        parts.append(_text(at, floor + 18, f"{tick * every:g} h", anchor="middle"))
    for number, (name, curve) in enumerate(panel.curves):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<path d="{_path(curve, width, floor, top)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(_text(LEFT + width + 12, y + 14 + 18 * number, f"— {name}", colour=colour))
    return parts


def _path(curve: Sequence[float], width: float, floor: float, top: float) -> str:
    """Return a line through the values, interrupted where there is none."""
    steps, is_down = [], False
    for number, value in enumerate(curve):
        if value != value:
            is_down = False
            continue
        x, y = LEFT + width * number / max(1, len(curve) - 1), floor - min(1.0, value / top) * PANEL
        steps.append(f"{'L' if is_down else 'M'}{x:.1f} {y:.1f}")
        is_down = True
    return "".join(steps)


def _rounded_up(value: float) -> float:
    """Return the next of 1, 2, 4, 10, 20, 40, …"""
    scale = 1.0
    while scale * 10 <= value:
        scale *= 10
    return next((scale * factor for factor in (1, 2, 4, 6, 8) if scale * factor >= value), scale * 10)


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "normal", colour: str = INK
) -> str:  # fmt: skip
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}">{html.escape(text)}</text>'
    )
