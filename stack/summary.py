"""What is printed when everything is ready: addresses, models, slots, and where the logs are."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from framemill.cli.display import terminal
from jobs.settings import Settings
from stack.checks import FLOWER_HOST
from stack.readiness import local_url

_NAME_COLUMNS = 8


def summary(settings: Settings, urls: Sequence[str], *, has_flower: bool, logs: Path | None, took_s: float) -> str:
    """Return the text.

    Args:
        settings: the settings of the servers.
        urls: addresses of the web servers.
        has_flower: whether Flower was started.
        logs: folder of the logs; None: they are printed.
        took_s: seconds that the start took.
    """
    url = urls[0]
    facts = [("console", url), ("API", f"{url}/v1"), ("docs", f"{url}/docs")]
    facts += [(f"gpu{number}", f"{further}/v1, for this GPU alone") for number, further in enumerate(urls[1:], 1)]
    if has_flower:
        facts.append(("Flower", local_url(FLOWER_HOST, settings.web.flower_port)))
    models, slots = _asked(url, "/v1/models"), _asked(url, "/v1/fleet")
    if models:
        facts.append(("models", ", ".join(model["name"] for model in models["models"]) or "none"))
    if slots:
        facts.append(
            ("slots", ", ".join(f"{slot['name']} ({slot['device_name'] or slot['device']})" for slot in slots["slots"]))
        )
    if logs:
        facts.append(("logs", f"{_short(logs)}, followed by 'make logs'"))
    head = f"Framemill is ready after {took_s:.0f} s"
    if terminal.has_colours(sys.stdout):
        head = click.style(head, fg="green", bold=True)
    lines = [f"  {name:{_NAME_COLUMNS}} {value}" for name, value in facts]
    return "\n".join((head, *lines, "Ctrl-C stops everything"))


def _asked(url: str, path: str) -> Any:
    """Return a response of the server; None if it needs a key."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with suppress(OSError, ValueError), opener.open(url + path, timeout=5) as response:
        return json.load(response)
    return None


def _short(path: Path) -> Path:
    with suppress(ValueError):
        return path.relative_to(Path.cwd())
    return path
