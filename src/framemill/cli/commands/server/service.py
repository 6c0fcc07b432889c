"""``framemill queue``, ``framemill fleet`` and ``framemill service``, which shows both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.output import duration, paused_text
from framemill.cli.display.tables import Column, table
from framemill.records import FINAL_STATES

SLOT_COLUMNS = (Column("slot"), Column("state", is_state=True), Column("device", spare=1), Column("job"),
                Column("models in memory", flexible="wrap", spare=2))  # fmt: skip


@click.command()
@pass_session
def service(session: Session) -> None:
    """Show the queue and the slots."""
    queue_state, fleet_state = session.client.queue(), session.client.fleet()
    text = f"{_queue_text(queue_state)}\n{_fleet_text(fleet_state)}"
    session.print({"queue": queue_state, "fleet": fleet_state}, text)


@click.command()
@pass_session
def queue(session: Session) -> None:
    """Show the number of jobs by state, and what the waiting jobs wait for."""
    state = session.client.queue()
    session.print(state, _queue_text(state))


@click.command()
@pass_session
def fleet(session: Session) -> None:
    """Show the slots with their devices, jobs and models, and the delivery workers."""
    state = session.client.fleet()
    session.print(state, _fleet_text(state))


def _queue_text(state: Mapping[str, Any]) -> str:
    counts: Mapping[str, int] = state.get("counts") or {}
    waiting: Mapping[str, Any] = state.get("waiting") or {}
    active = ("queued", "running", "paused", "delivering")
    return _facts(
        {
            "queue": joined(f"{counts[state]} {state}" for state in active if counts.get(state)) or "empty",
            "waiting": joined(f"{count} for {model}" for model, count in (waiting.get("by_model") or {}).items()),
            "waiting for": joined(state.get("waiting_for") or ()),
            "paused": paused_text(state.get("paused") or ()),
            "finished": joined(f"{count} {name}" for name, count in counts.items() if count and name in FINAL_STATES),
            "ETA error": _eta_error(state.get("eta") or {}),
        }
    )


def _fleet_text(state: Mapping[str, Any]) -> str:
    facts = _facts(
        {
            "version": state.get("version"),
            "delivery": joined(state.get("delivery") or ()) or "no worker",
            "store away": joined(state.get("object_store_away") or ()),
        }
    )
    rows = [
        (slot["name"], _state(slot), slot.get("device") or "", slot.get("job_id") or "", _loaded(slot))
        for slot in state.get("slots") or ()
    ]
    if not rows:
        return f"{facts}\n\nno slots: no GPU worker runs"
    return f"{facts}\n\n{table(SLOT_COLUMNS, rows)}"


def _facts(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"{name:13}{value}" for name, value in facts.items() if value)


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
