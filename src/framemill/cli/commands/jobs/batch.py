"""Many jobs of one ``framemill submit``: submitted one after the other, reported as they end, with one bar for all."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from framemill.cli.commands.jobs.result import links, open_files
from framemill.cli.commands.jobs.states_of_many import StatesOfMany
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
        from framemill.cli.display.progress import StatusLine

        self._session, self._client = session, session.client
        self._requests = requests
        self._states = StatesOfMany(session.client)
        self._line = StatusLine()
        #: Numbers of the prompts, from 1, by the id of the job.
        self._numbers: dict[str, list[int]] = {}
        self._submitted = self._failed = self._done = 0
        #: Part of the steps that is done, by the id of a running job.
        self._running: dict[str, float] = {}
        self._folder: Path | None = None
        self._saved: list[Path] = []
        self._left_s: float | None = None
        self._asked_at = 0.0

    def run(self, *, waits: bool, folder: str | None, opens: bool) -> None:
        """Submit the jobs; if requested, report and save each as it ends. Ctrl-C then cancels what is unfinished.

        Raises:
            click.exceptions.Exit: some jobs failed; each was reported.
        """
        started = time.monotonic()
        self._folder = target = None if folder is None else Path(folder)
        if target is not None:
            target.mkdir(parents=True, exist_ok=True)
        try:
            with self._line:
                for number, fields in enumerate(self._requests, 1):
                    self._submit(number, fields, waits=waits)
                while self._states.unfinished:
                    self._take(self._states.next(_PAUSE_S))
                self._line.clear()
                if target is not None:
                    note(f"saved {len(self._saved)} file{'' if len(self._saved) == 1 else 's'} in {target}")
                if waits:
                    self._line.show(f"{self._counts()} in {duration(time.monotonic() - started)}", 1.0, "end")
        except KeyboardInterrupt:
            if waits:
                cancel_all(self._client, self._states.unfinished)
            raise
        except ServerUnavailable:
            if waits and self._states.unfinished:
                note(f"{self._counts()}; the other jobs go on when the server is back: 'framemill list' shows them")
            raise
        if opens and target is not None:
            open_files([target] if len(self._saved) > 1 else self._saved)
        if self._failed:
            raise click.exceptions.Exit(1)

    def _submit(self, number: int, fields: Mapping[str, Any], *, waits: bool) -> None:
        try:
            job = self._accepted(fields)
        except ApiError as exc:
            if not self._submitted or isinstance(exc, ServerUnavailable):
                raise
            self._report(f"framemill: prompt {number}: {exc}")
            self._failed += 1
            return
        self._submitted = number
        self._numbers.setdefault(job.id, []).append(number)
        for warning in job.warnings:
            self._report(f"note: prompt {number}: {warning}")
        if not waits:
            self._line.clear()
            self._session.print(job.raw, job.id)
            self._show(f"submitting {number} of {len(self._requests)}")
            return
        self._states.add(job.id)
        while (state := self._states.next(0)) is not None:
            self._take(state)
        self._show()

    def _accepted(self, fields: Mapping[str, Any]) -> Job:
        repeatable: Any = files.idempotent(fields)
        while True:
            try:
                return self._client.submit(**repeatable)
            except ApiError as exc:
                if exc.code not in _FULL:
                    raise
                self._show(f"{self._submitted} of {len(self._requests)} submitted; {exc}")
                again_at = time.monotonic() + (exc.retry_after_s or _PAUSE_S)
                while (left_s := again_at - time.monotonic()) > 0:
                    self._take(self._states.next(left_s))

    def _take(self, job: Job | None) -> None:
        """Show a state of a job; report the job and save its outputs if it has ended."""
        from framemill.cli.display.progress import done_share, followed_text

        if job is None:
            self._show("the server does not respond" if self._states.is_away else "")
            return
        if not job.finished:
            share = done_share(job)
            if share is not None:
                self._running[job.id] = share
            self._show(followed_text(job, left=False))
            return
        self._running.pop(job.id, None)
        for number in self._numbers.pop(job.id):
            self._finish(number, job)
        self._show()

    def _finish(self, number: int, job: Job) -> None:
        if job.state == "succeeded":
            self._done += 1
            if self._folder is not None:
                self._saved += self._client.save(job, self._folder / _file_name(number, job))
        else:
            self._failed += 1
            error = JobCancelled(job) if job.state == "cancelled" else JobFailed(job)
            self._report(f"framemill: prompt {number}: {error}")
        text = links(self._client, job) if self._folder is None else ""
        if text or self._session.as_json:
            self._line.clear()
            self._session.print(job.raw, text)

    def _report(self, text: str) -> None:
        self._line.clear()
        note(text)

    def _show(self, now: str = "") -> None:
        """Draw the line. ``now``: what the newest event says; with several running jobs, their number."""
        total = len(self._requests)
        if not self._states.unfinished:
            self._line.show(now or f"submitting {self._submitted + 1} of {total}", self._submitted / total)
            return
        if len(self._running) > 1 and not self._states.is_away:
            now = f"{len(self._running)} running"
        text = f"{self._counts()}{self._left()}" + (f": {now}" if now else "")
        self._line.show(text, (self._done + self._failed + sum(self._running.values())) / total)

    def _counts(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._done} of {len(self._requests)} done{failed}"

    def _left(self) -> str:
        """Return the time until the last job ends, asked for now and then."""
        now = time.monotonic()
        if now - self._asked_at > _LOOK_S and not self._states.is_away:
            self._asked_at = now
            with suppress(ApiError):
                self._left_s = self._client.get(self._states.unfinished[-1]).eta_s
        return "" if self._left_s is None else f", {duration(self._left_s)} left"


def _file_name(number: int, job: Job) -> str:
    media_type = job.outputs[0].media_type if job.outputs else ""
    words = re.sub(r"[^a-z0-9]+", "-", (job.prompt or "").lower())[:_NAME_CHARS].strip("-")
    return f"{number:03}-{words or job.id}{files.extension_of(media_type)}"
