"""The simulated day: events in order of their times, calls of one moment in one round trip."""

from __future__ import annotations

import dataclasses
import functools
import heapq
import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bench.day.clocked_store import ClockedStore
from bench.day.ideal import Ideal
from bench.day.measures import Guess, Measures, Moment
from bench.day.population import MEAN_RUN_S, WEIGHTS, Order, Population
from bench.day.worker import LIFE_S, Worker
from bench.fleet.fleet import REQUEST
from jobs.forecast import Forecast
from jobs.requests.generation import GenerationRequest
from jobs.submission import Submission

T = TypeVar("T")
#: Calls within this time are sent together, seconds. What follows from them happens later.
MOMENT_S = 0.2
#: Length of a step of the measurement, seconds.
STEP_S = 60.0
#: Progress is printed each time that so many jobs have ended.
TOLD_EACH = 10_000
#: Waiting jobs whose position is asked for in each step.
ASKED = 20
#: Shares of the jobs that are cancelled, and how long after their submission at most, seconds.
CANCELLED, CANCEL_S = 0.01, 600.0


@dataclass(eq=False)
class Task:
    """A job and what happened to it so far."""

    job_id: str
    order: Order
    submitted_s: float
    worker: Worker | None = None
    attempts: int = 0
    stopped: bool = False
    guesses: list[tuple[str, Guess]] = field(default_factory=list)


@functools.cache
def _request(model: str, steps: int) -> GenerationRequest:
    return dataclasses.replace(REQUEST, model=model, steps=steps)


