"""Option types and options that several subcommands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

KINDS = ("text2img", "img2img", "inpaint", "mix2img", "edit", "text2video", "img2video", "video2video")
STATES = ("queued", "running", "paused", "delivering", "succeeded", "failed", "cancelled", "expired")
CLASSES = ("general", "premium", "off-peak")
RETENTION = ("keep", "days", "hours")
EVENTS = ("job.started", "job.paused", "job.succeeded", "job.failed", "job.cancelled", "job.expired")

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class FileOrLink(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """A path, or an http(s) link as text."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        return value if isinstance(value, str) and value.startswith(("http://", "https://")) else Path(value)


class Size(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """``2`` as a scale, ``1024x1536`` as width and height."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        if isinstance(value, dict):
            return value
        width, _, height = value.partition("x")
        try:
            return {"width": int(width), "height": int(height)} if height else {"scale": float(value)}
        except ValueError:
            self.fail(f"{value!r} must be a scale such as 1.5, or a size such as 1024x1536", param, ctx)


class WordList(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """``queued,running`` as a tuple of known words."""

    name = "words"

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = value if isinstance(value, tuple) else tuple(value.split(","))
        if wrong := [name for name in names if name not in self._words]:
            self.fail(f"{wrong[0]!r} must be one of {', '.join(self._words)}", param, ctx)
        return names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in self._words if word.startswith(incomplete)]


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """``2h`` as the time two hours ago; a date or a time, local unless it has an offset."""

    name = "time"
    _UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

    def __init__(self, *, ahead: bool = False) -> None:
        """``ahead``: ``2h`` is the time in two hours, and ``22:00`` the next time at which clocks show that."""
        self._direction = 1 if ahead else -1

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        unit = self._UNITS.get(value[-1:])
        try:
            if unit and value[:-1].isdecimal():
                return datetime.now(UTC) + self._direction * timedelta(**{unit: int(value[:-1])})
            if self._direction > 0 and len(value) == len("22:00"):
                return self._next(time.fromisoformat(value))
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            kind = "an age" if self._direction < 0 else "a delay"
            rule = f"must be {kind} such as 30m, 2h, 3d or 1w, or a time such as 2026-01-31T09:00"
            self.fail(f"{value!r} {rule}", param, ctx)

    @staticmethod
    def _next(clock: time) -> datetime:
        """Return the next moment at which local clocks show a time."""
        now = datetime.now().astimezone()
        today = datetime.combine(now.date(), clock)
        return next(day for day in (today.astimezone(), (today + timedelta(days=1)).astimezone()) if day > now)


class Weighted(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """``VALUE=0.5`` as ``{field: VALUE, "weight": 0.5}``. Without a number at its end, the whole text is the value."""

    name = "weighted"

    def __init__(self, field: str, value_type: Callable[[str], Any] = str) -> None:
        self._field = field
        self._value_type = value_type

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        text, _, number = value.rpartition("=")
        weight: dict[str, float] = {}
        if text:
            try:
                weight = {"weight": float(number)}
            except ValueError:
                text = ""
        return {self._field: self._value_type(text or value), **weight}


class ControlImage(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """``canny=edges.png=0.8@0.1-0.6`` as name, image, scale, start and end; what follows the image is optional."""

    name = "control"
    _AFTER = re.compile(r"=(?P<scale>-?[0-9.]+)?(?:@(?P<start>[0-9.]+)-(?P<end>[0-9.]+))?$")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        name, _, image = value.partition("=")
        after = self._AFTER.search(image)
        found = {key: text for key, text in after.groupdict().items() if text} if after else {}
        if after and found:
            image = image[: after.start()]
        try:
            numbers = {key: float(text) for key, text in found.items()}
        except ValueError:
            numbers, image = {}, ""
        if not name or not image:
            self.fail(f"{value!r} must be like canny=edges.png, canny=edges.png=0.8 or canny=edges.png=0.8@0-0.5",
                      param, ctx)  # fmt: skip
        return {"name": name, "image": FILE_OR_LINK.convert(image, param, ctx), **numbers}


FILE_OR_LINK = FileOrLink()
MOMENT = Moment()


def options(*decorators: Decorator) -> Decorator:
    """Combine several options to one decorator. ``--help`` lists them in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def webhook_options(purpose: str) -> Decorator:
    """``--webhook-url`` and ``--webhook-event``. ``purpose`` completes "URL that receives the events …"."""

    return options(
        click.option("--webhook-url", metavar="URL", help=f"URL that receives the events {purpose}."),
        click.option("--webhook-event", "webhook_events", multiple=True, type=click.Choice(EVENTS), metavar="EVENT",
                     help=f"Event to send; may be repeated: {', '.join(EVENTS)}. Default: every final state."),
    )  # fmt: skip
