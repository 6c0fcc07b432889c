"""Webhooks through the complete stack to real receivers: content, signatures, retries, and what callers see of them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests

import framemill
from framemill import webhooks
from framemill.cli import main
from framemill.errors import ApiError, WrongSignature
from tests.support import drawn_models
from tests.support.harness import ENDLESS_STEPS, Stack, wait_for
from tests.support.receiver import SECRET, Receiver, receiving
from tests.support.webhook_calls import OPTIONS, cancelled, log, settled


@pytest.fixture(scope="module")
def io_stack(drawn_models_file: Path) -> Iterator[Stack]:
    """A server without GPU workers: jobs wait until they are cancelled or expire."""
    with drawn_models.stack_in_new_folder(drawn_models_file, "io", **OPTIONS) as stack:
        yield stack


@pytest.fixture(scope="module")
def impatient(drawn_models_file: Path) -> Iterator[Stack]:
    """The same, with a timeout of a second and a long pause between two tries."""
    options = {**OPTIONS, "WEBHOOK_RETRY_S": "4 3600", "WEBHOOK_TIMEOUT_S": 1}
    with drawn_models.stack_in_new_folder(drawn_models_file, "io", **options) as stack:
        yield stack


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


# ---- what arrives


def test_a_job_tells_its_start_and_its_end_with_links_and_without_its_prompt(
    start: Callable[..., Stack], receiver: Receiver
) -> None:
    stack = start("gpu0", "io", **OPTIONS)
    job_id = stack.submit(steps=2, webhook_url=receiver.url, webhook_events=["job.succeeded", "job.started"])
    wait_for(lambda: len(receiver.of(job_id)) == 2, "both events")
    assert receiver.types(job_id) == ["job.started", "job.succeeded"]
    begun, ended = receiver.of(job_id)
    assert begun.id != ended.id
    message, status = ended.json, stack.status(job_id)
    assert message.keys() == {"type", "timestamp", "data"}
    assert message["timestamp"] == status["finished_at"]
    assert (message["data"]["state"], message["data"]["error"]) == ("succeeded", None)
    assert message["data"]["outputs"][0]["url"] == f"https://pictures.example.org/v1/jobs/{job_id}/result?index=0"
    assert message["data"]["links"]["self"] == f"https://pictures.example.org/v1/jobs/{job_id}"
    assert message["data"]["outputs"][0]["sha256"] == status["outputs"][0]["sha256"]
    assert b"red circle" not in ended.body
    assert len(ended.body) < 4096
    assert ended.headers["content-type"] == "application/json"

    # Nobody watches a job without a webhook, and nothing is written for it.
    plain = stack.submit(steps=1)
    stack.wait(plain)
    assert stack.get(f"/v1/jobs/{plain}/webhooks").json() == {
        "job_id": plain, "url": None, "events": [], "deliveries": [],
    }  # fmt: skip
    assert not [name for name in stack.store.client.keys("*hook*") if plain in name]

    failed = stack.submit(steps=ENDLESS_STEPS, max_run_s=0.2, webhook_url=receiver.url)
    wait_for(lambda: receiver.of(failed), "the failure")
    assert receiver.types(failed) == ["job.failed"]
    assert receiver.of(failed)[0].json["data"]["error"]["code"] == "run_timeout"


def test_the_signature_is_that_of_the_specification(io_stack: Stack, receiver: Receiver) -> None:
    job_id = cancelled(io_stack, receiver)
    wait_for(lambda: receiver.of(job_id), "the event")
    message = receiver.of(job_id)[0]
    expected, sent = message.signatures(SECRET)
    assert sent == [expected]
    assert webhooks.verify(SECRET, message.headers, message.body)["type"] == "job.cancelled"
    with pytest.raises(WrongSignature):
        webhooks.verify(SECRET, message.headers, message.body + b" ")
    with pytest.raises(WrongSignature):
        webhooks.verify(SECRET, {**message.headers, "webhook-timestamp": "1"}, message.body)
    with pytest.raises(WrongSignature):
        webhooks.verify(SECRET, {}, message.body)


def test_an_expired_job_is_told_by_the_sweep(io_stack: Stack, receiver: Receiver) -> None:
    job_id = io_stack.submit(webhook_url=receiver.url, start_within_s=0.1)
    wait_for(lambda: receiver.of(job_id), "the event")
    assert receiver.types(job_id) == ["job.expired"]
    assert receiver.of(job_id)[0].json["data"]["error"]["code"] == "expired"


def test_only_the_wanted_events_are_sent(io_stack: Stack, receiver: Receiver) -> None:
    job_id = cancelled(io_stack, receiver, webhook_events=["job.succeeded"])
    assert log(io_stack, job_id) == []
    told = cancelled(io_stack, receiver)
    settled(io_stack, told, "delivered")
    assert receiver.of(job_id) == []


# ---- receivers that do not accept it at once


@pytest.mark.parametrize("bad", [500, 404, (302, {"Location": "/elsewhere"}), (429, {"Retry-After": "0"})])
def test_what_is_refused_or_redirected_is_sent_again_under_the_same_id(
    io_stack: Stack, receiver: Receiver, bad: Any
) -> None:
    receiver.answers = [bad, bad]
    job_id = cancelled(io_stack, receiver)
    delivery = settled(io_stack, job_id, "delivered", tries=3)
    status = bad[0] if isinstance(bad, tuple) else bad
    assert [one["status"] for one in delivery["tries"]] == [status, status, 204]
    assert {message.id for message in receiver.of(job_id)} == {delivery["webhook_id"]}
    assert {message.path for message in receiver.messages} == {"/hook"}
    assert delivery["next_try_at"] is None
    for message in receiver.of(job_id):  # each try is signed for its own time
        expected, sent = message.signatures(SECRET)
        assert sent == [expected]


def test_a_receiver_that_is_not_there_is_tried_as_often_as_set_and_then_by_hand(
    io_stack: Stack, receiver: Receiver
) -> None:
    with receiving() as dead:
        url = dead.url
    job_id = io_stack.submit(webhook_url=url)
    io_stack.cancel(job_id)
    delivery = settled(io_stack, job_id, "pending", tries=6)  # the seventh is an hour away
    assert {one["error"] for one in delivery["tries"]} == {"the connection was refused"}
    assert delivery["next_try_at"] is not None
    assert io_stack.get(f"/v1/jobs/{job_id}/webhooks").json()["url"] == url


def test_a_receiver_that_is_gone_is_not_asked_again(io_stack: Stack, receiver: Receiver) -> None:
    receiver.answers = [410]
    job_id = cancelled(io_stack, receiver)
    assert settled(io_stack, job_id, "gone")["next_try_at"] is None
    assert len(receiver.messages) == 1


@pytest.mark.parametrize("asked", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_receiver_says_when_to_come_back(io_stack: Stack, receiver: Receiver, asked: str) -> None:
    receiver.answers = [(503, {"Retry-After": asked})]
    delivery = settled(io_stack, cancelled(io_stack, receiver), "pending")
    assert delivery["next_try_at"] > delivery["tries"][0]["at"]
    hours = (int(delivery["next_try_at"][11:13]) - int(delivery["tries"][0]["at"][11:13])) % 24
    assert hours == 1  # the longest configured pause, however far away the date is
    assert len(receiver.messages) == 1


def test_an_endless_answer_is_not_read_to_its_end(io_stack: Stack, receiver: Receiver) -> None:
    sent: list[int] = []

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while sum(sent) < 500_000_000:
                sent.append(handler.wfile.write(bytes(65536)))
        except OSError:
            pass

    receiver.answers = [flood]
    settled(io_stack, cancelled(io_stack, receiver), "delivered")
    assert sum(sent) < 500_000_000


def test_an_answer_that_is_none_is_a_failure(io_stack: Stack, receiver: Receiver) -> None:
    receiver.answers = [lambda handler: handler.wfile.write(b"I am no HTTP\r\n\r\n"), lambda handler: None]
    delivery = settled(io_stack, cancelled(io_stack, receiver), "delivered", tries=3)
    assert [bool(one["error"]) for one in delivery["tries"]] == [True, True, False]


def test_receivers_that_hang_delay_no_other_one(io_stack: Stack, receiver: Receiver) -> None:
    with receiving() as slow:
        slow.answers = [slow.hang] * 100
        stuck = [cancelled(io_stack, slow) for _ in range(12)]
        wait_for(lambda: len(slow.messages) == 4, "as many deliveries as one receiver may have")
        fast = [cancelled(io_stack, receiver) for _ in range(12)]
        wait_for(lambda: all(receiver.of(job_id) for job_id in fast), "the events of the other receiver")
        # All of this happens while the first four still hang.
        assert len(slow.messages) == 4
        assert [log(io_stack, job_id)[0]["tries"] for job_id in stuck] == [[]] * 12
        slow.answers.clear()
        slow.released.set()
        for job_id in stuck:
            wait_for(lambda job_id=job_id: log(io_stack, job_id)[0]["state"] == "delivered", "the held up ones")


def test_a_receiver_that_hangs_is_given_up_after_its_time(impatient: Stack, receiver: Receiver) -> None:
    receiver.answers = [receiver.hang]
    delivery = settled(impatient, cancelled(impatient, receiver), "delivered", tries=2)
    assert delivery["tries"][0]["error"] == "no answer within 1 seconds"


def test_a_killed_worker_leaves_its_deliveries_to_the_next_one(impatient: Stack, receiver: Receiver) -> None:
    """One worker is killed between two tries, one in the middle of a try."""
    stack = impatient
    receiver.answers = [500]
    job_id = cancelled(stack, receiver)
    settled(stack, job_id, "pending")
    stack.kill("io")
    stack.worker("io")
    settled(stack, job_id, "delivered", tries=2)

    receiver.answers = [receiver.hang]
    other = cancelled(stack, receiver)
    wait_for(lambda: receiver.of(other), "the try that hangs")
    stack.kill("io")
    stack.worker("io")
    settled(stack, other, "delivered")  # the interrupted try was not recorded
    assert len({message.id for message in receiver.of(other)}) == 1
    assert len(receiver.of(other)) == 2


def test_what_ends_while_no_worker_runs_is_sent_later(io_stack: Stack, receiver: Receiver) -> None:
    stack = io_stack
    stack.kill("io", signal.SIGTERM)
    job_id = cancelled(stack, receiver)
    assert [one["tries"] for one in log(stack, job_id)] == [[]]
    stack.worker("io")
    settled(stack, job_id, "delivered")


# ---- reading and resending


def test_events_are_sent_again_by_route_client_and_command(
    io_stack: Stack, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    job_id = cancelled(io_stack, receiver)
    first = settled(io_stack, job_id, "delivered")
    answer = requests.post(io_stack.url(f"/v1/jobs/{job_id}/webhooks/resend"), timeout=60)
    assert answer.status_code == 200
    assert settled(io_stack, job_id, "delivered", tries=2)["webhook_id"] == first["webhook_id"]
    with framemill.Client(io_stack.url("")) as client:
        client.resend_webhooks(job_id, "job.cancelled")
        settled(io_stack, job_id, "delivered", tries=3)
        with pytest.raises(ApiError) as refused:
            client.resend_webhooks(job_id, "job.failed")
        assert refused.value.code == "conflict"
        with pytest.raises(ApiError) as refused:
            client.resend_webhooks(job_id, "job.lost")
        assert refused.value.code == "invalid_request"
    assert main(["--url", io_stack.url(""), "webhooks", "resend", job_id]) == 0
    settled(io_stack, job_id, "delivered", tries=4)
    capfd.readouterr()
    assert main(["--url", io_stack.url(""), "webhooks", job_id]) == 0
    shown = capfd.readouterr().out.splitlines()
    assert [line.split()[:4] for line in shown[1:]] == [["job.cancelled", "delivered", "4", "204"]]
    assert len({message.id for message in receiver.of(job_id)}) == 1


def test_a_retried_job_has_the_webhook_of_the_first(io_stack: Stack, receiver: Receiver) -> None:
    job_id = cancelled(io_stack, receiver)
    again = requests.post(io_stack.url(f"/v1/jobs/{job_id}/retry"), timeout=60).json()["id"]
    io_stack.cancel(again)
    wait_for(lambda: receiver.of(again), "the event of the second job")
    assert not {message.id for message in receiver.of(job_id)} & {message.id for message in receiver.of(again)}
