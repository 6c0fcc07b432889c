"""Requests that wait for several jobs: which connection holds one, and whether an equal body is a repeat."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from jobs.store import keys
from jobs.store.held_requests import Claim, HeldRequest, HeldRequests, renew_claims
from tests.support.store_driver import OWNER, StoreDriver

Open = Callable[..., StoreDriver]


class Requests:
    """The four scripts, with defaults for the arguments that a test does not check."""

    def __init__(self, here: StoreDriver) -> None:
        self.here = here
        self.script = here.store.script

    def open(self, id: str, holder: str = "h1", **options: Any) -> Any:
        values = {"digest": "d", "forced": 0, "random": 0, "jobs": f'["{id}-0"]', "seed": 7, "claim_ms": 9000,
                  "kept_ms": 60_000, "repeat_ms": 60_000, "tickets": {}, **options}  # fmt: skip
        return self.script("held_request_open", key="a", id=id, holder=holder, **values)

    def renew(self, id: str, holder: str = "h1", answered: int = 0) -> int:
        [newest] = self.script("held_request_renew", claim_ms=9000, claims=["a", id, holder, answered])
        return int(newest)

    def end(self, id: str, how: str, holder: str = "h1") -> int:
        return int(self.script("held_request_end", key="a", id=id, holder=holder, how=how))

    def interrupt(self, id: str, job: str = "j", picture: str = "image/png AAAA") -> int:
        return int(self.script("held_request_interrupt", key="a", id=id, job=job, picture=picture))

    def lapse(self, id: str, ago_s: float = 1) -> None:
        self.here.redis.hset(f"{keys.HELD_REQUEST}a:{id}", "until", int((time.time() - ago_s) * 1000))


@pytest.fixture
def requests(driver: Open) -> Requests:
    return Requests(driver())


def test_an_equal_body_waits_until_the_holder_has_answered(requests: Requests) -> None:
    assert requests.open("one") == ["new"]
    status, [other, ticket] = requests.open("two", "h2")
    assert (status, other, ticket) == ("wait", "one", "1")
    assert requests.open("two", "h2", tickets={"one": 1}) == ["wait", ["one", "1"]]  # pinged only once
    assert requests.renew("one") == 1
    assert requests.renew("one", answered=1) == 1
    assert requests.open("two", "h2", tickets={"one": 1}) == ["new"]  # both connections are alive: two requests


def test_requests_are_listed_by_what_their_jobs_do(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    here = requests.here
    here.open("gpu0")
    monkeypatch.setattr("jobs.store.held_requests.LISTED_PER_CALL", 2)  # so that they need several calls
    for number, name in enumerate(["over", "started", "gone", "waiting", "unsent"]):
        requests.open(name, digest=name)
        here.redis.zincrby(f"{keys.HELD_REQUESTS}a", 1000 * number, name)  # none in the same millisecond
        if name != "unsent":
            here.submit(job_id=f"{name}-0")
    here.store.cancel("over-0")
    assert here.store.start("started-0", 1, slot="gpu0", owner=OWNER, device="cpu", run="r")
    here.redis.delete(f"{keys.HELD_REQUEST}a:gone")
    held = HeldRequests(here.store, "a")
    assert [one.request_id for one in held.all()] == ["over", "started", "waiting", "unsent"]
    assert held.waiting() == ["waiting", "unsent"]
    assert [one.request_id for one in held.all()] == ["started", "waiting", "unsent"]


def test_an_equal_body_takes_over_a_request_whose_holder_is_gone(requests: Requests) -> None:
    requests.open("one")
    requests.lapse("one")
    assert requests.open("two", "h2") == ["repeat", "one", '["one-0"]', "7", ""]
    assert requests.renew("one") == -1
    assert requests.end("one", "leave") == 0
    assert requests.renew("one", "h2") == 0
    assert requests.end("one", "leave", "h2") == 1
    assert requests.open("three", "h3")[:2] == ["repeat", "one"]


def test_a_request_that_was_lost_long_ago_is_not_repeated(requests: Requests) -> None:
    requests.open("one")
    requests.lapse("one", ago_s=58)
    assert requests.open("two", "h2")[:2] == ["repeat", "one"]
    requests.lapse("one", ago_s=62)
    assert requests.open("three", "h3") == ["new"]


def test_a_holder_finds_its_own_request_again(requests: Requests) -> None:
    requests.open("one")
    assert requests.open("one") == ["repeat", "one", '["one-0"]', "7", ""]
    assert requests.open("two") == ["repeat", "one", '["one-0"]', "7", ""]  # the same connection asks again


@pytest.mark.parametrize("how", ["deliver", "drop"])
def test_an_equal_body_is_a_new_request_after_the_end(requests: Requests, how: str) -> None:
    requests.open("one")
    assert requests.end("one", how, "h2") == 0
    assert requests.end("one", how) == 1
    assert requests.open("two", "h2") == ["new"]
    assert requests.here.redis.zrange(keys.HELD_REQUESTS + "a", 0, -1) == ["two"]


def test_an_id_that_the_client_chose_decides_alone(requests: Requests) -> None:
    assert requests.open("one", forced=1) == ["new"]
    assert requests.open("two", "h2", forced=1) == ["new"]  # an equal body
    assert requests.end("one", "deliver", "any") == 1
    assert requests.open("one", "h3", forced=1)[0] == "repeat"  # the same response again
    requests.here.redis.hset(f"{keys.HELD_REQUEST}a:one", "until", 9e15)
    assert requests.open("one", "h3", forced=1, random=1)[0] == "repeat"  # another connection waits for it
    requests.lapse("one")
    assert requests.open("one", "h3", forced=1, random=1) == ["new"]  # another seed
    requests.here.redis.hset(f"{keys.HELD_REQUEST}a:one", "until", 9e15)
    assert requests.open("one", "h3", forced=1, digest="other") == ["mismatch"]  # a client waits for it
    requests.lapse("one")
    job_id = requests.here.submit(job_id="one-0")
    assert requests.open("one", "h3", forced=1, digest="other") == ["mismatch"]  # its job has not finished
    requests.here.store.cancel(job_id)
    assert requests.open("one", "h3", forced=1, digest="other") == ["new"]


def test_a_stopped_job_leaves_its_picture_and_the_body_is_free(requests: Requests) -> None:
    assert requests.interrupt("none") == 0
    requests.open("one")
    assert requests.interrupt("one") == 1
    assert requests.here.redis.hget(f"{keys.HELD_REQUEST}a:one", "stopped:j") == "image/png AAAA"
    assert requests.open("two", "h2") == ["new"]
    assert requests.renew("one") == 0  # still held


def test_a_repeat_that_waited_takes_over_what_was_interrupted_meanwhile(requests: Requests) -> None:
    requests.open("one")
    assert requests.open("two", "h2") == ["wait", ["one", "1"]]
    requests.interrupt("one")
    assert requests.open("two", "h2", tickets={"one": 1}) == ["wait", ["one", "1"]]  # its holder may still live
    assert requests.open("three", "h3") == ["new"]  # came after the stop
    requests.end("three", "drop", "h3")
    requests.lapse("one")
    assert requests.open("two", "h2", tickets={"one": 1}) == ["repeat", "one", '["one-0"]', "7", "1"]
    assert requests.end("one", "deliver", "h2") == 1
    assert requests.open("two", "h2", tickets={"one": 1}) == ["new"]


def test_the_repeat_of_an_interrupted_request_whose_holder_lives_is_a_new_one(requests: Requests) -> None:
    requests.open("one")
    requests.open("two", "h2")
    requests.interrupt("one")
    requests.renew("one", answered=1)
    assert requests.open("two", "h2", tickets={"one": 1}) == ["new"]


def test_a_forgotten_request_is_no_repeat(requests: Requests) -> None:
    requests.open("one")
    requests.here.redis.delete(f"{keys.HELD_REQUEST}a:one")
    assert requests.open("two", "h2") == ["new"]
    assert requests.here.redis.smembers(f"{keys.REPEATABLE_REQUESTS}a:d") == {"two"}


def test_many_claims_are_renewed_in_one_call(requests: Requests) -> None:
    for name in ("one", "two", "three"):
        requests.open(name, digest=name)
        requests.lapse(name)
    requests.open("four", "h4", digest="two")  # takes over the second one
    held = [HeldRequest("a", name, (), 0, holder="h1") for name in ("one", "two", "three")]
    before = requests.here.redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert renew_claims(requests.here.store, [Claim(one) for one in held]) == [0, -1, 0]
    assert requests.here.redis.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 1
    assert requests.open("five", "h5", digest="one")[0] != "repeat"
