"""A store whose scripts run at simulated times, many in one round trip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jobs.settings import Settings
from jobs.store import keys
from jobs.store.jobs import JobStore
from jobs.store.lua import loader
from jobs.store.scripts import constants, tables

#: How the scripts read the time, and what replaces it: two keys that each call passes.
REAL_TIME, GIVEN_TIME = "redis.call('TIME')", "KEYS"

#: What methods of the store get as the reply of a call that is only sent later.
_PLACEHOLDERS: dict[str, Any] = {
    "submit": ["ok", 0, "", [1, "", ""]], "start_run": [], "finish_run": 1, "heartbeat": ["gone"],
    "cancel": ["over", ""], "set_slot_facts": 1, "release_slot": 1,
}  # fmt: skip

Handler = Callable[[Any], None]


class ClockedStore(JobStore):
    """Each call runs at :attr:`now_s`. Calls inside :meth:`later` are sent together by :meth:`flush`.

    Args:
        settings: as of every store.
        weights: weight by class, in place of the classes in ``settings``.
    """

    def __init__(self, settings: Settings, weights: Mapping[str, int]) -> None:
        super().__init__(settings)
        self.now_s = 0.0
        self._pending: list[tuple[list[Any], Handler]] = []
        self._handler: Handler | None = None
        classes = ", ".join(f"{name} = {weight}" for name, weight in weights.items())
        values = {**tables(settings, ""), "CLASS_WEIGHTS": f"{{{classes}}}"}
        self._clocked: dict[str, tuple[loader.Script, str]] = {}
        for script in loader.scripts(constants(settings), values):
            sha: Any = self.client.script_load(script.text.replace(REAL_TIME, GIVEN_TIME))
            self._clocked[script.name] = (script, sha)
        assert any(REAL_TIME in script.text for script, _ in self._clocked.values()), (
            "scripts read the time in another way"
        )
        self._read_to = "-"

    def script(self, name: str, **arguments: Any) -> Any:
        script, sha = self._clocked[name]
        seconds = int(self.now_s)
        microseconds = int((self.now_s - seconds) * 1e6)
        command = ["EVALSHA", sha, 2, seconds, microseconds, *script.positional(arguments)]
        if self._handler is None:
            assert not self._pending, "calls are made in the order of their times"
            return self.client.execute_command(*command)
        self._pending.append((command, self._handler))
        return _PLACEHOLDERS[name]

    def later(self, now_s: float, handler: Handler, call: Callable[[], object]) -> None:
        """Send the script of ``call`` with the next :meth:`flush`; ``handler`` gets its reply."""
        self.now_s, self._handler = now_s, handler
        call()
        self._handler = None

    def flush(self) -> list[str]:
        """Send what is pending; return the events of all calls since the last flush, as JSON."""
        pending, self._pending = self._pending, []
        with self.client.pipeline(transaction=False) as pipe:
            for command, _ in pending:
                pipe.execute_command(*command)
            pipe.xrange(keys.EVENTS, self._read_to)
            *replies, events = pipe.execute()
        for (_, handler), reply in zip(pending, replies, strict=True):
            handler(reply)
        if events:
            self._read_to = f"({events[-1][0]}"
        return [fields["event"] for _, fields in events]
