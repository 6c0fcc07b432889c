"""What the command does about models: list them, and (for operators) load, unload, pin and check them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from framemill.client import Client
from framemill.commands import wait
from framemill.output import answer, say, table


def list_models(client: Client, arguments: Namespace) -> None:
    """List the models, with where they lie in memory."""
    found = client.models()
    rows = [(m["name"], ", ".join(m.get("kinds", ())), _memory(m), str(m.get("description") or "")) for m in found]
    answer(arguments, {"models": list(found)}, table(("model", "kinds", "in memory", "description"), rows))


def order(client: Client, arguments: Namespace) -> None:
    """Load, unload, pin or unpin a model."""
    name = arguments.models_action
    done = client.order_model(arguments.name, name, arguments.slot)
    _say(arguments, [done])
    if getattr(arguments, "wait", False):
        _wait_for(client, [done])


def warm(client: Client, arguments: Namespace) -> None:
    """Load what is to be in memory."""
    wanted = [model["name"] for model in client.models() if model.get("warm") or model.get("pinned")]
    done = [client.order_model(name, "load", arguments.slot) for name in wanted]
    _say(arguments, done)
    if not done:
        say("no model has 'warm = true' in the models file or is pinned")
    if arguments.wait:
        _wait_for(client, done)


def check(client: Client, arguments: Namespace) -> None:
    """Have a model loaded and run once; print what was measured."""
    done = client.order_model(arguments.name, "check", arguments.slot)
    status = wait(client, done["slots"][0]["task_id"])
    report: Mapping[str, Any] = status.raw.get("report") or {}
    facts = {
        "model": arguments.name,
        "slot": f"{status.slot} ({report.get('device')})",
        "weights": f"{size(report.get('bytes') or 0)}, on {report.get('place')}",
        "load": f"{report.get('load_s')} s" if report.get("read_from_disk") else "was in memory",
        "run": f"{report.get('run_s')} s for {report.get('steps')} step(s) of {report.get('kind')}",
        "gave": f"{report.get('width')} x {report.get('height')} px, {report.get('frames')} frame(s)",
    }
    answer(arguments, status.raw, "\n".join(f"{name:9}{value}" for name, value in facts.items()))


def size(size_bytes: int) -> str:
    """Bytes for people: ``312 MiB``, ``6.9 GiB``."""
    mib = size_bytes / 2**20
    return f"{mib / 1024:.1f} GiB" if mib >= 1000 else f"{mib:.0f} MiB" if mib >= 10 else f"{mib:.1f} MiB"


def _memory(model: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{one['slot']} {size(one['bytes'])}"
        + ("" if one["place"] == "device" else f" {one['place']}")
        + (" pinned" if one["slot"] in (model.get("pinned") or ()) else "")
        for one in model.get("memory") or ()
    )


def _say(arguments: Namespace, done: Sequence[Mapping[str, Any]]) -> None:
    if arguments.json:
        answer(arguments, done[0] if len(done) == 1 else list(done), "")
        return
    rows = [
        (one["model"], slot["slot"], slot["will"], slot.get("task_id") or "") for one in done for slot in one["slots"]
    ]
    if rows:
        answer(arguments, None, table(("model", "slot", "will", "job"), rows))


def _wait_for(client: Client, done: Sequence[Mapping[str, Any]]) -> None:
    for one in done:
        for slot in one["slots"]:
            if slot.get("task_id"):
                wait(client, slot["task_id"])
