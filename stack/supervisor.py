"""Run the processes of the stack until a signal arrives or one of them ends, and stop all of them for certain.

SIGTERM goes to the main process of each entry, so that workers drain. Processes that have not ended
:data:`KILL_AFTER_S` seconds later are killed with their whole group. docs/decisions/0030-supervisor.md gives the
reasons for this design.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from stack.logs.output import Terminal
from stack.process import GroupProcess
from stack.procfile import Program

#: A process that has not ended this long after SIGTERM is killed with its children, in seconds.
KILL_AFTER_S = 7.0
#: Maximum wait for the end of killed processes, in seconds.
KILLED_WITHIN_S = 1.5
#: A second signal within this time is the same Ctrl-C, passed on by make or a service manager, in seconds.
SAME_SIGNAL_S = 1.0
#: Interval at which processes and signals are checked, in seconds.
POLL_S = 0.1

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """Starts processes, and stops all of them when a signal arrives or when one of them ends.

    Args:
        output: receives the output of the processes and the supervisor's own messages.
        companions: processes that run elsewhere and that the others depend on: name → function that returns the exit
            status, or None while the process runs.
    """

    def __init__(self, output: Terminal, companions: Mapping[str, Callable[[], int | None]]) -> None:
        self._output = output
        self._companions = companions
        self._processes: list[GroupProcess] = []
        self._exit_code = 0
        self._stopping_since: float | None = None
        self._signalled_at: float | None = None
        self._force = False

    @property
    def stopping(self) -> bool:
        """True from the first signal, or from the end of the first process."""
        return self._stopping_since is not None or self._signalled_at is not None

    def run(
        self,
        programs: Sequence[Program],
        environment: Mapping[str, str],
        folder: Path,
        on_started: Callable[[], None],
    ) -> int:
        """Start the processes, and return when all of them have ended. SIGINT, SIGTERM and SIGHUP stop them.

        Args:
            programs: the programs.
            environment: environment variables of all processes.
            folder: their working directory.
            on_started: called in a thread after all processes have been started.

        Returns:
            0 if a signal stopped the processes, 1 if one of them ended by itself.
        """
        for signum in STOP_SIGNALS:
            # Under nohup, SIGHUP stays ignored. SIGINT does not: shells ignore it for every "command &".
            if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._on_signal)
        try:
            for program in programs:
                with self._output.open(program.name) as stream:
                    self._processes.append(GroupProcess(program, environment, folder, stream))
            threading.Thread(target=on_started, daemon=True).start()
            self._watch()
        finally:
            self._kill_rest()
            self._output.close()
        return self._exit_code

    def _watch(self) -> None:
        while any(process.poll() is None for process in self._processes) or not self.stopping:
            if not self.stopping:
                self._stop_if_one_ended()
            if self._stopping_since is None and self._signalled_at is not None:
                self._output.say("stopping")
                self._begin_stop(0)
            if self._stopping_since is not None:
                late_s = time.monotonic() - self._stopping_since - KILL_AFTER_S
                if late_s > 0 or self._force:
                    self._kill_rest()
                if late_s > KILLED_WITHIN_S:
                    break
            time.sleep(POLL_S)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        # Only records the signal; the loop acts on it within POLL_S.
        now = time.monotonic()
        if self._signalled_at is None:
            self._signalled_at = now
        elif now - self._signalled_at > SAME_SIGNAL_S:
            self._force = True

    def _stop_if_one_ended(self) -> None:
        statuses = {process.name: process.poll() for process in self._processes}
        statuses |= {name: status() for name, status in self._companions.items()}
        for name, status in statuses.items():
            if status is not None:
                how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
                self._output.ended(name, how)
                self._begin_stop(1)
                return

    def _begin_stop(self, exit_code: int) -> None:
        self._exit_code = exit_code
        self._stopping_since = time.monotonic()
        for process in self._processes:
            process.terminate()

    def _kill_rest(self) -> None:
        """Kill what still runs, whatever happened."""
        for process in self._processes:
            if process.kill():
                self._output.say(f"{process.name} did not stop in time; killing it")
