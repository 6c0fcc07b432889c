"""honcho's process manager, made to stop everything for certain.

honcho itself sends SIGTERM to whole process groups, which would kill a pool child in the middle of its job, and
kills what does not stop only after some other process did. Here SIGTERM goes to the main process of each entry,
so that workers drain; what is left after :data:`~stack.process.KILL_AFTER_S` seconds is killed with its whole group.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TextIO

from honcho.manager import Manager
from honcho.printer import Message, Printer

from stack.process import KILL_AFTER_S, STOP_SIGNALS, GroupProcess, kill_group, terminate

#: A second Ctrl-C within this time of the first is the same one, passed on by make or a supervisor, seconds.
SAME_SIGNAL_S = 1.0


class LogFiles(Printer):
    """Writes each entry's lines to ``folder/NAME.log`` instead of the terminal; what the stack says, to both.

    Args:
        folder: made if missing; logs of an earlier run are replaced.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._files: dict[str, TextIO] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, message: Message) -> None:
        if message.name == "system":
            super().write(message)
            return
        file = self._files.get(message.name)
        if file is None:
            file = self._files[message.name] = (self._folder / f"{message.name}.log").open("w", encoding="utf-8")
        data = message.data
        file.write(data.decode("utf-8", "replace") if isinstance(data, bytes) else data)
        file.flush()


class StackManager(Manager):
    """Runs processes until a signal or until one of them ends.

    Args:
        printer: where lines go.

    After :meth:`loop`, ``returncode`` is 0 if a signal ended it and 1 if a process ended by itself.
    """

    def __init__(self, printer: Printer) -> None:
        # Relays must be this process's own children: they end with it.
        multiprocessing.set_start_method("fork", force=True)
        super().__init__(printer)
        self._process_ctor = GroupProcess
        #: Called in a thread once all processes have been started.
        self.on_started: Callable[[], None] | None = None
        #: Processes run elsewhere without which the rest is of no use: name to its exit status, None while it runs.
        self.companions: dict[str, Callable[[], int | None]] = {}
        self._stopping_since: float | None = None
        self._signalled_at: float | None = None
        self._force = False

    def loop(self) -> None:
        """Start everything; return when all of it has ended. SIGINT, SIGTERM and SIGHUP stop it."""
        for signum in STOP_SIGNALS:
            # Under nohup SIGHUP stays ignored. SIGINT does not: shells ignore it for every "command &".
            if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._on_signal)
        try:
            self._start()
            if self.on_started is not None:
                threading.Thread(target=self.on_started, daemon=True).start()
            while not self._all_ended():
                with contextlib.suppress(queue.Empty):
                    self._handle(self.events.get(timeout=0.1))
                for name, status in self.companions.items():
                    if not self.stopping and (returncode := status()) is not None:
                        self._stop_for(name, returncode)
                if self._stopping_since is None and self._signalled_at is not None:
                    self.say("stopping")
                    self._begin_stop(0)
                if self._stopping_since is not None and not self._stop_in_time():
                    break
        finally:
            self._kill_rest()

    @property
    def stopping(self) -> bool:
        """True from the first signal, or the first process that ended, on."""
        return self._stopping_since is not None or self._signalled_at is not None

    def say(self, text: str) -> None:
        """Print a line of the stack's own. Safe in any thread."""
        with contextlib.suppress(OSError):  # the terminal is gone
            self._system_print(text + "\n")

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        # Only takes a note: the loop acts on it within a tenth of a second. Relays, forked with this handler, too.
        now = time.monotonic()
        if self._signalled_at is None:
            self._signalled_at = now
        elif now - self._signalled_at > SAME_SIGNAL_S:
            self._force = True

    def _handle(self, message: Message) -> None:
        entry = self._processes[message.name]
        if message.type == "line":
            with contextlib.suppress(OSError):  # the terminal is gone
                self._printer.write(message)
        elif message.type == "start":
            entry["pid"] = message.data["pid"]
            if self._stopping_since is not None:
                terminate(entry["pid"])
        elif message.type == "stop":
            self._ended(message.name, message.data["returncode"])

    def _ended(self, name: str, returncode: int) -> None:
        self._processes[name]["returncode"] = returncode
        if not self.stopping:
            self._stop_for(name, returncode)

    def _stop_for(self, name: str, returncode: int) -> None:
        how = f"killed by {signal.Signals(-returncode).name}" if returncode < 0 else f"exit status {returncode}"
        self.say(f"{name} ended by itself ({how}); stopping the rest")
        self._begin_stop(1)

    def _begin_stop(self, returncode: int) -> None:
        self.returncode = returncode
        self._stopping_since = time.monotonic()
        for entry in self._processes.values():
            if "returncode" not in entry and entry.get("pid"):
                terminate(entry["pid"])

    def _stop_in_time(self) -> bool:
        """Kill what is due; False when not even that has ended everything."""
        late_s = time.monotonic() - (self._stopping_since or 0) - KILL_AFTER_S
        if late_s > 0 or self._force:
            self.kill()
        return late_s < 1.5

    def kill(self) -> None:
        """Kill what is left, with its groups. Once."""
        for name, entry in self._processes.items():
            if "returncode" not in entry and entry.get("pid") and not entry.get("killed"):
                entry["killed"] = True
                self.say(f"{name} did not stop in time; killing it")
                kill_group(entry["pid"], signal.SIGKILL)

    def _kill_rest(self) -> None:
        """Leave nothing behind, whatever happened: the interpreter would wait for the relays at its end."""
        self.kill()
        for entry in self._processes.values():
            relay = entry.get("process")
            if relay is not None and relay.pid is not None:
                relay.join(1.0)
                relay.kill()

    def _all_ended(self) -> bool:
        for name, entry in self._processes.items():
            if "returncode" not in entry and not entry["process"].is_alive() and self.events.empty():
                # Its relay was killed, so it can no longer report; the kernel has sent the command SIGTERM.
                if entry.get("pid"):
                    kill_group(entry["pid"], signal.SIGKILL)
                self._ended(name, -signal.SIGKILL)
        return all("returncode" in entry for entry in self._processes.values())
