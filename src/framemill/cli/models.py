"""``framemill models``: list the models; load, unload, pin and check them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from framemill.cli.output import note, table
from framemill.cli.session import Session, pass_session
from framemill.cli.watch import wait
from framemill.client import Client

slot_option = click.option("--slot", metavar="NAME", help="Default: every slot that may run the model.")
wait_option = click.option("--wait", "until_done", is_flag=True, help="Wait until it is done.")
model_name = click.argument("name", metavar="NAME")


@click.group(invoke_without_command=True, short_help="List the models; load, unload, pin and check them (admin).")
@click.pass_context
def models(context: click.Context) -> None:
    """List the models and the slots that hold them in memory. The subcommands need an admin key."""
    if context.invoked_subcommand is None:
        session = context.find_object(Session)
        assert session is not None
        _list(session)


def _list(session: Session) -> None:
    found = session.client.models()
    rows = [(m["name"], ", ".join(m.get("kinds", ())), _memory(m), str(m.get("description") or "")) for m in found]
    session.print({"models": list(found)}, table(("model", "kinds", "in memory", "description"), rows))


def _add(command_name: str, text: str, *options: Callable[[Any], Any]) -> None:
    """Add a subcommand that runs the model command of the same name."""

    def run(session: Session, name: str, slot: str | None, until_done: bool = False) -> None:
        result = session.client.model_command(name, command_name, slot)
        _print(session, [result])
        if until_done:
            _wait_for(session.client, [result])

    function: Callable[..., Any] = pass_session(run)
    for decorate in (*options, slot_option, model_name):
        function = decorate(function)
    models.command(name=command_name, help=text)(function)


_add("load", "Load model NAME into memory.", wait_option)
_add("unload", "Remove model NAME from memory.", wait_option)
_add("pin", "Load model NAME and keep it in memory, also after a restart.", wait_option)
_add("unpin", "Allow model NAME to be evicted from memory again.")


@models.command()
@model_name
@click.option("--slot", metavar="NAME", help="Default: a slot that offers the model.")
@pass_session
def check(session: Session, name: str, slot: str | None) -> None:
    """Load model NAME, run it once, and print the measurements."""
    result = session.client.model_command(name, "check", slot)
    job = wait(session.client, result["slots"][0]["job_id"])
    report: Mapping[str, Any] = job.report or {}
    facts = {
        "model": name,
        "slot": f"{job.slot} ({report.get('device')})",
        "weights": f"{size(report.get('bytes') or 0)}, on {report.get('place')}",
        "load": f"{report.get('load_s')} s" if report.get("read_from_disk") else "already in memory",
        "run": f"{report.get('run_s')} s for {report.get('steps')} step(s) of {report.get('kind')}",
        "output": f"{report.get('width')} x {report.get('height')} px, {report.get('frames')} frame(s)",
    }
    session.print(job.raw, "\n".join(f"{label:9}{value}" for label, value in facts.items()))


@models.command()
@slot_option
@wait_option
@pass_session
def warm(session: Session, slot: str | None, until_done: bool) -> None:
    """Load every model that is marked warm or pinned."""
    client = session.client
    names = [model["name"] for model in client.models() if model.get("warm") or model.get("pinned")]
    results = [client.model_command(name, "load", slot) for name in names]
    _print(session, results)
    if not results:
        note("no model has 'warm = true' in the models file or is pinned")
    if until_done:
        _wait_for(client, results)


def size(size_bytes: int) -> str:
    """Format a number of bytes: ``312 MiB``, ``6.9 GiB``."""
    mib = size_bytes / 2**20
    return f"{mib / 1024:.1f} GiB" if mib >= 1000 else f"{mib:.0f} MiB" if mib >= 10 else f"{mib:.1f} MiB"


def _memory(model: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{one['slot']} {size(one['bytes'])}"
        + ("" if one["place"] == "device" else f" {one['place']}")
        + (" pinned" if one["slot"] in (model.get("pinned") or ()) else "")
        for one in model.get("memory") or ()
    )


def _print(session: Session, results: Sequence[Mapping[str, Any]]) -> None:
    if session.as_json:
        session.print(results[0] if len(results) == 1 else list(results), "")
        return
    rows = [
        (result["model"], slot["slot"], slot["will"], slot.get("job_id") or "")
        for result in results
        for slot in result["slots"]
    ]
    if rows:
        session.print(None, table(("model", "slot", "will", "job"), rows))


def _wait_for(client: Client, results: Sequence[Mapping[str, Any]]) -> None:
    for result in results:
        for slot in result["slots"]:
            if slot.get("job_id"):
                wait(client, slot["job_id"])
