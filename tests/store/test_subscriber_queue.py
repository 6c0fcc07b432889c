"""Subscriber queues: what is written to them and when, who owns them, and how much they hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.store import keys
from jobs.store.outgoing.subscriber_queue import SubscriberQueues
from jobs.submission import Subscriber
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]
CORRELATION = {"executor": "kandinsky", "service_info": {"user_id": 1}}


def send(here: StoreDriver, queue: str, **options: object) -> str:
    synced = bool(options.pop("synced", True))
    return here.submit(subscriber=Subscriber(queue, CORRELATION, {"payload": {}}, synced=synced), **options)


def notices(queues: SubscriberQueues, queue: str) -> list[tuple[str, str]]:
    return [(message.job_id, str(message.notice)) for message in queues.read(queue)]


@pytest.fixture
def here(driver: Open) -> StoreDriver:
    return driver()


@pytest.fixture
def queues(here: StoreDriver) -> SubscriberQueues:
    return SubscriberQueues(here.store, "a", "web1")


def test_each_change_is_written_once_and_in_order(here: StoreDriver, queues: SubscriberQueues) -> None:
    (queue,) = queues.acquire()
    first, second = send(here, queue), send(here, queue)
    here.submit()  # of the same service, over another protocol
    here.open()
    here.start()
    here.silence("gpu0")  # its worker dies, and the job runs again
    here.open()
    assert here.take(2) == [first, second]
    messages = notices(queues, queue)
    assert [word for job_id, word in messages if job_id == first] == ["queued", "generating", "ok"]
    assert [word for job_id, word in messages if job_id == second] == ["queued", "generating", "ok"]
    assert queues.read(queue)[0].correlation == CORRELATION


@pytest.mark.parametrize("synced", [True, False])
def test_the_good_end_comes_with_the_upload_or_before_it(
    here: StoreDriver, queues: SubscriberQueues, synced: bool
) -> None:
    (queue,) = queues.acquire()
    job_id = send(here, queue, synced=synced)
    here.open()
    here.start()
    attempt = here.at()[1]
    here.store.finish_run(job_id, attempt, slot="gpu0", node="host", run_s=1)
    assert [word for _, word in notices(queues, queue)][2:] == ([] if synced else ["ok"])
    assert here.store.claim(job_id, attempt, "io")
    assert here.store.deliver(job_id, attempt, "io", [])
    assert [word for _, word in notices(queues, queue)][2:] == ["ok"]


def test_a_job_that_ends_badly_has_one_end(here: StoreDriver, queues: SubscriberQueues) -> None:
    (queue,) = queues.acquire()
    job_id = send(here, queue)
    assert here.store.cancel(job_id)[0]
    assert not here.store.cancel(job_id)[0]
    assert notices(queues, queue) == [(job_id, "queued"), (job_id, "error")]
    assert queues.details(job_id).state == "cancelled"
    here.store.purge(job_id)
    assert notices(queues, queue)[-1] == (job_id, "error")  # the service still waits for it
    assert queues.details(job_id).state == ""


@pytest.mark.parametrize(("slots", "expected"), [(1, [0, 4, 8, 12]), (2, [0, 0, 2, 4]), (0, [4, 8, 12, 16])])
def test_before_any_job_was_measured_each_counts_four_seconds(
    here: StoreDriver, queues: SubscriberQueues, slots: int, expected: list[float]
) -> None:
    """The formula is Devoid Generator's, which begins with durations of 4 s."""
    (queue,) = queues.acquire()
    for number in range(slots):
        here.open(f"gpu{number}")
    assert [queues.details(send(here, queue)).quoted_s for _ in range(4)] == expected


def test_once_jobs_were_measured_the_time_is_the_forecast(here: StoreDriver, queues: SubscriberQueues) -> None:
    (queue,) = queues.acquire()
    here.know(m=10)
    here.open("gpu0")
    assert [queues.details(send(here, queue)).quoted_s for _ in range(2)] == [10, 20]


def test_what_was_sent_is_not_read_again(here: StoreDriver, queues: SubscriberQueues) -> None:
    (queue,) = queues.acquire()
    ids = [send(here, queue) for _ in range(3)]
    queues.acknowledge(queue, queues.read(queue)[0])
    assert [job_id for job_id, _ in notices(queues, queue)] == ids[1:]
    assert len(queues.read(queue, limit=1)) == 1


def test_a_queue_is_bounded_and_keeps_the_newest(driver: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.store.scripts.MAILBOX_LENGTH", 5)
    here = driver()
    queues = SubscriberQueues(here.store, "a", "web1")
    (queue,) = queues.acquire()
    ids = [send(here, queue) for _ in range(8)]
    assert [job_id for job_id, _ in notices(queues, queue)] == ids[3:]


def test_the_next_socket_gets_what_a_closed_one_left(here: StoreDriver, queues: SubscriberQueues) -> None:
    (first,), (second,) = queues.acquire(), queues.acquire()
    assert first != second
    job_id = send(here, first)
    queues.release([first])
    assert SubscriberQueues(here.store, "b", "web1").acquire() not in ([first], [second])
    assert queues.renew() == []  # the queue of the other socket is not lost
    other = SubscriberQueues(here.store, "a", "web2")
    assert other.acquire() == [first]
    assert notices(other, first) == [(job_id, "queued")]
    assert notices(queues, first) == []


def test_queues_of_a_dead_process_are_taken_over(here: StoreDriver, queues: SubscriberQueues) -> None:
    (queue,) = queues.acquire()
    other = SubscriberQueues(here.store, "a", "web2")
    (own,) = other.acquire()
    assert own != queue
    assert other.renew() == []
    here.redis.zadd(keys.WEB_PROCESSES, {"web1": 1})
    assert other.renew() == [queue]
    assert notices(queues, queue) == []
    assert queues.renew() == []
