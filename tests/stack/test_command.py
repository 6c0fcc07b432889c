"""The command and the client against the real server: keys, limits, isolation, operation, following."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

import framemill
from app.auth import refuse_open_address
from framemill.cli import main
from framemill.errors import ApiError, JobCancelled
from framemill.records import Job
from jobs.store.api_keys import KeyRing
from tests.support.harness import ENDLESS_STEPS, Stack, running

TINY = {"model": "tiny-image", "steps": 1}


class Result(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """``command(stack, *words, key=secret)``: run ``framemill``."""

    def run(stack: Stack, *words: str, key: str = "") -> Result:
        capfd.readouterr()
        code = main(["--url", stack.url(""), *(["--api-key", key] if key else []), *words])
        return Result(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="module")
def house(models_file: Path) -> Iterator[Stack]:
    """A server with keys and without workers: jobs wait. Its admin's key is ``house.secrets["ops"]``."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with running(folder, models_file, MAX_ATTEMPTS=1) as stack:
        with framemill.Client(stack.url("")) as client:
            secrets = {"ops": client.create_key("ops", role="admin").secret or ""}
        with framemill.Client(stack.url(""), secrets["ops"]) as client:
            for service in ("alice", "bob"):
                secrets[service] = client.create_key(service).secret or ""
        stack.secrets = secrets  # type: ignore[attr-defined]
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


def secret(house: Stack, service: str) -> str:
    return str(house.secrets[service])  # type: ignore[attr-defined]


@pytest.fixture
def key(house: Stack) -> Iterator[Callable[..., framemill.Client]]:
    """``key("name", max_waiting=1)``: a client with a new key (or a known one, without limits)."""
    with framemill.Client(house.url(""), secret(house, "ops")) as ops:
        made, opened = [], []

        def open_(service: str, **fields: object) -> framemill.Client:
            if service in house.secrets:  # type: ignore[attr-defined]
                found = secret(house, service)
            else:
                found = ops.create_key(service, **fields).secret or ""  # type: ignore[arg-type]
                made.append(service)
            opened.append(framemill.Client(house.url(""), found))
            return opened[-1]

        yield open_
        for client in opened:
            client.close()
        for service in made:
            ops.revoke_key(service)


Key = Callable[..., framemill.Client]


