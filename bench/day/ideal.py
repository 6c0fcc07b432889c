"""The ideal that fair shares are compared with: GPU time flows to all waiting users at once.

In each step of time, the GPU time that each group of slots spent is divided among the classes by their weights, and
within a class among the users equally, as far as they have jobs for the group (max-min fairness).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

T = TypeVar("T", bound=Hashable)
#: Seconds by who and by group.
Table = dict[T, dict[int, float]]
#: Ideal and real seconds.
Pairs = dict[Any, list[float]]

#: Passes over the groups; each brings the shares closer to max-min fairness over all groups.
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


class Ideal:
    """Follows what users submit and are served, and compares what both sides got while slots were contended.

    Args:
        weights: weight by class.
        job_s: average GPU seconds of a job.
        room_s: GPU seconds that the slots of a group have in a step.
    """

    def __init__(self, weights: Mapping[str, int], job_s: float, room_s: float) -> None:
        self._job_s, self._room_s = job_s, room_s
        self._weights = {name: float(weight) for name, weight in weights.items()}
        #: Seconds of work that users would still wait for: class → user → group.
        self._backlog: dict[str, Table[str]] = {name: defaultdict(lambda: defaultdict(float)) for name in weights}
        self._served: dict[str, Table[str]] = {name: defaultdict(lambda: defaultdict(float)) for name in weights}
        self._capacity: dict[int, float] = defaultdict(float)
        self._steps = 0
        #: GPU seconds of this window in contended steps: (class, user) → ideal, real.
        self._window: Pairs = defaultdict(lambda: [0.0, 0.0])
        #: GPU seconds of all windows: by class; that went to others; … by more than a job; … to other classes.
        self.classes: Pairs = defaultdict(lambda: [0.0, 0.0])
        self._contended_s = self._strayed_s = self._strayed_jobs_s = self._strayed_classes_s = 0.0

    def submitted(self, job_class: str, user: str, group: int, seconds: float) -> None:
        """Note work that begins to wait; negative: that does not wait any more."""
        self._backlog[job_class][user][group] += seconds

    def served(self, job_class: str, user: str, group: int, seconds: float) -> None:
        """Note GPU time that a user got; negative: that was lost with a worker."""
        self._served[job_class][user][group] += seconds
        self._capacity[group] += seconds

    def step(self) -> None:
        """End a step of time."""
        demands = {job_class: _summed(users) for job_class, users in self._backlog.items()}
        by_class = divide(demands, self._weights, self._capacity)
        left = dict(self._capacity)
        enough_s = CONTENDED * self._room_s
        contended = {g for g in self._capacity if sum(of.get(g, 0.0) for of in demands.values()) > enough_s}
        for job_class, users in self._backlog.items():
            wanted = {user: {group: max(0.0, seconds) for group, seconds in of.items()} for user, of in users.items()}
            shares = divide(wanted, dict.fromkeys(users, 1.0), by_class[job_class])
            for user, of in shares.items():
                for group, share in of.items():
                    users[user][group] -= share
                    left[group] = left.get(group, 0.0) - share
                    if group in contended:
                        self._window[job_class, user][0] += share
            for user, of in self._served[job_class].items():
                for group in contended & of.keys():
                    self._window[job_class, user][1] += of[group]
            self._served[job_class].clear()
            _forget_empty(users)
        # What could not be divided, because more was served than was waiting in whole, is divided with the next step.
        self._capacity = defaultdict(float, {group: seconds for group, seconds in left.items() if abs(seconds) > 1e-6})

        self._steps += 1
        if self._steps % WINDOW == 0:
            self.compare()

    def compare(self) -> None:
        """Compare both sides since the last comparison."""
        classes: Pairs = defaultdict(lambda: [0.0, 0.0])
        for (job_class, _), pair in self._window.items():
            for side in (0, 1):
                classes[job_class][side] += pair[side]
                self.classes[job_class][side] += pair[side]
        # What one gets too much, another one gets too little.
        self._contended_s += sum(sum(pair) for pair in classes.values()) / 2
        self._strayed_s += sum(abs(ideal - real) for ideal, real in self._window.values()) / 2
        self._strayed_jobs_s += sum(max(0.0, abs(i - real) - self._job_s) for i, real in self._window.values()) / 2
        self._strayed_classes_s += sum(abs(ideal - real) for ideal, real in classes.values()) / 2
        self._window.clear()

    def deviations(self) -> tuple[float, float, float]:
        """Return the shares of the contended GPU time that others got than in the ideal.

        Returns:
            Between users, between users when one job for each user and window is forgiven, and between classes.
        """
        total_s = self._contended_s or 1.0
        return self._strayed_s / total_s, self._strayed_jobs_s / total_s, self._strayed_classes_s / total_s

    def class_shares(self) -> dict[str, tuple[float, float]]:
        """Return by class the ideal and the real share of the contended GPU time."""
        ideal_s, real_s = (sum(pair[side] for pair in self.classes.values()) or 1.0 for side in (0, 1))
        return {name: (self.classes[name][0] / ideal_s, self.classes[name][1] / real_s) for name in self._weights}


def _summed(users: Table[str]) -> dict[int, float]:
    total: dict[int, float] = defaultdict(float)
    for of in users.values():
        for group, seconds in of.items():
            total[group] += max(0.0, seconds)
    return total


def _forget_empty(users: Table[str]) -> None:
    for user in [user for user, of in users.items() if all(abs(seconds) < 1e-6 for seconds in of.values())]:
        del users[user]
