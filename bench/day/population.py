"""Who submits what and when: models in groups of slots, users with habits, sessions through a day with overload."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from jobs.callers import Caller

#: Weights of the classes, and shares of the users in them.
WEIGHTS = {"general": 1, "premium": 2, "express": 4}
SHARES = {"general": 0.4, "premium": 0.35, "express": 0.25}
#: Average GPU seconds of a job, and share of all GPU time that the jobs of a day need.
MEAN_RUN_S, LOAD = 70.0, 0.81
#: Share of a user's jobs that need a model of another group than the user's own.
AWAY = 0.2
#: Sizes of sessions: probability, fewest and most jobs.
SESSIONS = ((0.7, 1, 4), (0.25, 5, 30), (0.05, 50, 400))
#: Moments of sudden overload, as shares of the day: begin, end, and how much more is submitted.
SURGES = ((0.42, 0.44, 2.5), (0.66, 0.69, 2.5))
STEPS = (20, 50)


@dataclass(frozen=True)
class Size:
    """The size of the service and of its day."""

    slots: int
    users: int
    models: int
    groups: int
    jobs: int

    @property
    def day_s(self) -> float:
        return self.jobs * MEAN_RUN_S / (self.slots * LOAD)


@dataclass(frozen=True)
class Model:
    name: str
    group: int
    #: Seconds per step.
    rate: float


@dataclass(frozen=True)
class User:
    caller: Caller
    #: The two models that the user likes best.
    models: tuple[Model, Model]
    weight: float


@dataclass(frozen=True)
class Order:
    """A job as a user submits it."""

    user: User
    model: Model
    steps: int
    #: How long it will really run, seconds.
    run_s: float


class Population:
    """The models and users of a service."""

    def __init__(self, size: Size, seed: int) -> None:
        self.size, self.random = size, random.Random(seed)
        self.models = [model for group in range(size.groups) for model in self._models(group)]
        self.users = [self._user(number) for number in range(size.users)]

    def of_group(self, group: int) -> list[str]:
        return [model.name for model in self.models if model.group == group]

    def _models(self, group: int) -> list[Model]:
        """Return the models of a group; the average rates of all groups are equal."""
        numbers = range(group, self.size.models, self.size.groups)
        rates = [self.random.lognormvariate(0, 0.7) for _ in numbers]
        scale = MEAN_RUN_S * len(rates) / (sum(rates) * sum(STEPS) / 2)
        return [Model(f"model-{number}", group, rate * scale) for number, rate in zip(numbers, rates, strict=True)]

    def _user(self, number: int) -> User:
        job_class = self.random.choices(list(SHARES), list(SHARES.values()))[0]
        home = number % self.size.groups
        first, second = self.random.choices([model for model in self.models if model.group == home], k=2)
        return User(
            Caller(key_id=f"user-{number}", job_class=job_class), (first, second), self.random.lognormvariate(0, 1)
        )

    def orders(self) -> Iterator[tuple[float, Order]]:
        """Yield the jobs of the day in the order of their times, in seconds since its beginning."""
        day_s, bins = self.size.day_s, 1440
        weights = [_rate(n / bins) for n in range(bins)]
        sizes = self._session_sizes()
        starts = sorted(
            (n + self.random.random()) * day_s / bins for n in self.random.choices(range(bins), weights, k=len(sizes))
        )
        for start_s, jobs in zip(starts, sizes, strict=True):
            user = self._any_user()
            for _ in range(jobs):
                yield start_s, self._order(user)

    def _any_user(self) -> User:
        # By rejection: choices() would add up all weights for each session.
        while True:
            user = self.random.choice(self.users)
            if self.random.random() * 8 < user.weight:
                return user

    def _session_sizes(self) -> list[int]:
        sizes: list[int] = []
        left = self.size.jobs
        while left:
            _, low, high = self.random.choices(SESSIONS, [share for share, *_ in SESSIONS])[0]
            sizes.append(min(left, self.random.randint(low, high)))
            left -= sizes[-1]
        return sizes

    def _order(self, user: User) -> Order:
        model = self.random.choice(self.models if self.random.random() < AWAY else user.models)
        steps = self.random.randint(*STEPS)
        return Order(user, model, steps, model.rate * steps * self.random.uniform(0.9, 1.1))


def _rate(share: float) -> float:
    """Return how much is submitted at a moment of the day, compared with other moments."""
    rate = 1 + 0.7 * math.sin(2 * math.pi * (share - 0.3))
    for begin, end, factor in SURGES:
        rate *= factor if begin <= share < end else 1
    return rate
