"""What each command for jobs does with the client. Raises what the client raises; :mod:`framemill.cli` reports it."""

from __future__ import annotations

import mimetypes
import re
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import httpx2

from framemill import inspection
from framemill.client import Client
from framemill.errors import FramemillError, JobCancelled, JobFailed, NoMetadata
from framemill.output import answer, percent, progress, say, table
from framemill.preview_file import PreviewFile
from framemill.progress import ProgressBar, duration
from framemill.records import ENDED, Cancellation, Output, Status

#: Of types that Python or the system may not know.
_ENDINGS = {"image/webp": ".webp", "image/jpeg": ".jpg", "video/webm": ".webm"}
#: What can be the id of a job: a file has an ending.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_FIELDS = ("model", "kind", "prompt", "negative_prompt", "seed", "steps", "guidance_scale", "width", "height",
           "frames", "fps", "strength", "num_images", "scheduler", "loras", "mix", "variation", "hires", "prior",
           "resize", "inpaint",
           "output_format", "output_quality", "embed_metadata", "slot", "priority",
           "job_class", "start_within_s", "max_run_s", "retention", "idempotency_key", "webhook_url",
           "webhook_events", "moderate")  # fmt: skip


def submit(client: Client, arguments: Namespace) -> None:
    """Send a job; with ``--wait``, ``-o`` or ``--preview`` see it through."""
    fields: dict[str, Any] = {name: getattr(arguments, name) for name in _FIELDS}
    fields |= {"image": arguments.image, "mask": arguments.mask, "preview": True if arguments.preview else None}
    started = time.monotonic()
    task = client.submit(**fields)
    for warning in task.warnings:
        say(f"note: {warning}")
    if not (arguments.wait or arguments.output or arguments.preview):
        answer(arguments, task.raw, task.task_id)
        return
    say(f"job {task.task_id}, seed {task.request.get('seed', 'unknown')}")
    status = wait(client, task.task_id, arguments.preview)
    say(f"done in {duration(time.monotonic() - started)}")
    if arguments.output:
        _fetch(client, status, arguments.output)
    if arguments.output != "-":
        answer(arguments, status.raw, "" if arguments.output else _links(client, status))


def status(client: Client, arguments: Namespace) -> None:
    """Show a job."""
    found = client.status(arguments.id)
    lines = [f"{'state':10}{found.state}"]
    if found.steps:
        lines.append(f"{'step':10}{found.step or 0}/{found.steps}")
    for name in ("position", "stage", "slot", "device", "attempt"):
        value = getattr(found, name)
        if value not in (None, ""):
            lines.append(f"{name:10}{value}")
    if found.raw.get("waiting_for"):
        lines.append(f"{'needs':10}{found.raw['waiting_for']}")
    if found.eta_s is not None and not found.ended:
        lines.append(f"{'left':10}{duration(found.eta_s)}")
    if found.error_code:
        lines.append(f"{'error':10}{found.error_message} ({found.error_code})")
    lines += [f"{'note':10}{warning}" for warning in found.warnings]
    lines += [f"{'output':10}{line}" for line in _links(client, found).splitlines()]
    answer(arguments, found.raw, "\n".join(lines))


def result(client: Client, arguments: Namespace) -> None:
    """Fetch the outputs of a job."""
    found = client.status(arguments.id)
    # A job without outputs is asked for them all the same: the server's refusal says why there are none.
    outputs = found.outputs or (Output(index=0, url="", media_type="application/octet-stream"),)
    media_type = outputs[0].media_type
    ending = _ENDINGS.get(media_type) or mimetypes.guess_extension(media_type) or ".bin"
    name = arguments.output or arguments.id.replace("/", "_") + ending
    _fetch(client, found, name)
    if name != "-":
        answer(arguments, found.raw, "")


def inspect(client: Client, arguments: Namespace) -> None:
    """Show what a file, what a link leads to, or an output of a job says about its making."""
    name = arguments.file
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fetched"
        if name.startswith(("http://", "https://")):
            _download(name, path)
        elif _ID.fullmatch(name) and not Path(name).exists():
            client.result(name, path, arguments.index)
        else:
            path = Path(name)
        try:
            found = inspection.read(path)
        except NoMetadata as exc:
            raise NoMetadata(str(exc).replace(str(path), name)) from None
    # The request makes all images of its job, this one by its index; its own seeds make it alone.
    fields = {**found.request, **found.own_seeds}
    lines = [f"{field:18}{value}" for field, value in fields.items()]
    answer(arguments, dict(found.request) or {"parameters": found.parameters}, "\n".join(lines) or found.parameters)


def _download(link: str, path: Path) -> None:
    """Raises: OSError: it cannot be fetched."""
    try:
        with httpx2.stream("GET", link, follow_redirects=True, timeout=30) as response, path.open("wb") as file:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                file.write(chunk)
    except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
        raise OSError(f"{link} cannot be fetched: {exc}") from exc


