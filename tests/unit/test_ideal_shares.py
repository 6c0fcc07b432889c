"""The ideal of fair shares that ``bench/day`` compares the scheduler with."""

from __future__ import annotations

import pytest

from bench.day.floor import Floor
from bench.day.ideal import WINDOW, Ideal, divide
from bench.day.population import Size


def test_demands_that_are_small_are_met_and_the_rest_is_divided_equally() -> None:
    demands = {"a": {0: 1.0}, "b": {0: 10.0}, "c": {0: 10.0}}
    shares = divide(demands, dict.fromkeys(demands, 1.0), {0: 9.0})
    assert [shares[who][0] for who in "abc"] == pytest.approx([1, 4, 4])


def test_shares_follow_the_weights() -> None:
    shares = divide({"a": {0: 99.0}, "b": {0: 99.0}}, {"a": 1.0, "b": 3.0}, {0: 8.0})
    assert [shares["a"][0], shares["b"][0]] == pytest.approx([2, 6])


def test_who_may_use_two_groups_leaves_the_contended_one_to_others() -> None:
    demands = {"a": {0: 10.0}, "b": {0: 10.0, 1: 10.0}}
    shares = divide(demands, dict.fromkeys(demands, 1.0), {0: 10.0, 1: 10.0})
    assert sum(shares["a"].values()) == pytest.approx(10)
    assert sum(shares["b"].values()) == pytest.approx(10)


@pytest.mark.parametrize(("of_a", "deviation"), [(50.0, 0.0), (80.0, 0.3)])
def test_what_one_user_gets_too_much_is_the_deviation(of_a: float, deviation: float) -> None:
    ideal = Ideal({"general": 1}, job_s=1, room_s=100)
    for user in "ab":
        ideal.submitted("general", user, 0, 1e6)
    for _ in range(WINDOW):
        ideal.served("general", "a", 0, of_a)
        ideal.served("general", "b", 0, 100 - of_a)
        ideal.step()
    by_user, beyond_a_job, by_class = ideal.deviations()
    assert by_user == pytest.approx(deviation)
    assert beyond_a_job == pytest.approx(max(0.0, deviation - 1 / (100 * WINDOW)))
    assert by_class == 0


def test_a_day_without_contention_has_no_deviation() -> None:
    ideal = Ideal({"general": 1}, job_s=1, room_s=100)
    ideal.submitted("general", "a", 0, 150)
    ideal.served("general", "a", 0, 100)
    ideal.step()
    ideal.compare()
    assert ideal.deviations() == (0, 0, 0)


def test_users_are_compared_with_what_their_class_got_in_each_group() -> None:
    """Each class got a group for itself, which is as good a division as half of each group."""
    ideal = Ideal({"general": 1, "premium": 1}, job_s=1, room_s=10)
    for job_class in ("general", "premium"):
        for group in (0, 1):
            ideal.submitted(job_class, f"{job_class}-{group}", group, 1e6)
            ideal.submitted(job_class, f"{job_class}-both", group, 1e6)
    for _ in range(WINDOW):
        for group, job_class in enumerate(("general", "premium")):
            for user in ("both", str(group)):
                ideal.served(job_class, f"{job_class}-{user}", group, 5)
        ideal.step()
    by_user, _, by_class = ideal.deviations()
    assert (by_user, by_class) == (pytest.approx(0), pytest.approx(0))


def test_a_scheduler_that_knows_the_ideal_comes_near_to_it() -> None:
    users, beyond_a_job, classes = Floor(Size(slots=8, users=40, models=4, groups=2, jobs=800), seed=1).run()
    assert 0 < users < 0.1
    assert beyond_a_job < users
    assert classes < 0.03
