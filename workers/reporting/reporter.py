"""Report the progress of a running attempt. A step costs a few assignments.

A thread sends the newest progress to Redis, at most once per ``PROGRESS_INTERVAL_MS``; a step never waits for Redis.
The reply says whether the attempt still owns its job (if not, the next step raises), whether it is to be interrupted,
and whether a caller asks for previews, which the same thread draws.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from jobs.errors import RunCancelled, RunInterrupted, RunTimeout, Unavailable
from jobs.store.jobs import JobStore
from jobs.store.measuring import families
from jobs.store.runs import StepReply
from workers.reporting.pacer import Pacer
from workers.reporting.run_events import RunEvents
from workers.reporting.stop_signal import stop_hint

logger = logging.getLogger(__name__)

#: Delay before the first report, seconds. The start of the run has been published already.
FIRST_REPORT_S = 0.02
#: Shortest time between two previews of one run, seconds.
PREVIEW_INTERVAL_S = 0.5
#: Largest share of one core's time that drawing previews may take; expensive previews are drawn less often.
PREVIEW_SHARE = 0.02
#: Stages in which a run has computed nothing that would be lost if it ended.
_BEFORE_WORK = frozenset({"starting", "loading", "waiting for the object store"})

#: Draws a preview; returns the content of the file and its media type.
Draw = Callable[[], tuple[bytes, str]]


@dataclass(frozen=True)
class _Resumable:
    """Whether the run can be interrupted and go on later."""

    yes: bool = False
    #: Why it cannot, if that is known.
    why_not: str = ""


@dataclass(frozen=True)
class _Progress:
    stage: str
    #: Steps that are done.
    step: int = 0
    #: Estimated time until the last step, seconds.
    eta_s: float | None = None
    #: Percentage of the stage that is done, for stages without steps.
    stage_percent: int | None = None


class Reporter:
    """Reports one attempt. Use it as a context manager around the run.

    Args:
        store: the job store.
        job_id: the job.
        attempt: its attempt number.
        steps: expected number of steps.
        model: under whose name the steps are measured; '' for none.
        max_run_s: run limit, seconds; None for no limit.
        step: the step after which the run is expected to go on; 0 for one that begins.
        preview: whether to draw previews even if no caller asks for them.
        hidden: whether previews are forbidden because the outputs must be moderated first.
        events: collects stages and steps for a trace; None: there is none.
    """

    def __init__(
        self, store: JobStore, job_id: str, attempt: int, steps: int, *,
        model: str = "", max_run_s: float | None = None, step: int = 0, preview: bool = False, hidden: bool = False,
        events: RunEvents | None = None,
    ) -> None:  # fmt: skip
        self._store, self._job_id, self._attempt, self._steps = store, job_id, attempt, steps
        self._model, self._max_run_s, self._events = model, max_run_s, events
        self._deadline = time.monotonic() + max_run_s if max_run_s else None
        self._progress, self._resumable = _Progress("starting", step), _Resumable()
        self._reported: tuple[_Progress, _Resumable] | None = None
        #: Whether the run is to give its slot back after its present step.
        self.interrupted = False
        self._has_begun = False
        self._always_preview, self._hidden = preview, hidden
        #: Whether a caller asks for previews now.
        self.preview_wanted = preview and not hidden
        self._pending_preview: tuple[int, Draw] | None = None
        self._next_preview_at = 0.0
        self._over = threading.Event()
        self._denoising_since: float | None = None
        #: Finished share of the work when the run began or went on.
        self._first_share = 0.0
        #: When the last step was done, or the first one began (monotonic); None outside of denoising.
        self._step_at: float | None = None

    def __enter__(self) -> Self:
        stop_hint.clear()
        self._pacer = Pacer.begin(self._report, FIRST_REPORT_S)
        return self

    def __exit__(self, error: object, exc: object, _: object) -> None:
        self._pacer.end()
        if isinstance(exc, RunInterrupted) and self._pending_preview is not None:
            self._publish_preview(*self._pending_preview)  # it is shown while the job is paused
        # After a success the caller writes the end of the run next, which contains all of its progress.
        if error is not None and not self._over.is_set() and self._is_news():
            self._send()

    @property
    def eta_s(self) -> float | None:
        """Estimated time until the last step, seconds; None: unknown."""
        return self._progress.eta_s

    @property
    def is_resumable(self) -> bool:
        """Whether the run has said that it can be interrupted."""
        return self._resumable.yes

    def can_resume(self) -> None:
        """Say that the run can be interrupted and go on later."""
        self._resumable = _Resumable(yes=True)

    def cannot_resume(self, why: str) -> None:
        """Say that the run cannot be interrupted, and why."""
        self._resumable = _Resumable(why_not=why)

    def resume(self, step: int, share: float | None = None) -> None:
        """Go on after ``step`` steps, as if they had just been done; ``share`` as in :meth:`step`."""
        self._first_share = step / self._steps if share is None else share
        self._progress = _Progress(self._progress.stage, step)
        if self._step_at is not None:  # what came before this step was no work of this attempt
            self._step_at = self._denoising_since = time.monotonic()

    def stage(self, name: str) -> None:
        """Enter a stage: ``loading``, ``prior``, ``denoising`` or ``decoding``.

        Raises:
            RunCancelled, RunTimeout, RunInterrupted: see :meth:`check`.
        """
        self.check()
        self._has_begun = self._has_begun or name not in _BEFORE_WORK
        self._progress = _Progress(name, self._progress.step)
        self._step_at = time.monotonic() if name == "denoising" else None
        if self._events is not None:
            self._events.stage(name)
        if name == "denoising":
            self._denoising_since = self._step_at

    def loading(self, done_bytes: int, total_bytes: int) -> None:
        """Report how much of the model has been loaded into memory.

        Raises:
            RunCancelled, RunTimeout, RunInterrupted: see :meth:`check`.
        """
        self.check()
        percent = int(100 * done_bytes / total_bytes) if total_bytes else None
        self._progress = _Progress("loading", self._progress.step, stage_percent=percent)

    def expect(self, steps: int) -> None:
        """Set the actual number of steps."""
        self._steps = max(1, steps)

    def step(self, done: int, share: float | None = None) -> None:
        """Report that ``done`` steps are finished.

        Args:
            done: number of finished steps.
            share: finished share of the work, 0 to 1, if the steps do not all cost the same.

        Raises:
            RunCancelled, RunTimeout: see :meth:`check`.
        """
        self.check()
        now, before = time.monotonic(), self._progress.step
        if self._model and self._step_at is not None and done > before:
            step_s = (now - self._step_at) / (done - before)
            self._store.measures.observe(families.STEP, self._model, seconds=step_s, times=done - before)
        self._step_at = now
        since = self._denoising_since or now
        share = max(1, done) / self._steps if share is None else share
        done_share = max(1e-9, share - self._first_share)
        eta_s = (now - since) * max(0.0, (1 - share) / done_share)
        self._progress = _Progress("denoising", done, eta_s)
        if self._events is not None:
            self._events.step(done)

    @property
    def may_show(self) -> bool:
        """Whether callers may see previews."""
        return not self._hidden

    def preview_due(self) -> bool:
        """Return whether a preview of this step would be shown."""
        return self.preview_wanted and self._pending_preview is None and time.monotonic() >= self._next_preview_at

    def preview(self, step: int, draw: Draw) -> None:
        """Have the reporter's thread draw and publish a preview of the state after ``step`` steps."""
        self._pending_preview = (step, draw)

    def warn(self, text: str) -> None:
        """Add a warning about this run to its job; nothing is done while Redis does not answer."""
        with suppress(Unavailable):
            self._store.warn_of_run(self._job_id, self._attempt, text)

    def show(self, step: int, draw: Draw) -> None:
        """Draw and publish a preview now, unless previews are forbidden."""
        if not self._hidden:
            self._publish_preview(step, draw)

    def check(self) -> None:
        """Raise if the attempt has to stop. Costs a look at a flag and at the clock.

        Raises:
            RunCancelled: the attempt no longer owns its job.
            RunTimeout: the job's run limit has passed.
            RunInterrupted: it is to give its slot back, and has computed nothing yet.
        """
        if self._deadline and time.monotonic() > self._deadline:
            raise RunTimeout(f"the run took longer than {self._max_run_s:g} s")
        if stop_hint.is_set():
            self.look()
        if self._over.is_set():
            raise RunCancelled()
        if self.interrupted and not self._has_begun:
            raise RunInterrupted(self._progress.step)

    def look(self) -> None:
        """Read the record now. The thread would read it a few milliseconds later, when the next step has begun."""
        if not self._over.is_set():
            stop_hint.clear()
            self._send()

    def _is_news(self) -> bool:
        return (self._progress, self._resumable) != self._reported

    def _report(self) -> float:
        """Send what is new; return the seconds until the next report."""
        if not self._over.is_set() and self._is_news():
            self._send()
        if self._pending_preview is not None and not self._over.is_set():
            self._publish_preview(*self._pending_preview)
        return math.inf if self._over.is_set() else self._store.settings.process.progress_interval_ms / 1000

    def _send(self) -> None:
        progress, resumable = self._progress, self._resumable
        try:
            reply = self._store.progress(
                self._job_id, self._attempt, progress.stage, progress.step, self._steps, progress.eta_s,
                progress.stage_percent, resumable=resumable.yes, not_resumable=resumable.why_not,
            )  # fmt: skip
        except Unavailable:
            return  # the run goes on without Redis; the next report tries again
        self._reported = progress, resumable
        self.interrupted = reply is StepReply.INTERRUPT
        self.preview_wanted = not self._hidden and (self._always_preview or reply is StepReply.SHOW)
        if reply is StepReply.STOP:
            self._over.set()

    def _publish_preview(self, step: int, draw: Draw) -> None:
        begun_s = time.thread_time()
        try:
            content, media_type = draw()
            self._store.preview(self._job_id, self._attempt, step, content, media_type)
        except Unavailable:
            pass  # the next preview may get through
        except Exception:
            logger.warning("no preview of this step", exc_info=True, extra={"job_id": self._job_id})
        cpu_s = time.thread_time() - begun_s
        self._next_preview_at = time.monotonic() + max(PREVIEW_INTERVAL_S, cpu_s / PREVIEW_SHARE)
        self._pending_preview = None
