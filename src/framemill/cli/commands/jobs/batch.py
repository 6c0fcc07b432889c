"""Many jobs of one ``framemill submit``: submitted one after the other, with one bar for all."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from framemill.cli.commands.jobs.result import links, open_files
from framemill.cli.commands.jobs.watch import cancel_all
from framemill.cli.context.session import Session
from framemill.cli.display.output import duration, note
from framemill.errors import ApiError, JobCancelled, JobFailed, ServerUnavailable
from framemill.records import Job
from framemill.transport import files

#: Refusals that pass when other jobs have finished, or a minute has ended.
_FULL = ("queue_full", "rate_limited")
#: Pause before the next try if the server does not name one, and interval of looks at the last job, in seconds.
_PAUSE_S, _LOOK_S = 2.0, 2.0
#: Most characters of a prompt in the name of a file.
_NAME_CHARS = 40


class Batch:
    """Jobs with the same options.

    Args:
        session: its client submits them.
        requests: fields of each job.
    """

    def __init__(self, session: Session, requests: Sequence[Mapping[str, Any]]) -> None:
        self._session, self._client = session, session.client
        self._requests = requests
        #: The jobs that were accepted, with their numbers from 1; and the ids of those that may still run.
        self._jobs: list[tuple[int, Job]] = []
        self._unfinished: dict[str, None] = {}
        self._failed = self._done = 0
        self._left_s: float | None = None
        self._looked_at = 0.0

    def run(self, *, waits: bool, folder: str | None, opens: bool) -> None:
        """Submit the jobs; if requested, wait for them and save their outputs. Ctrl-C then cancels what is unfinished.

        Raises:
            click.exceptions.Exit: some jobs failed; each was reported.
        """
        started = time.monotonic()
        target = None if folder is None else Path(folder)
        if target is not None:
            target.mkdir(parents=True, exist_ok=True)
        saved: list[Path] = []
        try:
            self._submit(prints=not waits)
            if waits:
                saved = self._collect(target)
        except KeyboardInterrupt:
            if waits:
                cancel_all(self._client, list(self._unfinished))
            raise
        if waits:
            note(f"{self._done} of {len(self._requests)} done in {duration(time.monotonic() - started)}")
        if opens and target is not None:
            open_files([target] if len(saved) > 1 else saved)
        if self._failed:
            raise click.exceptions.Exit(1)

    def _submit(self, *, prints: bool) -> None:
        from framemill.cli.display.progress import StatusLine

        total = len(self._requests)
        with StatusLine() as line:
            for number, fields in enumerate(self._requests, 1):
                line.show(f"submitting {number} of {total}", (number - 1) / total)
                try:
                    job = self._accepted(fields, line, number)
                except ApiError as exc:
                    if not self._jobs or isinstance(exc, ServerUnavailable):
                        raise
                    line.clear()
                    note(f"framemill: prompt {number}: {exc}")
                    self._failed += 1
                    continue
                self._jobs.append((number, job))
                self._unfinished[job.id] = None
                for warning in job.warnings:
                    line.clear()
                    note(f"note: prompt {number}: {warning}")
                if prints:
                    line.clear()
                    self._session.print(job.raw, job.id)
            line.clear()

    def _accepted(self, fields: Mapping[str, Any], line: Any, number: int) -> Job:
        repeatable: Any = files.idempotent(fields)
        while True:
            try:
                return self._client.submit(**repeatable)
            except ApiError as exc:
                if exc.code not in _FULL:
                    raise
                pause_s = exc.retry_after_s or _PAUSE_S
                line.show(f"{number - 1} of {len(self._requests)} submitted; {exc}", None)
                time.sleep(pause_s)

    def _collect(self, folder: Path | None) -> list[Path]:
        """Wait for each job in turn, and save its outputs. Returns the files."""
        from framemill.cli.display.progress import StatusLine, done_share, progress_text

        saved: list[Path] = []
        total = len(self._requests)
        with StatusLine() as line:

            def on_update(job: Job) -> None:
                share = done_share(job) if not job.finished else 1.0
                finished = self._done + self._failed
                line.show(f"{self._counts()}{self._left()}: {progress_text(job, left=False)}",
                          (finished + (share or 0.0)) / total)  # fmt: skip

            for number, job in self._jobs:
                try:
                    finished = self._client.wait(job.id, on_update=on_update)
                except (JobFailed, JobCancelled) as exc:
                    self._failed += 1
                    line.clear()
                    note(f"framemill: prompt {number}: {exc}")
                    finished = exc.job
                else:
                    self._done += 1
                    if folder is not None:
                        saved += self._client.save(finished, folder / _file_name(number, finished))
                self._unfinished.pop(job.id, None)
                text = links(self._client, finished) if folder is None else ""
                if text or self._session.as_json:
                    line.clear()
                    self._session.print(finished.raw, text)
            line.show(self._counts(), (self._done + self._failed) / total)
        if folder is not None:
            note(f"saved {len(saved)} file{'' if len(saved) == 1 else 's'} in {folder}")
        return saved

    def _counts(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._done} of {len(self._requests)} done{failed}"

    def _left(self) -> str:
        """Return the time until the last job ends, asked for now and then."""
        now = time.monotonic()
        if now - self._looked_at > _LOOK_S:
            self._looked_at = now
            self._left_s = self._client.get(self._jobs[-1][1].id).eta_s
        return "" if self._left_s is None else f", {duration(self._left_s)} left"


def _file_name(number: int, job: Job) -> str:
    media_type = job.outputs[0].media_type if job.outputs else ""
    words = re.sub(r"[^a-z0-9]+", "-", (job.prompt or "").lower())[:_NAME_CHARS].strip("-")
    return f"{number:03}-{words or job.id}{files.extension_of(media_type)}"
