"""What one call of the store costs Redis: time and number of commands, by Redis' own statistics.

On a busy machine, Redis also counts the time in which the kernel ran other processes instead. So no call is counted
longer than the processor time that Redis used for it, where Linux tells that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.store.jobs import JobStore

#: Commands of the meter itself.
_OWN = ("config", "info")
#: Pause after a call until Linux has counted the processor time of it, seconds.
_SETTLE_S = 0.0005


@dataclass(frozen=True)
class Cost:
    """The cost of a call."""

    #: Time in which Redis served nobody else, in all, milliseconds.
    ms: float
    #: Of the longest script, milliseconds; 0 without a script.
    longest_ms: float
    #: Number of commands, including those inside scripts.
    commands: int
    #: Number of scripts.
    scripts: int

    def __add__(self, other: Cost) -> Cost:
        longest_ms = max(self.longest_ms, other.longest_ms)
        return Cost(self.ms + other.ms, longest_ms, self.commands + other.commands, self.scripts + other.scripts)


class RedisMeter:
    """Measures calls of a store whose Redis nobody else uses meanwhile."""

    def __init__(self, store: JobStore) -> None:
        self._client: Any = store.client
        self._schedule = Path(f"/proc/{self._client.info('server')['process_id']}/schedstat")
        self._run_script = store.script
        self._scripts_us: list[float] = []
        store.script = self._script  # type: ignore[method-assign]

    def measure(self, call: Callable[[], object]) -> Cost:
        """Return the cost of a call that either runs scripts, or only reads without scripts."""
        self._client.config_resetstat()
        self._scripts_us.clear()
        before_us = self._processor_us()
        call()
        processor_us = (self._processor_us() - before_us) or float("inf")
        statistics = {
            name.removeprefix("cmdstat_"): values
            for name, values in self._client.info("commandstats").items()
            if not name.removeprefix("cmdstat_").startswith(_OWN)
        }
        script = statistics.get("evalsha", {"calls": 0, "usec": 0})
        # The time of a script includes the commands in it, which are counted under their own names as well.
        served_us = min(processor_us, script["usec"] or sum(values["usec"] for values in statistics.values()))
        longest_us = served_us if script["calls"] == 1 else max(self._scripts_us, default=0.0)
        commands = sum(values["calls"] for values in statistics.values())
        return Cost(served_us / 1000, longest_us / 1000, commands, script["calls"])

    def _script(self, name: str, **arguments: Any) -> Any:
        before_us = self._processor_us()
        reply = self._run_script(name, **arguments)
        self._scripts_us.append(self._processor_us() - before_us)
        return reply

    def _processor_us(self) -> float:
        """Return the processor time of Redis' main thread, microseconds; 0 where it is unknown."""
        time.sleep(_SETTLE_S)
        try:
            return int(self._schedule.read_text().split()[0]) / 1000
        except (OSError, ValueError, IndexError):
            return 0.0