def follow(client: Client, arguments: Namespace) -> None:
    """Print what happens to a job until it is over, or to all jobs. Ctrl-C only ends the printing."""
    shown = PreviewFile(client, arguments.preview) if arguments.preview else None
    if arguments.preview and not arguments.id:
        raise ValueError("--preview needs the id of a job")
    events = client.follow(arguments.id, previews=shown is not None) if arguments.id else client.events()
    for event in events:
        status = event.status
        if shown:
            shown.update(status)
        if event.name == "preview":
            continue  # its step was told before
        line = progress(status) if arguments.id else f"{status.task_id}  {progress(status)}"
        answer(arguments, event.raw, line)
        if arguments.id and status.ended and status.state != "succeeded":
            raise JobCancelled(status) if status.state == "cancelled" else JobFailed(status)


def cancel(client: Client, arguments: Namespace) -> None:
    """Stop a job."""
    stopped = client.cancel(arguments.id)
    answer(arguments, vars(stopped), _cancelled(stopped))


def delete(client: Client, arguments: Namespace) -> None:
    """Delete jobs."""
    for task_id in arguments.ids:
        gone = client.delete(task_id)
        text = "was deleted" if gone.changed else "had been deleted before"
        text = text if gone.deleted else "was stopped and is deleted by the server when its worker has stopped"
        answer(arguments, vars(gone), f"job {task_id} {text}")


def retry(client: Client, arguments: Namespace) -> None:
    """Send a job again that did not succeed; prints the new one's id."""
    task = client.retry(arguments.id)
    answer(arguments, task.raw, task.task_id)


def webhooks(client: Client, arguments: Namespace) -> None:
    """Show what was sent about a job, or send it again."""
    again, task_id = arguments.words[:-1], arguments.words[-1]
    if again not in ([], ["resend"]):
        raise ValueError("say 'webhooks ID' or 'webhooks resend ID'")
    found = client.resend_webhooks(task_id, arguments.event) if again else client.webhooks(task_id)
    rows = []
    for delivery in found["deliveries"]:
        last = (delivery["tries"] or [{}])[-1]
        outcome = str(last.get("status") or last.get("error") or "")
        rows.append((delivery["event"], delivery["state"], str(len(delivery["tries"])), outcome,
                     delivery["next_try_at"] or ""))  # fmt: skip
    answer(arguments, found, table(("event", "state", "tries", "last answer", "next try"), rows) if rows else "")
    if not rows and not arguments.json:
        say("nothing was written for a webhook of this job")


def list_jobs(client: Client, arguments: Namespace) -> None:
    """List jobs."""
    page = client.list(arguments.state, arguments.limit, arguments.after)
    rows = [(job.task_id, job.state, percent(job), str(job.created_at or "")) for job in page.tasks]
    text = table(("id", "state", "done", "created"), rows)
    answer(arguments, {"tasks": [job.raw for job in page.tasks], "total": page.total, "next": page.next}, text)
    if page.next and not arguments.json:
        say(f"{len(page.tasks)} of {page.total}; more with --after {page.next}")


def wait(client: Client, task_id: str, preview: str | None = None) -> Status:
    """See a job through, with a bar; Ctrl-C cancels it. ``preview``: a file that shows what it has so far."""
    shown = PreviewFile(client, preview) if preview else None
    with ProgressBar() as bar:

        def on_status(status: Status) -> None:
            bar.update(status)
            if shown:
                shown.update(status)

        try:
            return client.wait(task_id, on_status=on_status)
        except KeyboardInterrupt:
            bar.close()
            try:
                stopped = client.cancel(task_id)
            except FramemillError as exc:
                say(f"job {task_id} could not be cancelled: {exc}")
            else:
                say(_cancelled(stopped))
            raise


def _fetch(client: Client, status: Status, name: str) -> None:
    indexes = [output.index for output in status.outputs] or [0]
    if name == "-":
        sys.stdout.buffer.write(client.result(status.task_id, index=indexes[0]))
        return
    first = Path(name)
    for index in indexes:
        path = first if index == indexes[0] else first.with_name(f"{first.stem}-{index}{first.suffix}")
        client.result(status.task_id, path, index)
        say(f"saved {path}")


def _links(client: Client, status: Status) -> str:
    base = client.base_url
    return "\n".join(o.url if "://" in o.url else base + o.url for o in status.outputs if o.url)


def _cancelled(stopped: Cancellation) -> str:
    if not stopped.changed:
        return f"job {stopped.task_id} had ended before: {stopped.state}"
    if stopped.state in ENDED:
        return f"job {stopped.task_id} was {stopped.state} on the server"
    # A worker comes to the end of its step first.
    return f"job {stopped.task_id} is being cancelled by the server"