def refused(call: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value


# ---- keys


def test_from_the_first_key_to_the_last(start: Callable[..., Stack], command: Command) -> None:
    stack = start()
    open_address = stack.settings.replace(host="0.0.0.0")
    with pytest.raises(SystemExit, match="keys create"):
        refuse_open_address(open_address)
    assert "everybody" in command(stack, "keys", "list").err
    refusal = command(stack, "keys", "create", "shop")
    assert (refusal.code, refusal.out) == (3, "")
    assert "role: must be admin for the first key" in refusal.err
    assert command(stack, "models").code == 0

    created = command(stack, "keys", "create", "ops", "--role", "admin")
    ops = created.out.strip()
    assert re.fullmatch(r"fm_[\w-]{43}", ops)
    assert "shown this once" in created.err
    assert ops not in created.err
    refuse_open_address(open_address)

    keyless = command(stack, "models")
    assert (keyless.code, keyless.err) == (
        3,
        "framemill: the server needs an API key: set FRAMEMILL_API_KEY or give --api-key\n",
    )
    assert stack.get("/v1/models").headers["WWW-Authenticate"] == "Bearer"
    assert stack.get("/healthz").status_code == 200
    assert "unknown or was revoked" in command(stack, "models", key="fm_guessed").err

    words = ("--class", "premium", "--max-waiting", "5", "--max-running", "2", "--max-per-minute", "60")
    words += ("--model", "tiny-image", "--model", "tiny-video", "--endpoint", "/v1/jobs", "--endpoint", "/v1/models")
    made = json.loads(command(stack, "--json", "keys", "create", "shop", *words, key=ops).out)
    assert made.pop("secret").startswith("fm_")
    assert made == {
        "service": "shop", "role": "client", "class": "premium", "max_waiting": 5, "max_running": 2,
        "max_per_minute": 60, "models": ["tiny-image", "tiny-video"], "endpoints": ["/v1/jobs", "/v1/models"],
        "may_skip_moderation": False, "retention": "", "webhook": None,
    }  # fmt: skip
    assert "shop" in command(stack, "keys", "create", "shop", key=ops).err  # there is one
    shop = command(stack, "keys", "create", "mail", key=ops).out.strip()
    table = command(stack, "keys", "list", key=ops).out
    assert [line.split()[:3] for line in table.splitlines()[1:]] == [
        ["mail", "client", "general"],
        ["ops", "admin", "general"],
        ["shop", "client", "premium"],
    ]
    assert ops not in table

    assert command(stack, "models", key=shop).code == 0
    assert command(stack, "keys", "list", key=shop).err == (
        "framemill: not allowed with this API key: this needs an admin's key\n"
    )
    assert command(stack, "keys", "revoke", "mail", key=ops).out == "the key of mail was revoked\n"
    assert command(stack, "models", key=shop).code == 3
    assert command(stack, "keys", "revoke", "mail", key=ops).code == 3


def test_keys_of_the_environment_open_the_server_to_others(start: Callable[..., Stack], command: Command) -> None:
    ops, shop = "ops-secret-0123456789", "shop-secret-0123456789"
    stack = start(HOST="0.0.0.0", API_KEYS=f"ops:{ops}:admin, shop:{shop}:client:premium")
    assert command(stack, "models").code == 3
    assert command(stack, "models", key=shop).code == 0
    keys = json.loads(command(stack, "--json", "keys", "list", key=ops).out)["keys"]
    assert [(key["service"], key["role"], key["class"]) for key in keys] == [
        ("ops", "admin", "general"),
        ("shop", "client", "premium"),
    ]
    # What the next start does with a changed secret: it replaces the old one, and other keys stay.
    KeyRing(stack.store).seed(["shop:another-secret-0123456789"])
    assert command(stack, "models", key=shop).code == 3
    assert command(stack, "models", key="another-secret-0123456789").code == 0
    KeyRing(stack.store).seed(["shop:another-secret-0123456789:client:premium"])  # the same secret, another class
    assert command(stack, "models", key="another-secret-0123456789").code == 0
    assert command(stack, "keys", "list", key=ops).code == 0


def test_a_client_sees_and_stops_its_own_jobs_only(house: Stack, key: Key) -> None:
    alice, bob, ops = key("alice"), key("bob"), key("ops")
    other = alice.submit(**TINY).id
    since = next(iter(ops.follow(other))).event_id
    own = bob.submit(**TINY).id
    calls: list[Callable[[], object]] = [
        lambda: bob.get(other), lambda: bob.cancel(other), lambda: bob.result(other), lambda: bob.retry(other),
        lambda: next(iter(bob.follow(other))),
    ]  # fmt: skip
    for call in calls:
        error = refused(call)
        assert (error.status, error.code) == (404, "job_not_found")
        assert str(error) == str(refused(lambda: bob.get("no-such-job"))).replace("no-such-job", other)
    assert refused(lambda: bob.front(own)).status == 403
    assert bob.cancel_all() == ()
    page = bob.list()
    assert ([job.id for job in page.jobs], page.total) == ([own], 1)
    assert refused(lambda: bob.list(after=other)).code == "invalid_request"
    assert {job.id for job in ops.list().jobs} >= {other, own}

    assert alice.get(other).state == "queued"
    assert ops.cancel(other).cancelled
    assert bob.cancel(own).cancelled
    # The stream of a key holds nothing of others, whether replayed or live; an admin's holds all.
    seen = [event for _, event in zip(range(2), bob.events(since), strict=False)]
    assert [(event.job.id, event.job.state) for event in seen] == [(own, "queued"), (own, "cancelled")]
    every = [event.job.id for _, event in zip(range(3), ops.events(since), strict=False)]
    assert {other, own} <= set(every)


def test_events_arrive_while_they_happen(house: Stack, key: Key) -> None:
    alice = key("alice")
    job = alice.submit(**TINY).id
    following = alice.follow(job)
    assert next(following).name == "status"
    alice.cancel(job)
    *before, last = [(event.name, event.job.state) for event in following]
    assert last == ("end", "cancelled")
    assert set(before) <= {("state", "queued")}  # its acceptance may be told late


def test_limits_of_a_key(house: Stack, key: Key) -> None:
    narrow, slow, free = key("narrow", max_waiting=1), key("slow", max_per_minute=1), key("alice")
    first = narrow.submit(**TINY)
    error = refused(lambda: narrow.submit(**TINY))
    assert (error.status, error.code) == (429, "queue_full")
    assert (error.retry_after_s or 0) > 0
    narrow.cancel(first.id)
    narrow.cancel(narrow.submit(**TINY).id)
    # Two may be accepted where a minute ends.
    error = refused(lambda: [slow.submit(**TINY) for _ in range(3)])
    assert (error.status, error.code) == (429, "queue_full")
    assert 0 < (error.retry_after_s or 0) <= 60
    free.cancel(free.submit(**TINY).id)  # others are not concerned


def test_what_a_key_may_use(house: Stack, key: Key) -> None:
    general, premium, worker = key("alice"), key("vip", job_class="premium"), key("gpu-host", role="worker")
    assert refused(lambda: general.submit(**TINY, job_class="premium")).status == 403
    assert premium.submit(**TINY).raw["class"] == "premium"
    assert premium.submit(**TINY, job_class="general").raw["class"] == "general"
    for call in (worker.models, worker.list, worker.keys, lambda: worker.submit(**TINY)):
        assert "worker" in str(refused(call))
    narrow = key("narrow", models=["tiny-image"], endpoints=["/v1/jobs"])
    assert refused(lambda: narrow.submit(model="tiny-video")).status == 403
    assert refused(narrow.models).status == 403
    assert narrow.submit(**TINY).state == "queued"


def test_a_revoked_key_is_refused_at_once(house: Stack, key: Key) -> None:
    ops = key("ops")
    with framemill.Client(house.url(""), ops.create_key("gone").secret) as gone:
        job = gone.submit(**TINY).id
        ops.revoke_key("gone")
        assert refused(lambda: gone.get(job)).status == 401
    assert ops.get(job).state == "queued"  # its jobs stay
    ops.cancel(job)


def test_an_idempotent_submit(house: Stack, key: Key, command: Command) -> None:
    alice, bob = key("alice"), key("bob")
    first = alice.submit(**TINY, prompt="one", idempotency_key="order-1")
    again = alice.submit(**TINY, prompt="one", idempotency_key="order-1")
    assert (again.id, again.request) == (first.id, first.request)
    error = refused(lambda: alice.submit(**TINY, prompt="two", idempotency_key="order-1"))
    assert (error.status, error.code) == (409, "idempotency_mismatch")
    # Keys of different services are different.
    assert bob.submit(**TINY, prompt="one", idempotency_key="order-1").id != first.id
    words = ("submit", "--model", "tiny-image", "--idempotency-key", "order-2", "--priority", "3", "--max-run", "60")
    ids = {command(house, *words, key=secret(house, "alice")).out for _ in range(2)}
    assert len(ids) == 1
    assert alice.get(ids.pop().strip()).raw["priority"] == 3


def test_a_dead_letter_is_sent_again(house: Stack, command: Command) -> None:
    ops = secret(house, "ops")
    house.store.pause("far.gpu0")
    assert house.store.register("far.gpu0", "far:1:1", {"models": '["tiny-image"]', "node": "far"}) == []
    job_id = command(house, "submit", "--model", "tiny-image", key=ops).out.strip()
    assert command(house, "front", job_id, key=ops).out == f"{job_id}: position 1\n"
    house.store.pause("far.gpu0", resume=True)
    assert house.store.start(job_id, 1, slot="far.gpu0", owner="far:1:1", device="cpu", run="1")
    house.store.lose(job_id, 1)

    assert "worker died" in command(house, "dead", key=ops).out
    house.store.leave("far.gpu0", "far:1:1")
    again = command(house, "retry", job_id, key=ops).out.strip()
    assert json.loads(command(house, "--json", "status", again, key=ops).out)["state"] == "queued"
    assert "there are none" in command(house, "dead", key=ops).err
    assert command(house, "front", job_id, key=ops).code == 3


# ---- operation, with a worker


def test_pause_front_and_resume(stack: Stack, command: Command) -> None:
    blocker = stack.endless()
    first, second = stack.submit(steps=1), stack.submit(steps=1)
    assert command(stack, "front", second).out == f"{second}: position 1\n"
    assert command(stack, "front", blocker).code == 3
    try:
        assert command(stack, "pause").out == "paused: the whole queue\n"
        assert command(stack, "pause", "gpu0").out == "paused: the whole queue, gpu0\n"
        assert "slot: must be one of" in command(stack, "pause", "gpu77").err
        assert command(stack, "cancel", blocker).code == 0
        service = command(stack, "service").out
        assert re.search(r"queue +2 queued", service)
        assert re.search(r"paused +the whole queue, gpu0", service)
        assert re.search(r"needs +resume of", command(stack, "status", first).out)
        assert command(stack, "resume", "gpu0").out == "paused: the whole queue\n"
        assert stack.status(second)["state"] == "queued"
    finally:
        command(stack, "resume", "gpu0")
        assert command(stack, "resume").out == "paused: nothing\n"
    started = [stack.wait(job_id)["started_at"] for job_id in (second, first)]
    assert started == sorted(started)
    assert re.search(r"\ngpu0 +\w+ +cpu ", command(stack, "service").out)


def test_retry(stack: Stack, command: Command) -> None:
    stopped = stack.endless(seed=5)
    assert command(stack, "retry", stopped).code == 3
    stack.cancel(stopped)
    again = command(stack, "retry", stopped).out.strip()
    assert stack.status(again)["request"]["seed"] == 5
    assert command(stack, "cancel", again).code == 0
    done = stack.submit(steps=1)
    stack.wait(done)
    assert "succeeded" in command(stack, "retry", done).err


def test_follow_prints_steps_until_the_end(stack: Stack, command: Command) -> None:
    job_id = stack.submit(steps=ENDLESS_STEPS)

    def stop_after_some_steps() -> None:
        for _ in range(3):
            step = stack.status(job_id)["progress"]["step"]
            stack.wait_until(job_id, lambda view, step=step: view["progress"]["step"] > step, "more steps")
        time.sleep(0.5)
        stack.cancel(job_id)

    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(stop_after_some_steps)
        followed = command(stack, "follow", job_id)
        stopping.result()
    lines = followed.out.splitlines()
    assert lines[-1] == "cancelled", followed.err
    assert len([line for line in lines if re.match(rf"running  step \d+/{ENDLESS_STEPS}, \d+ %", line)]) >= 2
    assert command(stack, "follow", job_id).out == "cancelled\n"
    assert command(stack, "follow", "no-such-job").code == 3


def test_waiting_shows_every_part_of_a_job(stack: Stack) -> None:
    with framemill.Client(stack.url("")) as client:
        seen: list[Job] = []
        job = client.submit(model="tiny-image", steps=ENDLESS_STEPS)

        def watch(update: Job) -> None:
            seen.append(update)
            if len({update.step for update in seen}) == 3:
                client.cancel(job.id)

        with pytest.raises(JobCancelled):
            client.wait(job.id, on_update=watch)
        assert seen[-1].state == "cancelled"
        # Nobody watches: the answers come when something changed.
        done = client.submit(model="tiny-image", steps=1, wait_s=30)
        assert (done.state, client.wait(done.id).state) == ("succeeded", "succeeded")


def test_ctrl_c_while_waiting_cancels_the_job(stack: Stack) -> None:
    # A shell that starts programs in the background has them ignore SIGINT.
    code = "import signal; signal.signal(2, signal.default_int_handler); from framemill.cli import main; exit(main())"
    words = ["submit", "--wait", "--model", "tiny-image", "--steps", str(ENDLESS_STEPS)]
    arguments = [sys.executable, "-c", code, "--url", stack.url(""), *words]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        job_id = line.split()[1].rstrip(",")
        stack.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "its first step")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert f"job {job_id} was cancelled on the server" in err
    assert stack.status(job_id)["state"] == "cancelled"
