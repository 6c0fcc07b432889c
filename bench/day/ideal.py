"""The ideal that fair shares are compared with: GPU time flows to all who wait at once.

In each step of time, the GPU time that each group of slots spent is divided among the classes by their weights, and
what a class got in each group is divided among its users equally, as far as they have jobs for the group. Shares count
over all groups (max-min fairness). The two levels are compared apart from each other: many divisions of the groups
among the classes give each class the same time in all, so there is no single ideal of how much a class should have got
of one group.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)
#: Seconds by who and by group.
Table = dict[T, dict[int, float]]

#: Passes over the groups; each brings the shares closer to max-min fairness over all groups. More than these change
#: nothing that can be seen in the results.
PASSES = 4
#: Both sides are compared after this many steps, and begin at zero again.
WINDOW = 60
#: A group is contended in a step if this many times as much work waits as its slots can take in the step.
CONTENDED = 2.0


def fill(
    demands: Mapping[T, float], already: Mapping[T, float], weights: Mapping[T, float], amount: float
) -> dict[T, float]:
    """Divide ``amount`` so that totals (``already`` and the new share, by weight) are as equal as demands allow."""
    # Each takes what raises its level from `already` up to the common level, and at most its demand.
    marks: list[tuple[float, float]] = []
    for who, demand in demands.items():
        low = already[who] / weights[who]
        marks += [(low, weights[who]), (low + demand / weights[who], -weights[who])]
    marks.sort()
    level = slope = used = 0.0
    level = marks[0][0] if marks else 0.0
    for mark, change in marks:
        if used + slope * (mark - level) > amount:
            break
        used += slope * (mark - level)
        level, slope = mark, slope + change
    if slope > 1e-12:
        level += (amount - used) / slope
    return {who: min(demand, max(0.0, level * weights[who] - already[who])) for who, demand in demands.items()}


def divide(demands: Table[T], weights: Mapping[T, float], capacity: Mapping[int, float]) -> Table[T]:
    """Divide the capacity of every group; a user's or class's share counts over all groups."""
    shares: Table[T] = {who: dict.fromkeys(of, 0.0) for who, of in demands.items()}
    totals = dict.fromkeys(demands, 0.0)
    by_group: dict[int, dict[T, float]] = defaultdict(dict)
    for who, of in demands.items():
        for group, demand in of.items():
            by_group[group][who] = demand
    for _ in range(PASSES):
        for group, wanted in by_group.items():
            already = {who: totals[who] - shares[who][group] for who in wanted}
            for who, share in fill(wanted, already, weights, capacity.get(group, 0.0)).items():
                totals[who] = already[who] + share
                shares[who][group] = share
    return shares


class Level(Generic[T]):
    """Those who share the GPU time of the groups: what they wait for, what they got, and what they get in the ideal."""

    def __init__(self, weights: Mapping[T, float] | None = None) -> None:
        self._weights = weights
        #: Seconds of work that they would still wait for.
        self._backlog: Table[T] = defaultdict(lambda: defaultdict(float))
        self._served: Table[T] = defaultdict(lambda: defaultdict(float))
        self._capacity: dict[int, float] = defaultdict(float)
        #: GPU seconds that they got in the ideal, less what they really got.
        self.owed: Table[T] = defaultdict(lambda: defaultdict(float))
        #: GPU seconds in contended steps since the last comparison: ideal, real.
        self.window: dict[T, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def submitted(self, who: T, group: int, seconds: float) -> None:
        self._backlog[who][group] += seconds

    def served(self, who: T, group: int, seconds: float) -> None:
        self._served[who][group] += seconds
        self._capacity[group] += seconds
        self.owed[who][group] -= seconds

    def contended(self, enough_s: float) -> set[int]:
        """Return the groups that got work and for which more than these seconds of it wait."""
        waiting: dict[int, float] = defaultdict(float)
        for of in self._backlog.values():
            for group, seconds in of.items():
                waiting[group] += max(0.0, seconds)
        return {group for group in self._capacity if waiting[group] > enough_s}

    def step(self, contended: set[int]) -> None:
        """Divide what was served since the last step."""
        wanted = {who: {group: max(0.0, s) for group, s in of.items()} for who, of in self._backlog.items()}
        left = dict(self._capacity)
        for who, of in divide(wanted, self._weights or dict.fromkeys(wanted, 1.0), self._capacity).items():
            for group, share in of.items():
                self._backlog[who][group] -= share
                self.owed[who][group] += share
                left[group] = left.get(group, 0.0) - share
                if group in contended:
                    self.window[who][0] += share
        for who, of in self._served.items():
            for group in contended & of.keys():
                self.window[who][1] += of[group]
        self._served.clear()
        # What could not be divided, because more was served than was waiting in whole, is divided with the next step.
        self._capacity = defaultdict(float, {group: seconds for group, seconds in left.items() if abs(seconds) > 1e-6})
        for who in [who for who, of in self._backlog.items() if all(abs(seconds) < 1e-6 for seconds in of.values())]:
            del self._backlog[who]


class Ideal:
    """Follows what users submit and are served, and compares what both sides got while slots were contended.

    Args:
        weights: weight by class.
        job_s: average GPU seconds of a job.
        room_s: GPU seconds that the slots of a group have in a step.
    """

    def __init__(self, weights: Mapping[str, float], job_s: float, room_s: float) -> None:
        self._job_s, self._room_s = job_s, room_s
        self._by_class: Level[str] = Level(weights)
        self._users: dict[str, Level[str]] = {name: Level() for name in weights}
        self._steps = 0
        #: GPU seconds of all windows by class: ideal, real.
        self._classes: dict[str, list[float]] = {name: [0.0, 0.0] for name in weights}
        #: GPU seconds in all; that went to other classes; to other users; … by more than a job.
        self._contended_s = self._classes_s = self._users_s = self._users_jobs_s = 0.0

    def submitted(self, job_class: str, user: str, group: int, seconds: float) -> None:
        """Note work that begins to wait; negative: that does not wait any more."""
        self._by_class.submitted(job_class, group, seconds)
        self._users[job_class].submitted(user, group, seconds)

    def served(self, job_class: str, user: str, group: int, seconds: float) -> None:
        """Note GPU time that a user got, once for each job, also if a run of it is lost."""
        self._by_class.served(job_class, group, seconds)
        self._users[job_class].served(user, group, seconds)

    def owed_to_class(self, job_class: str) -> float:
        """Return the GPU seconds that a class got too little so far, in all groups."""
        return sum(self._by_class.owed[job_class].values())

    def owed_to_user(self, job_class: str, user: str, group: int) -> float:
        """Return the GPU seconds of a group that a user got too little so far, of what the class got there."""
        return self._users[job_class].owed[user][group]

    def step(self) -> None:
        """End a step of time."""
        contended = self._by_class.contended(CONTENDED * self._room_s)
        self._by_class.step(contended)
        for users in self._users.values():
            users.step(contended)
        self._steps += 1
        if self._steps % WINDOW == 0:
            self.compare()

    def compare(self) -> None:
        """Compare both sides since the last comparison."""
        # What one gets too much, another one gets too little.
        for name, pair in self._by_class.window.items():
            self._contended_s += sum(pair) / 2
            self._classes_s += abs(pair[0] - pair[1]) / 2
            for side in (0, 1):
                self._classes[name][side] += pair[side]
        for users in self._users.values():
            for ideal_s, real_s in users.window.values():
                self._users_s += abs(ideal_s - real_s) / 2
                self._users_jobs_s += max(0.0, abs(ideal_s - real_s) - self._job_s) / 2
            users.window.clear()
        self._by_class.window.clear()

    def deviations(self) -> tuple[float, float, float]:
        """Return the shares of the contended GPU time that others got than in the ideal.

        Returns:
            Between users of a class, between them when one job for each user and window is forgiven, and between
            classes.
        """
        total_s = self._contended_s or 1.0
        return self._users_s / total_s, self._users_jobs_s / total_s, self._classes_s / total_s

    def class_shares(self) -> dict[str, tuple[float, float]]:
        """Return by class the ideal and the real share of the contended GPU time."""
        ideal_s, real_s = (sum(pair[side] for pair in self._classes.values()) or 1.0 for side in (0, 1))
        return {name: (pair[0] / ideal_s, pair[1] / real_s) for name, pair in self._classes.items()}
