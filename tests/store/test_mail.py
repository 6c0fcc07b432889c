"""Mailboxes: what is written into them and when, whose they are, and how much they hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.store import keys
from jobs.store.subscriber_queue import Mail, Mailboxes
from tests.support.room import Room

Open = Callable[..., Room]
TICKET = {"executor": "kandinsky", "service_info": {"user_id": 1}}


def send(here: Room, mailbox: str, **options: object) -> str:
    synced = bool(options.pop("synced", True))
    return here.submit(mail=Mail(mailbox, TICKET, {"payload": {}}, synced=synced), **options)


def words(boxes: Mailboxes, mailbox: str) -> list[tuple[str, str]]:
    return [(letter.job_id, letter.word) for letter in boxes.read(mailbox)]


@pytest.fixture
def here(room: Open) -> Room:
    return room()


@pytest.fixture
def boxes(here: Room) -> Mailboxes:
    return Mailboxes(here.store, "a", "web1")


def test_each_change_is_written_once_and_in_order(here: Room, boxes: Mailboxes) -> None:
    (box,) = boxes.join()
    first, second = send(here, box), send(here, box)
    here.submit()  # of the same service, by another way
    here.open()
    here.start()
    here.silence("gpu0")  # its worker dies, and the job runs again
    here.open()
    assert here.take(2) == [first, second]
    told = words(boxes, box)
    assert [word for job_id, word in told if job_id == first] == ["queued", "generating", "ok"]
    assert [word for job_id, word in told if job_id == second] == ["queued", "generating", "ok"]
    assert boxes.read(box)[0].ticket == TICKET


@pytest.mark.parametrize("synced", [True, False])
def test_the_good_end_comes_with_the_upload_or_before_it(here: Room, boxes: Mailboxes, synced: bool) -> None:
    (box,) = boxes.join()
    job_id = send(here, box, synced=synced)
    here.open()
    here.start()
    attempt = here.at()[1]
    here.store.finish_run(job_id, attempt, slot="gpu0", node="host", run_s=1)
    assert [word for _, word in words(boxes, box)][2:] == ([] if synced else ["ok"])
    assert here.store.claim(job_id, attempt, "io")
    assert here.store.deliver(job_id, attempt, "io", [])
    assert [word for _, word in words(boxes, box)][2:] == ["ok"]


def test_a_job_that_ends_badly_has_one_end(here: Room, boxes: Mailboxes) -> None:
    (box,) = boxes.join()
    job_id = send(here, box)
    assert here.store.cancel(job_id)[0]
    assert not here.store.cancel(job_id)[0]
    assert words(boxes, box) == [(job_id, "queued"), (job_id, "error")]
    assert boxes.told(job_id).state == "cancelled"
    here.store.purge(job_id)
    assert words(boxes, box)[-1] == (job_id, "error")  # the service still waits for it
    assert boxes.told(job_id).state == ""


def test_what_was_sent_is_not_read_again(here: Room, boxes: Mailboxes) -> None:
    (box,) = boxes.join()
    ids = [send(here, box) for _ in range(3)]
    boxes.done(box, boxes.read(box)[0])
    assert [job_id for job_id, _ in words(boxes, box)] == ids[1:]
    assert len(boxes.read(box, limit=1)) == 1


def test_a_mailbox_is_bounded_and_keeps_the_newest(room: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.store.scripts.MAILBOX_LENGTH", 5)
    here = room()
    boxes = Mailboxes(here.store, "a", "web1")
    (box,) = boxes.join()
    ids = [send(here, box) for _ in range(8)]
    assert [job_id for job_id, _ in words(boxes, box)] == ids[3:]


def test_the_next_socket_gets_what_a_closed_one_left(here: Room, boxes: Mailboxes) -> None:
    (first,), (second,) = boxes.join(), boxes.join()
    assert first != second
    job_id = send(here, first)
    boxes.leave([first])
    assert Mailboxes(here.store, "b", "web1").join() not in ([first], [second])
    assert boxes.inherit() == []  # the other socket has not lost anything
    other = Mailboxes(here.store, "a", "web2")
    assert other.join() == [first]
    assert words(other, first) == [(job_id, "queued")]
    assert words(boxes, first) == []


def test_mailboxes_of_a_dead_process_are_taken_over(here: Room, boxes: Mailboxes) -> None:
    (box,) = boxes.join()
    other = Mailboxes(here.store, "a", "web2")
    (own,) = other.join()
    assert own != box
    assert other.inherit() == []
    here.redis.zadd(keys.WEBS, {"web1": 1})
    assert other.inherit() == [box]
    assert words(boxes, box) == []
    assert boxes.inherit() == []
