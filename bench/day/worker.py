"""A simulated GPU worker: it starts and finishes jobs, loads models, renews its lease and dies now and then."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.day.simulation import Simulation, Task

#: Seconds to load a model, and models that fit into memory.
LOAD_S, ROOM = 15.0, 2
#: Longest time until a worker has its message, seconds.
MESSAGE_S = 0.05
#: A worker dies once in this time on average, unless told otherwise. It is started again soon, or only after its lease
#: has lapsed.
LIFE_S = 12 * 3600.0
SOON_S, LATE_S = 20.0, 600.0


class Worker:
    """One slot and its worker. Calls of an earlier life do nothing."""

    def __init__(self, day: Simulation, slot: str, group: int, models: list[str]) -> None:
        self._day, self.slot, self.group, self._models = day, slot, group, models
        self.is_alive = False
        #: The job that the slot holds by its own and Redis' knowledge, and its attempt.
        self.task: Task | None = None
        self.attempt = 0
        self._resident: list[str] = []
        self._life = 0

    @property
    def owner(self) -> str:
        return f"{self.slot}:{self._life}:1"

    # ---- life and death

    def register(self) -> None:
        """Begin a life, unless another worker's lease still holds the slot; then try again later."""
        day = self._day
        facts = {"models": json.dumps(self._models), "resident": "", "node": self.slot.partition(".")[0]}
        self._life += 1
        self._resident, self.task = [], None
        self.is_alive = True
        takeover = day.random.random() < 0.5
        if day.call_now(lambda: day.store.register(self.slot, self.owner, facts, takeover=takeover)) is not None:
            self.is_alive = False
            day.after(LATE_S / 10, self.register)
            return
        day.after(day.random.random() * day.heartbeat_s, self._guarded(self._beat))
        day.after(day.random.expovariate(1 / day.life_s), self._guarded(self._die))

    def _guarded(self, act: Any) -> Any:
        life = self._life

        def guarded() -> None:
            if self.is_alive and self._life == life:
                act()

        return guarded

    def _die(self) -> None:
        self.is_alive = False
        self._day.count("workers that died")
        self._day.after(SOON_S if self._day.random.random() < 0.5 else LATE_S, self.register)

    def _beat(self) -> None:
        self._day.later(lambda reply: None, lambda: self._day.store.heartbeat(self.slot, self.owner, {}))
        self._day.after(self._day.heartbeat_s, self._guarded(self._beat))

    # ---- runs

    def bound(self, task: Task, attempt: int) -> None:
        """The slot got a job; its message is on the way."""
        self.task, self.attempt = task, attempt
        if self.is_alive:
            self._day.after(self._day.random.random() * MESSAGE_S, self._guarded(lambda: self._start(task, attempt)))

    def _start(self, task: Task, attempt: int) -> None:
        day = self._day

        def started(reply: Any) -> None:
            if reply:
                self._load(task, attempt)

        day.later(
            started,
            lambda: day.store.start(
                task.job_id, attempt, slot=self.slot, owner=self.owner, device="cuda:0", run=f"{self._life}.{attempt}"
            ),
        )

    def _load(self, task: Task, attempt: int) -> None:
        day, model = self._day, task.order.model.name
        run = self._guarded(lambda: self._finish(task, attempt))
        if model in self._resident:
            self._resident.remove(model)
            self._resident.append(model)
            day.after(task.order.run_s, run)
            return
        self._resident = [*self._resident, model][-ROOM:]
        facts = {"resident": ",".join(self._resident)}
        day.count("models loaded")
        day.after(
            LOAD_S,
            self._guarded(
                lambda: day.later(lambda reply: None, lambda: day.store.set_facts(self.slot, self.owner, facts))
            ),
        )
        day.after(LOAD_S + task.order.run_s, run)

    def _finish(self, task: Task, attempt: int) -> None:
        if task.stopped:
            return
        self._day.later(
            lambda reply: self._day.finished(task, bool(reply)),
            lambda: self._day.store.finish_run(task.job_id, attempt, slot=self.slot, node="", run_s=task.order.run_s),
        )

    def stop(self, task: Task) -> None:
        """The running job was cancelled: it stops within a step."""
        attempt = self.attempt
        self._day.after(
            0.5,
            self._guarded(
                lambda: self._day.later(
                    lambda reply: self._day.freed(self, task),
                    lambda: self._day.store.release(task.job_id, attempt, slot=self.slot),
                )
            ),
        )
