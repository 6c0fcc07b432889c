"""Whether this server can accept, compute and deliver jobs, and what will soon be short.

Clients cannot make a server unready. A job that waits for a model without a worker is a warning. A server that is too
busy to look keeps what it knew: a load balancer that took it away would overload the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from app import fleet
from app.extensions import Extensions, current
from jobs.errors import StoreBusy, Unavailable
from jobs.files import disks
from jobs.store.queries import Fleet

#: How long the result of a check is used, seconds. Anybody may ask, so the checks must not follow every request.
RESULT_LASTS_S = 2.0
#: Longest wait for a check, seconds.
PATIENCE_S = 2.0
#: A check that takes longer is no problem before it has not succeeded for this long, seconds: the process may be busy.
SLOW_S = 15.0
#: Name of the checks among the adapters of the app.
_NAME = "readiness"


@dataclass(frozen=True)
class Readiness:
    """The state of this server at one moment."""

    #: Why a job submitted now would not be computed and delivered; empty if it would be.
    missing: list[str]
    #: What does not stop jobs yet, or only those of one model.
    warnings: list[str] = field(default_factory=list)
    #: Slots with a worker.
    slots: list[str] = field(default_factory=list)
    #: Hosts with a delivery worker.
    delivery: list[str] = field(default_factory=list)


class Check:
    """A check whose result is remembered for ``RESULT_LASTS_S``; it runs in a thread, so that nobody waits long for it.

    Args:
        check: raises Unavailable with the reason.
        subject: begins the sentence when the check does not end in time.
    """

    def __init__(self, check: Callable[[], None], subject: str) -> None:
        self._check, self._subject = check, subject
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._problem, self._until = "", 0.0
        #: When it last succeeded.
        self._good_at = float("-inf")

    def problem(self) -> str:
        """Return what is wrong; '' if nothing is."""
        with self._lock:
            thread = self._thread
            if (thread is None or not thread.is_alive()) and time.monotonic() >= self._until:
                thread = self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)
                thread.start()
        assert thread is not None
        thread.join(PATIENCE_S)
        if not thread.is_alive():
            return self._problem
        return "" if time.monotonic() < self._good_at + SLOW_S else f"{self._subject} does not respond"

    def _run(self) -> None:
        try:
            self._check()
        except StoreBusy:
            pass  # nothing was learned
        except Unavailable as exc:
            self._problem = exc.message
        else:
            self._problem, self._good_at = "", time.monotonic()
        self._until = time.monotonic() + RESULT_LASTS_S


@dataclass
class _Memory:
    """What an app keeps from one look to the next."""

    checks: list[Check]
    #: The fleet as it was read last.
    fleet: Fleet | None = None


def of_this_server() -> Readiness:
    """Return the readiness of the current app."""
    app = current()
    memory: _Memory = app.adapters.setdefault(_NAME, _Memory(_checks(app)))
    missing = [problem for check in memory.checks if (problem := check.problem())]
    warnings = disks.warnings(app.settings)
    try:
        memory.fleet = fleet.recent()
    except StoreBusy as exc:
        warnings.append(exc.message)
    except Unavailable as exc:
        return Readiness(list(dict.fromkeys([*missing, exc.message])), warnings)
    state = memory.fleet
    if state is None:
        return Readiness(missing, warnings)
    slots = [slot.name for slot in state.slots if not slot.suspect]
    return Readiness(
        [*missing, *_missing_workers(state, slots, app.settings.web.service_slot)],
        [*warnings, *(f"jobs wait for model {name}, which no running worker has" for name in state.stuck_models)],
        slots,
        state.delivery_nodes,
    )


def _checks(app: Extensions) -> list[Check]:
    return [Check(app.store.check_writable, "the job store"), Check(app.objects.check, "the object store")]


def _missing_workers(fleet: Fleet, slots: list[str], service_slot: str) -> list[str]:
    missing = []
    if not slots:
        missing.append("no GPU worker is running (celery -A tasks worker -Q gpu0)")
    elif service_slot and service_slot not in slots:
        missing.append(f"no worker of this server's slot is running (celery -A tasks worker -Q {service_slot})")
    if not fleet.delivery_nodes:
        missing.append("no delivery worker is running (celery -A tasks worker -Q io)")
    missing += [
        f"deliveries of {node} wait for {why or 'the object store'}" for node, why in fleet.away_nodes.items()
    ]
    return missing
