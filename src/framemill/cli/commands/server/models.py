"""``framemill models``: list the models; load, unload, pin, check and profile them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from framemill.cli.commands.jobs.watch import wait
from framemill.cli.context.arguments import complete_model
from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.output import size as size_text
from framemill.cli.display.tables import Column, table
from framemill.client import Client
from framemill.errors import ApiError, ChecksFailed, JobFailed

slot_option = click.option("--slot", metavar="NAME", help="Default: every slot that may run the model.")
wait_option = click.option("--wait", "until_done", is_flag=True, help="Wait until it is done.")
model_name = click.argument("name", metavar="NAME", shell_complete=complete_model)
COLUMNS = (Column("model"), Column("kinds", flexible="wrap"), Column("in memory", spare=1),
           Column("description", flexible="wrap", spare=2))  # fmt: skip


@click.group(invoke_without_command=True)
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
    session.print({"models": list(found)}, table(COLUMNS, rows))


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


@models.command(short_help="Run every kind of model NAME, or of every model, once.")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--kind", metavar="KIND", help="Check only this kind.")
@click.option("--slot", metavar="NAME", help="Default: a slot that offers the model.")
@pass_session
def check(session: Session, name: str | None, kind: str | None, slot: str | None) -> None:
    """Load model NAME, or every model, run every kind of it once, and print the measurements or what failed."""
    found = [model for model in session.client.models() if name in (None, model["name"])]
    if not found:  # the server names the models that there are
        session.client.model_command(str(name), "check", slot)
    checks = [
        Check(session.client, model["name"], each, slot, may_skip=name is None)
        for model in found
        for each in ([kind] if kind else model.get("kinds", ()))
    ]
    rows = [one.run() for one in checks]
    text = table(("model", "kind", "slot", "weights", "load", "run", "output"), rows)
    session.print([one.answer for one in checks], "\n".join([text, *(one.problem for one in checks if one.problem)]))
    if any(one.problem for one in checks):
        raise ChecksFailed(f"{sum(bool(one.problem) for one in checks)} of {len(checks)} checks failed")


def _items(_context: click.Context, parameter: click.Parameter, value: str | None) -> list[str]:
    return [item.strip() for item in (value or "").split(",") if item.strip()]


def _numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> list[int]:
    try:
        return [int(item) for item in _items(context, parameter, value)]
    except ValueError:
        raise click.BadParameter("must be whole numbers with commas between them, such as 1,2,4,8") from None


@models.command(short_help="Measure how many jobs of model NAME pay to be computed together.")
@model_name
@click.option("--sizes", metavar="WxH,…", callback=_items, help="Default: the size of the model's pictures.")
@click.option("--batches", metavar="N,…", callback=_numbers, help="Numbers of jobs. Default: 1,2,4,8.")
@click.option("--slot", metavar="NAME", help="Default: a slot that offers the model.")
@pass_session
def profile(session: Session, name: str, sizes: list[str], batches: list[int], slot: str | None) -> None:
    """Measure model NAME: images a second and memory by size and number of jobs that are computed together.

    The worker writes the result beside its models file. From then on, waiting jobs of the model share runs where that
    pays, on devices of this kind.
    """
    [entry] = session.client.profile_model(name, slot, sizes=sizes, batches=batches)["slots"]
    wait(session.client, entry["job_id"])
    job = session.client.get(entry["job_id"])
    report = job.report or {}
    rows = [_measured(size, one) for size in report["sizes"] for one in size["measured"]]
    lines = [table(("size", "jobs", "images/s", "speed", "memory", "difference", "note"), rows), ""]
    lines += [f"{size['width']}x{size['height']}: {_together(size['jobs'])}" for size in report["sizes"]]
    if report["file"]:
        lines.append(f"written to {report['file']} on the host of {job.slot}, for {report['device']}")
    else:
        lines += [f"not written ({report['problem']}); put this beside the models file:", "", report["table"]]
    session.print(job.raw, "\n".join(lines))


def _measured(size: Mapping[str, Any], one: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the row of one number of jobs."""
    rate, first = one["images_per_s"], size["measured"][0]["images_per_s"]
    shown = (f"{rate:.3g}", f"{rate / first:.2f} x", size_text(one["memory_bytes"]), f"{one['difference']} of 255")
    measured = shown if rate else ("", "", "", "")
    return f"{size['width']}x{size['height']}", str(one["jobs"]), *measured, one["problem"]


def _together(jobs: int) -> str:
    return f"up to {jobs} jobs share a run" if jobs > 1 else "each job is computed alone"


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
        session.note("no model has 'warm = true' in the models file or is pinned")
    if until_done:
        _wait_for(client, results)


class Check:
    """The check of one kind of one model."""

    def __init__(self, client: Client, model: str, kind: str, slot: str | None, *, may_skip: bool) -> None:
        """``may_skip``: a model without weights, or without a worker, is no failure."""
        self._client, self._model, self._kind, self._slot, self._may_skip = client, model, kind, slot, may_skip
        #: What failed, in one line; '' if nothing did.
        self.problem = ""
        #: The server's description of the job, or of the refusal.
        self.answer: Mapping[str, Any] = {}

    def run(self) -> tuple[str, ...]:
        """Wait for the check and return its row of the table."""
        try:
            result = self._client.model_command(self._model, "check", self._slot, self._kind)
        except ApiError as exc:
            self.answer = {"model": self._model, "kind": self._kind, "error": {"code": exc.code, "message": str(exc)}}
            if exc.code == "conflict" and self._may_skip:
                return self._model, self._kind, "", f"not checked: {exc.message}", "", "", ""
            return self._failed("", exc.message)
        job_id = result["slots"][0]["job_id"]
        try:
            wait(self._client, job_id)
        except JobFailed:
            job = self._client.get(job_id)  # with the cause
            self.answer = job.raw
            cause = f": {job.error_cause}" if job.error_cause else ""
            return self._failed(job.slot or "", f"{job.error_message} ({job.error_code}){cause}")
        job = self._client.get(job_id)
        self.answer, report = job.raw, job.report or {}
        return (
            self._model,
            self._kind,
            f"{job.slot} ({report.get('device')})",
            f"{size_text(report.get('bytes') or 0)}, on {report.get('place')}",
            f"{report.get('load_s')} s" if report.get("read_from_disk") else "in memory",
            f"{report.get('run_s')} s for {report.get('steps')} step(s)",
            f"{report.get('width')} x {report.get('height')} px, {report.get('frames')} frame(s)",
        )

    def _failed(self, slot: str, text: str) -> tuple[str, ...]:
        self.problem = f"{self._model} {self._kind}: {text}"
        return self._model, self._kind, slot, "failed", "", "", ""


def _memory(model: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{one['slot']} {size_text(one['bytes'])}"
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
