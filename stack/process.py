"""One entry of the Procfile as a process group."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from types import FrameType
from typing import Any

from honcho.process import Process

from stack.parent import die_with_parent, terminate_with_parent

#: A process that has not ended this long after SIGTERM is killed with its children, seconds.
KILL_AFTER_S = 7.0

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class GroupProcess(Process):
    """One entry of the Procfile, run from a small relay process; its end takes its whole group along."""

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        manager = os.getppid()
        if ignore_signals:
            # Handlers, not SIG_IGN: an ignored signal would stay ignored in the command.
            for signum in STOP_SIGNALS:
                signal.signal(signum, _do_nothing)
        self._events = events
        child = self._child_ctor(
            executable(self.cmd), env=self.env, cwd=self.cwd, stdin=subprocess.DEVNULL, preexec_fn=terminate_with_parent
        )

        def orphaned(signum: int, frame: FrameType | None) -> None:
            if os.getppid() != manager:
                events.cancel_join_thread()  # nobody reads what is still to be sent
                terminate(child.pid)
                signal.signal(signal.SIGALRM, lambda *_: kill_group(child.pid, signal.SIGKILL))
                signal.setitimer(signal.ITIMER_REAL, KILL_AFTER_S)

        signal.signal(signal.SIGTERM, orphaned)
        die_with_parent(signal.SIGTERM)
        self._send_message({"pid": child.pid}, type="start")
        pump = threading.Thread(target=self._pump, args=(child.stdout,), daemon=True)
        pump.start()
        # Seen but not yet reaped: its number still names its group and nothing else. Waiting for the end of the
        # output instead would overlook a killed worker whose pool child holds the pipe open.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        kill_group(child.pid, signal.SIGKILL)
        pump.join(1.0)
        self._send_message({"returncode": child.wait()}, type="stop")

    def _pump(self, output: Any) -> None:
        for line in iter(output.readline, b""):
            if not self.quiet:
                self._send_message(line)


def executable(command: str) -> str:
    """``command`` so that it replaces the shell that expands its variables, and gets the signals itself."""
    if re.search(r"[;&|]", command):
        return command
    return f"exec env {command}" if re.match(r"\s*\w+=", command) else f"exec {command}"


def kill_group(leader: int, signum: int) -> None:
    """Signal a process group; nothing happens if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signum)


def terminate(pid: int) -> None:
    """Ask one process to end; nothing happens if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGTERM)


def _do_nothing(signum: int, frame: FrameType | None) -> None:
    pass
