"""Progress of a running attempt: what a step costs here is a few assignments.

A thread sends the newest state to Redis, at most once per ``PROGRESS_INTERVAL_MS``; the step itself never waits
for Redis. Its answer says whether the attempt still owns its job (if not, the next step raises), and whether
somebody asks for previews. The same thread draws them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from jobs.errors import JobCancelled, RunTimeout, Unavailable
from jobs.store.jobs import JobStore
from jobs.store.runs import StepReply
from workers.gpu.child import stop_hint

logger = logging.getLogger(__name__)

#: The start itself was an event; the first report of steps comes so long after it, seconds.
FIRST_REPORT_S = 0.02
#: Shortest time between two previews of one run, seconds.
PREVIEW_INTERVAL_S = 0.5
#: Largest share of a core's time that drawing previews may take; costly ones come seldom.
PREVIEW_SHARE = 0.02

#: Draws a preview: its file and media type.
Draw = Callable[[], tuple[bytes, str]]


class Reporter:
    """One attempt's progress. Use as a context manager around the run."""

    def __init__(
        self, store: JobStore, job_id: str, attempt: int, steps: int, *, max_run_s: float | None = None,
        preview: bool = False,
        hidden: bool = False,
    ) -> None:  # fmt: skip
        self._deadline = time.monotonic() + max_run_s if max_run_s else None
        self._max_run_s = max_run_s
        self._store, self._job_id, self._attempt = store, job_id, attempt
        self._steps = steps
        #: Stage, steps done, seconds left, percent of the stage.
        self._now: tuple[str, int, float | None, int | None] = ("starting", 0, None, None)
        self._sent: tuple[str, int, float | None, int | None] | None = None
        self._always_preview = preview
        #: Outputs are moderated: nobody may see the picture before.
        self._hidden = hidden
        #: Whether somebody asks for previews now.
        self.preview_wanted = preview and not hidden
        self._drawing: tuple[int, Draw] | None = None
        self._next_preview_at = 0.0
        self._over = threading.Event()
        self._closed = threading.Event()
        self._first_step_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def __enter__(self) -> Reporter:
        stop_hint.clear()
        self._thread.start()
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            self._sent = self._now  # the end of the run is written next, and says all
        self._closed.set()
        self._thread.join()

    def stage(self, name: str) -> None:
        """Enter ``loading``, ``denoising`` or ``decoding``.

        Raises:
            JobCancelled, RunTimeout: see :meth:`check`.
        """
        self.check()
        self._now = (name, self._now[1], None, None)
        if name == "denoising":
            self._first_step_at = time.monotonic()

    def loading(self, done_bytes: int, total_bytes: int) -> None:
        """So much of the model is in memory.

        Raises:
            JobCancelled, RunTimeout: see :meth:`check`.
        """
        self.check()
        percent = int(100 * done_bytes / total_bytes) if total_bytes else None
        self._now = ("loading", self._now[1], None, percent)

    def expect(self, steps: int) -> None:
        """So many steps will really be run."""
        self._steps = max(1, steps)

    def step(self, done: int, share: float | None = None) -> None:
        """``done`` steps are finished; ``share``: so much of the work, 0 to 1, where steps are not alike.

        Raises:
            JobCancelled, RunTimeout: see :meth:`check`.
        """
        self.check()
        begun = self._first_step_at or time.monotonic()
        share = max(1, done) / self._steps if share is None else share
        eta_s = (time.monotonic() - begun) * max(0.0, 1 / share - 1)
        self._now = ("denoising", done, eta_s, None)

    def preview_due(self) -> bool:
        """Whether a preview of this step would be shown."""
        return self.preview_wanted and self._drawing is None and time.monotonic() >= self._next_preview_at

    def preview(self, step: int, draw: Draw) -> None:
        """Have the picture after ``step`` steps drawn and shown, by the reporter's thread."""
        self._drawing = (step, draw)

    def check(self) -> None:
        """Go on, or not. Costs a look at a flag and at the clock.

        Raises:
            JobCancelled: the attempt is over.
            RunTimeout: the job's run limit has passed.
        """
        if self._deadline and time.monotonic() > self._deadline:
            raise RunTimeout(f"the run took longer than {self._max_run_s:g} s")
        if stop_hint.is_set() and not self._over.is_set():
            # Between the signal and the thread's look at the record lie some milliseconds: ask here and now.
            stop_hint.clear()
            self._send()
        if self._over.is_set():
            raise JobCancelled()

    def _run(self) -> None:
        interval_s = self._store.settings.progress_interval_ms / 1000
        self._closed.wait(FIRST_REPORT_S)
        while not self._over.is_set():
            closed = self._closed.is_set()
            if self._now != self._sent:
                self._send()
            if closed:
                return
            if self._drawing is not None and not self._over.is_set():
                self._show(*self._drawing)
            self._closed.wait(interval_s)

    def _send(self) -> None:
        stage, step, eta_s, percent = now = self._now
        try:
            answer = self._store.progress(self._job_id, self._attempt, stage, step, self._steps, eta_s, percent)
        except Unavailable:
            return  # the run goes on without Redis; the next report tries again
        self._sent = now
        self.preview_wanted = not self._hidden and (self._always_preview or answer is StepReply.SHOW)
        if answer is StepReply.STOP:
            self._over.set()

    def _show(self, step: int, draw: Draw) -> None:
        begun_s = time.thread_time()
        try:
            content, media_type = draw()
            self._store.preview(self._job_id, self._attempt, step, content, media_type)
        except Unavailable:
            pass  # the next one may arrive
        except Exception:
            logger.warning("no preview of this step", exc_info=True, extra={"job_id": self._job_id})
        spent_s = time.thread_time() - begun_s
        self._next_preview_at = time.monotonic() + max(PREVIEW_INTERVAL_S, spent_s / PREVIEW_SHARE)
        self._drawing = None
