"""A store whose scripts run at simulated times, many in one round trip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jobs.settings import Settings
from jobs.store import keys
from jobs.store.jobs import JobStore
from jobs.store.lua import loader
from jobs.store.scripts import constants, tables, weights_table

#: How the scripts read the time, and what replaces it: two keys that each call passes.
REAL_TIME, GIVEN_TIME = "redis.call('TIME')", "KEYS"

#: What methods of the store get as the reply of a call that is only sent later.
_PLACEHOLDERS: dict[str, Any] = {
    "submit": ["ok", 0, "", [1, "", ""], []], "start_run": [], "finish_run": [0, "", "", -1], "heartbeat": ["gone"],
    "cancel": ["over", ""], "set_slot_facts": 1, "release_slot": 1,
}  # fmt: skip

Handler = Callable[[Any], None]
#: So many calls are sent before the flush, so that Redis runs them while further ones are prepared.
SENT_TOGETHER = 8


class ClockedStore(JobStore):
    """Each call runs at :attr:`now_s`. Calls inside :meth:`later` are sent together by :meth:`flush`.

    Args:
        settings: as of every store.
        weights: weight by class, in place of the classes in ``settings``.
    """

    def __init__(self, settings: Settings, weights: Mapping[str, int]) -> None:
        super().__init__(settings)
        self.now_s = 0.0
        self._pending: list[list[Any]] = []
        self._handlers: list[Handler] = []
        self._handler: Handler | None = None
        values = {**tables(settings, ""), "CLASS_WEIGHTS": weights_table(weights)}
        self._clocked: dict[str, tuple[loader.Script, str]] = {}
        for script in loader.scripts(constants(settings), values):
            sha: Any = self.client.script_load(self.adapted(script.text))
            self._clocked[script.name] = (script, sha)
        assert any(REAL_TIME in script.text for script, _ in self._clocked.values()), (
            "scripts read the time in another way"
        )
        self._read_to = "-"
        self._connection: Any = self.client.connection_pool.get_connection()

    def adapted(self, text: str) -> str:
        """Return the text of a script that reads the time from its keys."""
        return text.replace(REAL_TIME, GIVEN_TIME)

    def script(self, name: str, **arguments: Any) -> Any:
        script, sha = self._clocked[name]
        seconds = int(self.now_s)
        microseconds = int((self.now_s - seconds) * 1e6)
        command = ["EVALSHA", sha, 2, seconds, microseconds, *script.positional(arguments)]
        if self._handler is None:
            assert not self._handlers, "calls are made in the order of their times"
            return self.client.execute_command(*command)
        self._pending.append(command)
        self._handlers.append(self._handler)
        if len(self._pending) == SENT_TOGETHER:
            self._send()
        return _PLACEHOLDERS[name]

    def _add_measures(self, *_: object) -> None:
        """Send no measurements: their thread would call scripts between those of the day."""

    def later(self, now_s: float, handler: Handler, call: Callable[[], object]) -> None:
        """Send the script of ``call`` with the next :meth:`flush`; ``handler`` gets its reply."""
        self.now_s, self._handler = now_s, handler
        call()
        self._handler = None

    def _send(self) -> None:
        self._connection.send_packed_command(self._connection.pack_commands(self._pending))
        self._pending.clear()

    def flush(self) -> list[str]:
        """Send what is pending; return the events of all calls since the last flush, as JSON."""
        self._pending.append(["XRANGE", keys.EVENTS, self._read_to, "+"])
        self._send()
        handlers, self._handlers = self._handlers, []
        replies = [self._connection.read_response() for _ in handlers]
        events: Any = self._connection.read_response()
        for handler, reply in zip(handlers, replies, strict=True):
            handler(reply)
        if events:
            self._read_to = f"({events[-1][0]}"
        return [fields[1] for _, fields in events]
