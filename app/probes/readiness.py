"""Whether this server can accept, compute and deliver jobs, and what will soon be short.

Clients cannot make a server unready: a job that waits for a model without a worker is a warning.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from app import fleet
from app.extensions import Extensions, current
from jobs.errors import Unavailable
from jobs.files import disks
from jobs.store.queries import Fleet

#: How long the result of a check is used, seconds. Anybody may ask, so the checks must not follow every request.
RESULT_LASTS_S = 2.0
#: Longest wait for a check, seconds.
PATIENCE_S = 2.0
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

    def problem(self) -> str:
        """Return what is wrong; '' if nothing is."""
        with self._lock:
            thread = self._thread
            if (thread is None or not thread.is_alive()) and time.monotonic() >= self._until:
                thread = self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)
                thread.start()
        assert thread is not None
        thread.join(PATIENCE_S)
        return f"{self._subject} does not respond" if thread.is_alive() else self._problem

    def _run(self) -> None:
        try:
            self._check()
        except Unavailable as exc:
            self._problem = exc.message
        else:
            self._problem = ""
        self._until = time.monotonic() + RESULT_LASTS_S


def of_this_server() -> Readiness:
    """Return the readiness of the current app."""
    app = current()
    checks: list[Check] = app.adapters.setdefault(_NAME, _checks(app))
    missing = [problem for check in checks if (problem := check.problem())]
    low = disks.warnings(app.settings)
    try:
        state = fleet.recent()
    except Unavailable as exc:
        return Readiness(list(dict.fromkeys([*missing, exc.message])), low)
    slots = [slot.name for slot in state.slots if not slot.suspect]
    return Readiness(
        [*missing, *_missing_workers(state, slots, app.settings.web.service_slot)],
        [*low, *(f"jobs wait for model {name}, which no running worker has" for name in state.stuck_models)],
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
