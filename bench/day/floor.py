"""How near to the ideal any scheduler comes that gives whole jobs to slots: ``python -m bench.day.floor``.

The same users submit the same jobs, but the scheduler knows the ideal, and takes the job of the class, and in it of the
user, to whom most is owed. Slots never fail and have all models in memory. What differs from the ideal then is due to
jobs that cannot be divided.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Hashable

from bench.common import table
from bench.day.ideal import Ideal
from bench.day.population import MEAN_RUN_S, WEIGHTS, Order, Population, Size
from bench.day.report import percent
from bench.day.simulation import STEP_S


class Floor:
    """A day of a scheduler that knows the ideal."""

    def __init__(self, size: Size, seed: int) -> None:
        self.ideal = Ideal(WEIGHTS, MEAN_RUN_S, STEP_S * size.slots / size.groups)
        self._orders = Population(size, seed).orders()
        self._idle = [len(range(group, size.slots, size.groups)) for group in range(size.groups)]
        #: By group and class: the waiting jobs of each user.
        self._waiting: list[dict[str, dict[str, deque[Order]]]] = [defaultdict(dict) for _ in range(size.groups)]
        self._agenda: list[tuple[float, int, int, Order | None]] = []
        self._numbers = itertools.count()
        #: Jobs that were submitted and have not ended.
        self._live = 0

    def run(self) -> tuple[float, float, float]:
        """Return the deviations, as :meth:`Ideal.deviations`."""
        step_s, due = STEP_S, next(self._orders, None)
        while due or self._live:
            now_s = min(due[0] if due else float("inf"), self._agenda[0][0] if self._agenda else float("inf"), step_s)
            if now_s == step_s:
                self.ideal.step()
                step_s += STEP_S
            elif due and now_s == due[0]:
                self._submit(due[1])
                self._fill(due[1].model.group, now_s)
                due = next(self._orders, None)
            else:
                group = heapq.heappop(self._agenda)[2]
                self._live -= 1
                self._idle[group] += 1
                self._fill(group, now_s)
        self.ideal.compare()
        return self.ideal.deviations()

    def _submit(self, order: Order) -> None:
        caller, group = order.user.caller, order.model.group
        self.ideal.submitted(caller.job_class, caller.key_id, group, order.run_s)
        self._waiting[group][caller.job_class].setdefault(caller.key_id, deque()).append(order)
        self._live += 1

    def _fill(self, group: int, now_s: float) -> None:
        waiting = self._waiting[group]
        while self._idle[group] and waiting:
            job_class = max(waiting, key=lambda name: (self.ideal.owed_to_class(name), name))
            users = waiting[job_class]
            user = max(users, key=lambda name: (self.ideal.owed_to_user(job_class, name, group), name))
            order = users[user].popleft()
            if not users[user]:
                del users[user]
            if not users:
                del waiting[job_class]
            self._idle[group] -= 1
            self.ideal.served(job_class, user, group, order.run_s)
            heapq.heappush(self._agenda, (now_s + order.run_s, next(self._numbers), group, order))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("jobs", 6000), ("slots", 40), ("users", 300), ("models", 8), ("groups", 4), ("seeds", 6)):
        parser.add_argument(f"--{name}", type=int, default=value)
    o = parser.parse_args()
    size = Size(o.slots, o.users, o.models, o.groups, o.jobs)
    rows: list[tuple[Hashable, ...]] = []
    for seed in range(1, o.seeds + 1):
        users, users_jobs, classes = Floor(size, seed).run()
        rows.append((seed, percent(classes), percent(users_jobs), percent(users)))
    print(table(("seed", "classes", "users of a class, beyond one job", "… in all"), rows))


if __name__ == "__main__":
    main()
