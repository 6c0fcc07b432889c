"""Calling the Lua scripts of ``jobs/store/lua`` on one Redis: the base of every part of the store."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import redis
from redis.commands.core import Script as RegisteredScript
from redis.exceptions import NoScriptError

from jobs.errors import Unavailable
from jobs.outbound import webhook
from jobs.settings import Settings
from jobs.states import JobState
from jobs.store import keys
from jobs.store.connecting.client import connect
from jobs.store.lua import loader, words
from jobs.store.measuring import families
from jobs.store.measuring.measures import Measures
from jobs.store.outages import refusals

#: Time after which a preview is deleted unless a newer one comes or the job ends, seconds: one step of a large video
#: and its decoding may take minutes.
PREVIEW_TTL_S = 300
#: Messages that a subscriber queue holds; older ones are dropped.
MAILBOX_LENGTH = 10_000
#: How long a series of measurements is kept after its last one, seconds: that of a model or route that was removed
#: must not be shown for ever.
SERIES_KEPT_S = 14 * 24 * 3600
#: Scripts that accept a job: they have succeeded when ``REDIS_WAIT_REPLICAS`` have what they wrote.
_ACCEPTING = ("submit",)
#: A gap of a message. Scripts get the gaps and the texts between them: to search for the gaps would take longer.
_GAP = re.compile(f"({'|'.join(words.MessageGap)})")

T = TypeVar("T")


class Scripts:
    """Calls scripts. Safe to share between threads and greenlets; create a new one after a fork.

    ``message`` is the template of the Celery message that scripts send to a slot's worker (:mod:`tasks.message`);
    without it none is sent. Every method raises :class:`~jobs.errors.Unavailable` when Redis does not answer in time,
    or refuses a command for the moment (a full disk, no memory left; see :mod:`jobs.store.outages.refusals`).
    """

    def __init__(self, settings: Settings, client: redis.Redis | None = None, *, message: str = "") -> None:
        self.settings = settings
        self.client = client or connect(settings)
        self._scripts: dict[str, tuple[loader.Script, RegisteredScript]] = {
            script.name: (script, self.client.register_script(script.text))
            for script in loader.scripts(constants(settings), tables(settings, message))
        }
        #: What this process has measured.
        self.measures = Measures(self._add_measures)

    def call(self, reader: Callable[[Any], T]) -> T:
        """Run ``reader`` with the client; outages and refusals of Redis become ``Unavailable``."""
        try:
            return reader(self.client)
        except redis.RedisError as exc:
            if problem := refusals.unavailable(exc):
                raise problem from exc
            raise

    def script(self, name: str, **arguments: Any) -> Any:
        """Run a script. ``arguments`` are those that ``lua/<name>.lua`` declares, by the same names."""
        script, registered = self._scripts[name]
        replicas = self.settings.redis.wait_replicas if name in _ACCEPTING else 0
        values = script.positional(arguments)
        return self.call(lambda client: _run(client, registered, values, replicas))

    def _add_measures(self, process: str, batch: int, deltas: Mapping[str, str]) -> None:
        self.script("add_measures", process=process, batch=batch, kept_ms=int(SERIES_KEPT_S * 1000), deltas=deltas)

    def until_written(
        self, write: Callable[[], T], *, pause_s: float = 0.5, longest_pause_s: float = 5.0,
        check: Callable[[], None] = lambda: None,
    ) -> T:  # fmt: skip
        """Repeat a write until Redis accepts it: for results that a worker must not lose.

        Args:
            write: the write.
            pause_s: seconds until the second try; each pause is twice the one before.
            longest_pause_s: upper limit of the pauses, seconds.
            check: called before each further try. An exception that it raises ends the wait.
        """
        while True:
            try:
                return write()
            except Unavailable:
                time.sleep(min(pause_s, longest_pause_s))
                pause_s *= 2
                check()


def _run(client: redis.Redis, script: RegisteredScript, values: list[Any], replicas: int) -> Any:
    command = ("EVALSHA", script.sha, 0, *values)
    try:
        return client.execute_command(*command, replicas=replicas)  # type: ignore[no-untyped-call]
    except NoScriptError:  # Redis was restarted, or another server is the primary now
        client.script_load(script.script)
        return client.execute_command(*command, replicas=replicas)  # type: ignore[no-untyped-call]


def constants(settings: Settings) -> dict[str, dict[str, str | int]]:
    """The constants of the scripts, by table: ``K.JOB``, ``STATE.QUEUED``, ``CFG.lease_ms`` …"""
    enums = {
        "STATE": JobState, "OBSTACLE": words.Obstacle, "NOTICE": words.Notice, "DELIVERY": words.DeliveryState,
        "GAP": words.MessageGap, "INTERRUPT": words.Interrupt,
    }  # fmt: skip
    return {
        "K": {name: value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)},
        "CFG": {name: round(value) for name, value in _limits(settings).items()},
        "FAMILY": {"LOAD": families.LOAD.name},
        "EVENT": {"PREFIX": webhook.EVENT_PREFIX, "STARTED": webhook.STARTED, "PAUSED": webhook.PAUSED},
        **{table: {member.name: member.value for member in enum} for table, enum in enums.items()},
    }


def _limits(settings: Settings) -> dict[str, float]:
    """Limits and durations; durations in milliseconds."""
    return {
        "result_ttl_ms": settings.retention.result_ttl_s * 1000,
        "paused_ttl_ms": settings.scheduling.paused_ttl_s * 1000,
        "max_attempts": settings.scheduling.max_attempts,
        "lease_ms": settings.leases.slot_lease_s * 1000,
        "resend_after_ms": settings.leases.resend_after_s * 1000,
        "delivery_lease_ms": settings.leases.delivery_lease_s * 1000,
        "node_grace_ms": settings.leases.node_grace_s * 1000,
        "affinity_ms": settings.scheduling.affinity_s * 1000,
        "preempt_after_ms": settings.scheduling.preempt_after_s * 1000,
        "preempt_max": settings.scheduling.preempt_max,
        "affinity_places": settings.scheduling.affinity_places,
        "idempotency_ttl_ms": settings.scheduling.idempotency_ttl_s * 1000,
        "event_log_length": settings.redis.event_log_length,
        "mailbox_length": MAILBOX_LENGTH,
        "preview_ttl_ms": PREVIEW_TTL_S * 1000,
        "usage_ms": settings.retention.usage_days * 86_400_000,
        "files_grace_ms": settings.retention.unused_files_grace_s * 1000,
    }


def tables(settings: Settings, message: str) -> dict[str, str]:
    """Lua values that scripts use by these names."""
    weights, preempts = settings.scheduling.class_weights, settings.scheduling.preempts
    retention = ", ".join(f"{name} = {kept_s * 1000:.0f}" for name, kept_s in settings.retention.files_kept_s.items())
    return {
        "CLASS_WEIGHTS": weights_table(weights),
        "OFF_PEAK_CLASSES": _list([name for name, weight in weights.items() if not weight]),
        "PREEMPTS": f"{{{', '.join(f'[{name!r}] = {_list(lower)}' for name, lower in preempts.items())}}}",
        "PREEMPTIBLE": f"{{{', '.join(f'[{name!r}] = true' for name in sorted(set().union(*preempts.values())))}}}",
        "RETENTION_MS": f"{{{retention}}}",
        "MESSAGE": f"{{{', '.join(f'[==[{part}]==]' for part in _GAP.split(message) if part)}}}",
    }


def weights_table(weights: Mapping[str, int]) -> str:
    """The Lua table of the classes that take turns."""
    return f"{{{', '.join(f'{name} = {weight:g}' for name, weight in weights.items() if weight)}}}"


def _list(names: Sequence[str]) -> str:
    """The Lua list of these names."""
    return f"{{{', '.join(map(repr, names))}}}"