class Simulation:
    """One day. ``run`` returns when every job has ended.

    Args:
        heartbeat_s: seconds between two heartbeats of a worker.
        life_s: mean time after which a worker dies, seconds.
    """

    def __init__(self, store: ClockedStore, population: Population, heartbeat_s: float, life_s: float = LIFE_S) -> None:
        self.store, self.population = store, population
        # Not the population's generator: the same jobs are submitted, whatever the scheduler and the workers do.
        self.random = random.Random(1)
        self.heartbeat_s, self.life_s = heartbeat_s, life_s
        room_s = STEP_S * population.size.slots / population.size.groups
        self.measures = Measures(Ideal(WEIGHTS, MEAN_RUN_S, room_s))
        self.now_s = self._began_s = float(int(time.time()))
        self._orders_left = True
        self._real_start_s, self._ended = time.monotonic(), 0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        size = population.size
        self._workers: dict[str, Worker] = {}
        self._by_group: list[list[Worker]] = [[] for _ in range(size.groups)]
        for number in range(size.slots):
            slot, group = f"node{number // 8}.gpu{number % 8}", number % size.groups
            self._workers[slot] = Worker(self, slot, group, population.of_group(group))
            self._by_group[group].append(self._workers[slot])
        #: Jobs that have not ended, and those of them that wait, by group.
        self.live: dict[str, Task] = {}
        self._waiting: list[dict[str, Task]] = [{} for _ in range(size.groups)]
        #: When the jobs that slots were given were submitted, by group and in the order in which they were given.
        self._bound: list[list[float]] = [[] for _ in range(size.groups)]
        self._guess_share = min(1.0, 20_000 / size.jobs)

    # ---- time

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now_s + seconds, next(self._numbers), act))

    def later(self, handler: Callable[[Any], None], call: Callable[[], object]) -> None:
        """Call the store with the other calls of this moment."""
        self.store.later(self.now_s, handler, call)

    def call_now(self, call: Callable[[], T]) -> T:
        """Call the store and wait for the answer."""
        self._flush()
        self.store.now_s = self.now_s
        answer = call()
        self._flush()
        return answer

    def run(self) -> Measures:
        orders = self.population.orders()
        for worker in self._workers.values():
            self.after(0.0, worker.register)
        self.after(1.0, lambda: self._submit_next(orders))
        self.after(self.heartbeat_s, self._sweep)
        self.after(STEP_S, self._step)
        while self._orders_left or self.live:
            self._moment()
        self.measures.ideal.compare()
        return self.measures

    def submit_no_more(self) -> None:
        """Cut the day short: what has been submitted still runs."""
        self._orders_left = False

    def _moment(self) -> None:
        began_s = self._agenda[0][0]
        idle_s = self._idle_slots() * (began_s - self.now_s)
        self.measures.idle_s += idle_s
        while self._agenda[0][0] < began_s + MOMENT_S:
            self.now_s, _, act = heapq.heappop(self._agenda)
            act()
        self.now_s = began_s + MOMENT_S
        self._flush()

    def _flush(self) -> None:
        for text in self.store.flush():
            self._event(json.loads(text))

    def _idle_slots(self) -> int:
        """Return how many slots are idle although a job waits that they could run."""
        idle = 0
        for group, waiting in enumerate(self._waiting):
            if waiting and None in [worker.task for worker in self._by_group[group]]:
                free = [worker for worker in self._by_group[group] if worker.task is None and worker.is_alive]
                idle += min(len(free), len(waiting))
        return idle

    # ---- callers

    def _submit_next(self, orders: Iterator[tuple[float, Order]]) -> None:
        at_s, order = next(orders, (0.0, None))
        if order is None or not self._orders_left:
            self.submit_no_more()
            return
        due_s = self._began_s + at_s

        def submit() -> None:
            if self._orders_left:
                self._submit(order)
                self._submit_next(orders)

        heapq.heappush(self._agenda, (max(self.now_s, due_s), next(self._numbers), submit))

    def _submit(self, order: Order) -> None:
        user, now_s = order.user, self.now_s
        task = Task(f"job-{next(self._numbers)}", order, now_s)
        self.live[task.job_id] = task
        self.count("jobs submitted")
        self.measures.ideal.submitted(user.caller.job_class, user.caller.key_id, order.model.group, order.run_s)
        request = _request(order.model.name, order.steps)

        def accepted(reply: Any) -> None:
            assert reply[0] == "ok", reply
            if self.random.random() < self._guess_share:
                self._guess("when submitted", task, Forecast.from_reply(reply[3]), now_s)

        self.later(accepted, lambda: self.store.submit(task.job_id, Submission(request=request, caller=user.caller)))
        if self.random.random() < CANCELLED:
            self.after(self.random.random() * CANCEL_S, lambda: self._cancel(task))

    def _cancel(self, task: Task) -> None:
        if task.job_id not in self.live:
            return

        def cancelled(reply: Any) -> None:
            if not reply[1] and task.worker:
                self.freed(task.worker, task)
            elif reply[1]:
                task.stopped = True
                self._workers[reply[1]].stop(task)

        self.later(cancelled, lambda: self.store.cancel(task.job_id))

    def _guess(self, when: str, task: Task, forecast: Forecast, at_s: float) -> None:
        if forecast.position:
            before = len(self._bound[task.order.model.group])
            task.guesses.append((when, Guess(at_s, forecast.position, forecast.eta_s, before)))

    # ---- what the events tell

    def _event(self, event: dict[str, Any]) -> None:
        task = self.live.get(event["task_id"])
        if task is None:
            return
        state, slot = event["state"], event.get("slot")
        group = task.order.model.group
        if state == "queued" and not slot:
            if task.worker:
                self._requeued(task)
            self._waiting[group][task.job_id] = task
        elif state == "queued" and slot and int(event["attempt"]) > task.attempts:
            self._waiting[group].pop(task.job_id, None)
            task.attempts = int(event["attempt"])
            self._give(task, self._workers[slot])
        elif state not in ("queued", "running", "delivering"):
            self._end(task, state)

    def _give(self, task: Task, worker: Worker) -> None:
        bound = self._bound[worker.group]
        bound.append(task.submitted_s)
        task.worker = worker
        if task.attempts == 1:
            # Each job counts once: if its run is lost, the ideal takes back nothing either.
            caller = task.order.user.caller
            self.measures.ideal.served(caller.job_class, caller.key_id, worker.group, task.order.run_s)
            step = int((self.now_s - self._began_s) / STEP_S)
            self.measures.waits[step, task.order.user.caller.job_class].append(self.now_s - task.submitted_s)
            for when, guess in task.guesses:
                before = bound[guess.bound_before :]
                known = sum(submitted_s <= guess.at_s for submitted_s in before)
                self.measures.places[when].append((guess.position, len(before), known))
        worker.bound(task, task.attempts)

    def _requeued(self, task: Task) -> None:
        self.count("runs lost with their worker")
        if task.worker and task.worker.task is task:
            task.worker.task = None
        task.worker = None

    def _end(self, task: Task, state: str) -> None:
        self.count(f"jobs {state}")
        group, caller = task.order.model.group, task.order.user.caller
        del self.live[task.job_id]
        self._ended += 1
        if self._ended % TOLD_EACH == 0:
            self._tell_progress()
        if self._waiting[group].pop(task.job_id, None) and not task.attempts:
            self.measures.ideal.submitted(caller.job_class, caller.key_id, group, -task.order.run_s)
        if task.worker and task.worker.task is task and not (state == "cancelled" and task.worker.is_alive):
            task.worker.task = None
        if state == "succeeded" and task.attempts == 1:
            for when, guess in task.guesses:
                if guess.eta_s is not None:
                    self.measures.etas[when].append((guess.eta_s, self.now_s - guess.at_s))

    def _tell_progress(self) -> None:
        seconds = time.monotonic() - self._real_start_s
        hours, size = (self.now_s - self._began_s) / 3600, self.population.size
        waiting = sum(map(len, self._waiting))
        print(
            f"{self._ended:,} of {size.jobs:,} jobs ended, {hours:.1f} of {size.day_s / 3600:.1f} h, {waiting:,} wait; "
            f"{seconds:.0f} s, {self._ended / seconds:.0f} jobs/s",
            file=sys.stderr, flush=True,
        )  # fmt: skip

    def finished(self, task: Task, is_current: bool) -> None:
        """A run has ended."""
        self.count("runs finished" if is_current else "runs refused at their end")

    def freed(self, worker: Worker, task: Task) -> None:
        """The slot of a stopped job is free."""
        if worker.task is task:
            worker.task = None

    # ---- regular work

    def _sweep(self) -> None:
        self.call_now(self.store.sweep)
        self.after(self.heartbeat_s, self._sweep)

    def _step(self) -> None:
        measures, workers = self.measures, self._workers.values()
        measures.ideal.step()
        waiting = dict.fromkeys(WEIGHTS, 0)
        for tasks in self._waiting:
            for task in tasks.values():
                waiting[task.order.user.caller.job_class] += 1
        busy = sum(worker.task is not None and worker.is_alive for worker in workers) / len(workers)
        alive = sum(worker.is_alive for worker in workers) / len(workers)
        measures.slot_s += alive * len(workers) * STEP_S
        measures.moments.append(Moment(self.now_s - self._began_s, waiting, busy, alive))
        some = [task for tasks in self._waiting for task in tasks.values()]
        asked = self.random.sample(some, min(ASKED, len(some)))
        forecasts = self.call_now(lambda: self.store.forecast(*(task.job_id for task in asked)))
        for task, forecast in zip(asked, forecasts, strict=True):
            self._guess("while waiting", task, forecast, self.now_s)
        self.after(STEP_S, self._step)

    def count(self, what: str) -> None:
        self.measures.counts[what] += 1
