"""What each command for operators does with the client: the queue, slots, keys."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from framemill.client import Client
from framemill.keys import Key
from framemill.output import answer, say, table
from framemill.progress import duration

#: What the server calls the whole queue in a list of paused slots.
_ALL = "*"


def service(client: Client, arguments: Namespace) -> None:
    """Show the slots, the queue and what keeps it."""
    found = client.service_status()
    counts: Mapping[str, int] = found.get("counts") or {}
    eta = found.get("eta") or {}
    facts = {
        "service": found.get("service_status"),
        "version": found.get("version"),
        "queue": _listed(
            f"{counts[state]} {state}" for state in ("queued", "running", "delivering") if counts.get(state)
        ),
        "waiting": _listed(f"{count} for {model}" for model, count in (found.get("waiting_models") or {}).items()),
        "waiting for": _listed(found.get("waiting_for") or ()),
        "paused": _paused(found.get("paused") or ()),
        "ended": _listed(f"{count} {state}" for state, count in counts.items() if count and state in _ENDS),
        "delivery": _listed(found.get("delivery_nodes") or ()) or "no worker",
        "store away": _listed(found.get("object_store_away") or ()),
        "ETA error": _eta_error(eta),
    }
    lines = [f"{name:13}{value}" for name, value in facts.items() if value]
    rows = [
        (slot["name"], _state(slot), slot.get("device") or "", slot.get("task_id") or "", _loaded(slot))
        for slot in found.get("slots") or ()
    ]
    slots = (
        table(("slot", "state", "device", "job", "models in memory"), rows) if rows else "no slots: no GPU worker runs"
    )
    answer(arguments, found, "\n".join([*lines, "", slots]))


def pause(client: Client, arguments: Namespace) -> None:
    """Start no more jobs."""
    _answer_paused(arguments, client.pause(arguments.slot))


def resume(client: Client, arguments: Namespace) -> None:
    """Start jobs again."""
    _answer_paused(arguments, client.resume(arguments.slot))


def front(client: Client, arguments: Namespace) -> None:
    """Let a waiting job go first."""
    moved = client.front(arguments.id)
    place = f"position {moved.position}" if moved.position else "on its way to a slot"
    answer(arguments, moved.raw, f"{moved.task_id}: {place}")


def dead(client: Client, arguments: Namespace) -> None:
    """List the jobs that were given up."""
    found = client.dead()
    rows = [(job["task_id"], job.get("model") or "", (job.get("error") or {}).get("message") or "") for job in found]
    answer(arguments, {"dead": list(found)}, table(("id", "model", "error"), rows) if rows else "")
    if not arguments.json:
        say("'framemill retry ID' sends one again" if rows else "there are none")


def create_key(client: Client, arguments: Namespace) -> None:
    """Make a key; the secret alone goes to standard output."""
    names = ("role", "job_class", "retention", "max_waiting", "max_running", "max_per_minute", "models", "endpoints",
             "may_skip_moderation", "webhook_url", "webhook_events")  # fmt: skip
    key = client.create_key(arguments.service, **{name: getattr(arguments, name) for name in names})
    answer(arguments, key.raw, "\n".join(secret for secret in (key.secret, key.webhook_secret) if secret))
    say(f"key of {key.service}: role {key.role}, class {key.job_class}. Store it now: it is shown this once only.")
    if key.webhook_secret:
        say("The second line signs its webhooks; it is shown this once only, too.")


def list_keys(client: Client, arguments: Namespace) -> None:
    """List the keys."""
    keys = client.keys()
    head = ("service", "role", "class", "waiting", "running", "per minute", "models", "endpoints")
    rows = [_key_row(key) for key in keys]
    answer(arguments, {"keys": [key.raw for key in keys]}, table(head, rows) if rows else "")
    if not rows and not arguments.json:
        say("there are none: everybody who reaches the server is its operator")


def set_webhook(client: Client, arguments: Namespace) -> None:
    """Set, renew or remove a key's webhook; a new secret alone goes to standard output."""
    if arguments.off:
        client.remove_webhook(arguments.service)
        answer(arguments, {"service": arguments.service, "webhook": None}, "")
        say(f"the webhook of {arguments.service} and its secret were removed")
        return
    found = client.set_webhook(
        arguments.service, arguments.webhook_url, arguments.webhook_events, new_secret=arguments.new_secret
    )
    answer(arguments, found, found.get("secret") or "")
    webhook = found["webhook"]
    say(f"{_listed(webhook['events'])} to {webhook['url']}" if webhook else "no webhook but those that jobs name")
    if found.get("secret"):
        say("The secret signs its webhooks. Store it now: it is shown this once only.")


def revoke_key(client: Client, arguments: Namespace) -> None:
    """Revoke a key."""
    client.revoke_key(arguments.service)
    answer(arguments, {"service": arguments.service, "revoked": True}, f"the key of {arguments.service} was revoked")


_ENDS = ("succeeded", "failed", "cancelled", "expired")


def _state(slot: Mapping[str, Any]) -> str:
    return f"{slot['state']} for {slot['waiting_for']}" if slot["state"] == "waiting" else str(slot["state"])


def _key_row(key: Key) -> tuple[str, ...]:
    limits = (str(limit or "-") for limit in (key.max_waiting, key.max_running, key.max_per_minute))
    return (
        key.service,
        key.role,
        key.job_class,
        *limits,
        _listed(key.models) or "all",
        _listed(key.endpoints) or "all",
    )


def _answer_paused(arguments: Namespace, paused: Sequence[str]) -> None:
    answer(arguments, {"paused": list(paused)}, f"paused: {_paused(paused) or 'nothing'}")


def _paused(names: Sequence[str]) -> str:
    return _listed("the whole queue" if name == _ALL else name for name in names)


def _listed(parts: Any) -> str:
    return ", ".join(str(part) for part in parts)


def _loaded(slot: Mapping[str, Any]) -> str:
    return _listed(slot.get("resident") or ()) or "-"


def _eta_error(eta: Mapping[str, Any]) -> str:
    if not eta.get("jobs"):
        return ""
    error, actual = eta.get("mean_error_s") or 0, eta.get("mean_actual_s") or 0
    part = f" ({100 * error / actual:.0f} %)" if actual else ""
    return f"{error:.1f} s of {duration(actual)} on average{part}, {eta['jobs']} jobs"
