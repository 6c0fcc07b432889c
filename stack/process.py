"""One process of the stack, with its process group."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from stack.parent import terminate_with_parent
from stack.procfile import Program


class GroupProcess:
    """Runs a program in a process group of its own.

    Args:
        program: the command and its environment.
        environment: environment variables of all processes.
        folder: working directory.
        output: receives standard output and standard error.
    """

    def __init__(self, program: Program, environment: Mapping[str, str], folder: Path, output: IO[bytes]) -> None:
        self.name = program.name
        #: Exit status, negative for a signal; None while the process runs.
        self.returncode: int | None = None
        self._killed = False
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", executable(program.command)],
            cwd=folder,
            env={**environment, **program.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A session of its own: Ctrl-C in the terminal must reach the supervisor only.
            start_new_session=True,
            preexec_fn=terminate_with_parent,
        )

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs. Its end also kills the rest of its group."""
        pid = self._process.pid
        if self.returncode is None and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            # The process is not reaped yet, so its id still names its group and nothing else. Waiting for the end of
            # its output instead would overlook a killed worker whose pool child holds the pipe open.
            kill_group(pid, signal.SIGKILL)
            self.returncode = self._process.wait()
        return self.returncode

    def terminate(self) -> None:
        """Send SIGTERM to the main process only, so that it can end its children in order."""
        if self.poll() is None:
            self._process.terminate()

    def kill(self) -> bool:
        """Kill the whole group. Returns False if it has ended or was already killed."""
        if self._killed or self.poll() is not None:
            return False
        self._killed = True
        kill_group(self._process.pid, signal.SIGKILL)
        return True


def executable(command: str) -> str:
    """Return ``command`` so that it replaces the shell that expands its variables, and receives the signals itself."""
    if re.search(r"[;&|]", command):
        return command
    return f"exec env {command}" if re.match(r"\s*\w+=", command) else f"exec {command}"


def kill_group(leader: int, signum: int) -> None:
    """Send a signal to a process group, if it still exists."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signum)
