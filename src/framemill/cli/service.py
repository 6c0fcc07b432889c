"""``framemill service``: show the slots and the queue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from framemill.cli.output import duration, table
from framemill.cli.session import Session, pass_session
from framemill.records import ENDED

#: Name of the whole queue in the server's list of paused slots.
_WHOLE_QUEUE = "*"


@click.command(short_help="Show slots and queue.")
@pass_session
def service(session: Session) -> None:
    """Show the slots, the queue, and what the waiting jobs wait for."""
    state = session.client.service_status()
    counts: Mapping[str, int] = state.get("counts") or {}
    waiting: Mapping[str, int] = (state.get("waiting") or {}).get("by_model") or {}
    facts = {
        "service": "idle" if state.get("idle") else "busy",
        "version": state.get("version"),
        "queue": joined(
            f"{counts[state]} {state}" for state in ("queued", "running", "delivering") if counts.get(state)
        ),
        "waiting": joined(f"{count} for {model}" for model, count in waiting.items()),
        "waiting for": joined(state.get("waiting_for") or ()),
        "paused": paused_text(state.get("paused") or ()),
        "ended": joined(f"{count} {name}" for name, count in counts.items() if count and name in ENDED),
        "delivery": joined(state.get("delivery") or ()) or "no worker",
        "store away": joined(state.get("object_store_away") or ()),
        "ETA error": _eta_error(state.get("eta") or {}),
    }
    lines = [f"{name:13}{value}" for name, value in facts.items() if value]
    rows = [
        (slot["name"], _state(slot), slot.get("device") or "", slot.get("job_id") or "", _loaded(slot))
        for slot in state.get("slots") or ()
    ]
    slots = (
        table(("slot", "state", "device", "job", "models in memory"), rows) if rows else "no slots: no GPU worker runs"
    )
    session.print(state, "\n".join([*lines, "", slots]))


def paused_text(names: Sequence[str]) -> str:
    """Format the names of paused slots."""
    return joined("the whole queue" if name == _WHOLE_QUEUE else name for name in names)


def joined(parts: Iterable[object]) -> str:
    """Join values with commas."""
    return ", ".join(map(str, parts))


def _state(slot: Mapping[str, Any]) -> str:
    return f"{slot['state']} for {slot['waiting_for']}" if slot["state"] == "waiting" else str(slot["state"])


def _loaded(slot: Mapping[str, Any]) -> str:
    return joined(slot.get("resident") or ()) or "-"


def _eta_error(eta: Mapping[str, Any]) -> str:
    if not eta.get("jobs"):
        return ""
    error, actual = eta.get("mean_error_s") or 0, eta.get("mean_actual_s") or 0
    share = f" ({100 * error / actual:.0f} %)" if actual else ""
    return f"{error:.1f} s of {duration(actual)} on average{share}, {eta['jobs']} jobs"
