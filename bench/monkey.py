"""Disturb the processes of a stack for ``bench/chaos.py``: one at a time, chosen by a seeded generator."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench import processes
from tests.support.harness import Stack, wait_for

#: Disturbances and their relative frequency.
WEIGHTS = {
    "kill child": 4, "kill worker": 3, "kill io": 3, "kill web": 2, "kill redis": 3,
    "stop child": 2, "stop worker": 2, "stop io": 1, "stop web": 1, "stop redis": 2,
}  # fmt: skip
#: The same for jobs that go on from checkpoints: workers are also asked to exit.
WEIGHTS_WITH_CHECKPOINTS = {"kill child": 4, "kill worker": 3, "drain worker": 3, "kill redis": 1, "kill io": 1}
#: Longest time that a process stays stopped or dead, seconds; longer than the lease of a slot.
LONGEST_S = 5.0


@dataclass(frozen=True)
class Disturbance:
    """One disturbance that was made."""

    what: str
    #: The affected slot; '' if no GPU worker was affected.
    slot: str
    #: When it ended (killed, started again or continued), milliseconds since 1970.
    over_at_ms: int


class Monkey:
    """Makes disturbances. Must be used in the thread that starts Redis, because Redis ends with that thread."""

    def __init__(
        self, stack: Stack, rng: random.Random, gpus: tuple[str, ...], weights: Mapping[str, int] = WEIGHTS
    ) -> None:
        self._stack, self._rng, self._gpus, self._weights = stack, rng, gpus, weights
        self.done: list[Disturbance] = []

    def run(self, until: Callable[[], bool], shortest_pause_s: float, longest_pause_s: float) -> None:
        """Disturb until ``until()`` is true; afterwards everything runs again."""
        while True:
            pause_end = time.monotonic() + self._rng.uniform(shortest_pause_s, longest_pause_s)
            while time.monotonic() < pause_end:
                if until():
                    return
                time.sleep(0.05)
            self.disturb(self._rng.choices(list(self._weights), list(self._weights.values()))[0])

    def disturb(self, what: str) -> None:
        """Make one of these disturbances and repair it."""
        how, target = what.split()
        slot = self._rng.choice(self._gpus) if target in ("child", "worker") else ""
        if how == "stop":
            self._freeze(target, slot)
        else:
            getattr(self, f"_{how}_{target}")(slot)
        self.done.append(Disturbance(what, slot, int(time.time() * 1000)))

    def _nap(self, longest_s: float = LONGEST_S) -> None:
        time.sleep(self._rng.uniform(0, longest_s))

    def _kill_child(self, slot: str) -> None:
        for child in processes.children(self._stack.processes[slot].pid):
            _signal(child, signal.SIGKILL)

    def _kill_worker(self, slot: str) -> None:
        self._stack.kill(slot)
        self._nap()
        self._stack.worker(slot)

    def _drain_worker(self, slot: str) -> None:
        self._stack.kill(slot, signal.SIGTERM)
        self._stack.worker(slot)

    def _kill_io(self, _: str) -> None:
        parent = self._stack.processes["io"].pid
        if self._rng.random() < 0.5:  # otherwise its children notice the end of the parent and exit
            for pid in processes.children(parent):
                _signal(pid, signal.SIGKILL)
        self._stack.kill("io")
        self._nap()
        self._stack.worker("io")

    def _kill_web(self, _: str) -> None:
        web = self._stack.processes.pop("web")
        os.killpg(web.pid, signal.SIGKILL)
        web.wait()
        self._nap(1.0)
        self._stack.web()

    def _kill_redis(self, _: str) -> None:
        assert self._stack.redis.pid
        _signal(self._stack.redis.pid, signal.SIGKILL)
        wait_for(lambda: self._stack.redis.exit_status() is not None, "Redis to be gone")
        self._stack.redis.stop()
        self._nap()
        self._stack.redis.start()

    def _freeze(self, target: str, slot: str) -> None:
        """Send SIGSTOP, and SIGCONT after a pause."""
        pids = self._pids(target, slot)
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        self._nap()
        for pid in pids:
            _signal(pid, signal.SIGCONT)

    def _pids(self, target: str, slot: str) -> list[int]:
        if target == "redis":
            assert self._stack.redis.pid
            return [self._stack.redis.pid]
        root = self._stack.processes[slot or target].pid
        if target == "child":
            return processes.children(root)
        return [root] if target == "worker" else processes.tree(root)


def _signal(pid: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)
