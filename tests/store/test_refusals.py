"""Redis that refuses writes: changes wait as during an outage, reads continue, no living worker loses its job."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs.errors import StoreRefuses
from jobs.settings import Settings
from jobs.slots.slot import Redelivery
from jobs.store import events, keys, previews
from jobs.store.client_state import LoginSessions
from jobs.store.events import EventLog
from jobs.store.outages import refusals
from stack.embedded_redis import probe
from stack.embedded_redis.binary import find_binary
from stack.embedded_redis.probe import ServerState
from tests.support.api import wait_for
from tests.support.refusing_redis import REFUSALS, memory_full, read_only, unsaved
from tests.support.store_driver import OWNER, StoreDriver

Open = Callable[..., StoreDriver]
Refuse = Callable[[Any], AbstractContextManager[None]]
every_refusal = pytest.mark.parametrize("refuse", REFUSALS, ids=lambda refuse: refuse.__name__)
#: Kinds of refusal that concern every write; with a full memory, accepted work continues.
of_all_writes = pytest.mark.parametrize("refuse", [unsaved, read_only], ids=lambda refuse: refuse.__name__)


@every_refusal
def test_a_job_is_refused_with_the_reason_and_accepted_afterwards(driver: Open, refuse: Refuse) -> None:
    here = driver()
    known = here.submit()
    with refuse(here.redis):
        with pytest.raises(StoreRefuses, match=f"the job store refuses writes: {REFUSALS[refuse]}"):
            here.submit(job_id="b1")
        assert here.state(known) == "queued"
        assert here.forecast(known).position == 1
        previews.ask(here.store, known)  # a reader is not refused because it asks for previews
    assert here.submit(job_id="b1") == "b1"


@of_all_writes
def test_what_a_worker_must_write_waits_until_it_is_accepted(driver: Open, refuse: Refuse) -> None:
    here = driver()
    job_id = here.submit()
    here.open("gpu0")
    here.start()
    finish = lambda: here.store.finish_run(job_id, 1, slot="gpu0", node="", run_s=1)  # noqa: E731
    begun = threading.Event()

    def write() -> bool:
        try:
            return finish()
        finally:
            begun.set()

    with refuse(here.redis):
        waiting = threading.Thread(target=lambda: here.store.until_written(write, pause_s=0.01))
        waiting.start()
        assert begun.wait(30)
        assert here.state(job_id) == "running"
    waiting.join(30)
    assert here.state(job_id) == "succeeded"


def test_accepted_work_goes_on_while_the_memory_is_full(driver: Open) -> None:
    here = driver()
    first, second, third = here.submit_many(3)
    with memory_full(here.redis):
        here.open("gpu0")
        assert here.at() == (first, 1)
        here.start()
        assert here.store.progress(first, 1, "denoising", 1, 4, None)
        assert here.store.heartbeat("gpu0", OWNER, {"blocked": ""}).held
        assert here.store.finish_run(first, 1, slot="gpu0", node="", run_s=1)
        assert here.store.cancel(second)[0]
        assert here.at() == (third, 1)
        here.store.announce_node()
        here.sweep()
        assert here.store.purge(first) == "deleted"
    assert [here.state(job_id) for job_id in (second, third)] == ["cancelled", "queued"]


@every_refusal
def test_a_login_is_valid_while_it_cannot_be_renewed(driver: Open, refuse: Refuse) -> None:
    here = driver()
    sessions = LoginSessions(here.store)
    sessions.open("s", "key")
    with refuse(here.redis):
        assert sessions.key_digest("s")


def test_events_are_followed_while_redis_cannot_save_its_data(driver: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SILENCE_S", 0.05)
    here = driver()
    following = EventLog(here.store).follow()
    assert next(following) is None
    with unsaved(here.redis):
        pings = lambda: here.redis.info("commandstats")["cmdstat_ping"]["rejected_calls"]  # noqa: E731
        seen, found = pings(), []
        reader = threading.Thread(target=lambda: found.append(next(following)))
        reader.start()
        while pings() < seen + 3:
            assert reader.is_alive()
    job_id = here.submit()
    reader.join(30)
    assert [event.job_id for event in found if event] == [job_id]


# ---- leases that nobody could renew


def lapse(here: StoreDriver, *slots: str) -> None:
    """Let the leases of these slots lapse, and let a sweep watch them for long enough."""
    for slot in slots:
        here.redis.zadd(keys.LEASES, {slot: 1}, xx=True)
        here.redis.hset(keys.SLOT + slot, "suspect_at", 1)


def test_no_job_is_lost_because_its_lease_could_not_be_renewed(driver: Open) -> None:
    here = driver()
    job_id = here.submit()
    here.open("gpu0")
    here.start()
    lapse(here, "gpu0")
    here.redis.delete(keys.SWEPT_AT)
    swept = here.store.sweep(after_outage=True)
    assert swept is not None
    assert swept.lost_slots == []
    assert here.at() == (job_id, 1)
    lease_ms = here.redis.zscore(keys.LEASES, "gpu0") - here.redis.time()[0] * 1000
    assert lease_ms > 0.8 * here.store.settings.leases.slot_lease_s * 1000
    lapse(here, "gpu0")  # the worker was really dead: its next lapsed lease counts
    here.sweep()
    assert here.state(job_id) == "queued"
    assert here.at() == ("", 0)


def test_an_outage_counts_although_another_process_has_just_swept(driver: Open) -> None:
    here = driver()
    here.open("gpu0")
    here.sweep()
    lapse(here, "gpu0")
    assert here.store.sweep(after_outage=True) is None
    assert here.redis.zscore(keys.LEASES, "gpu0") > 1


def test_a_long_time_without_a_sweep_was_an_outage(driver: Open) -> None:
    here = driver(slot_lease_s=10)
    job_id = here.submit()
    here.open("gpu0")
    here.sweep()
    lapse(here, "gpu0")
    here.redis.set(keys.SWEPT_AT, int(here.redis.get(keys.SWEPT_AT)) - 11_000)
    assert here.store.sweep() is not None
    assert here.at() == (job_id, 1)


def test_a_delivery_is_not_lost_because_its_host_could_not_announce_itself(driver: Open) -> None:
    here = driver(node_grace_s=5)
    job_id = here.submit()
    here.open("gpu0")
    here.start()
    node = here.store.settings.node
    here.store.finish_run(job_id, 1, slot="gpu0", node=node, run_s=1)
    here.redis.zadd(keys.NODES, {node: 1})
    here.redis.hset(keys.JOB + job_id, "node_gone_at", 1)
    here.redis.zadd(keys.DELIVERING, {job_id: 1})
    here.redis.delete(keys.SWEPT_AT)
    swept = here.store.sweep(after_outage=True)
    assert swept is not None
    assert swept.redeliveries == [Redelivery(job_id, 1, node)]
    assert here.state(job_id) == "delivering"


# ---- replies


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("MISCONF Errors writing to the AOF file: No space left on device", "refuses writes: its disk is full"),
        ("MISCONF Errors writing to the AOF file: Read-only file system", "refuses writes: it cannot save its data"),
        ("NOREPLICAS Not enough good replicas to write.", "refuses writes: it has too few replicas"),
        ("LOADING Redis is loading the dataset in memory", "does not answer yet: it is still loading its data"),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL", "does not answer: a script"),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "does not answer: it is"),
    ],
)  # fmt: skip
def test_each_refusal_has_its_reason(reply: str, reason: str) -> None:
    problem = refusals.unavailable(redis.ResponseError(reply))
    assert isinstance(problem, StoreRefuses)
    assert problem.message.startswith(f"the job store {reason}")


def test_a_password_that_was_changed_is_named() -> None:
    problem = refusals.unavailable(redis.AuthenticationError("invalid username-password pair or user is disabled."))
    assert problem is not None
    assert problem.message == "the job store refuses the password of REDIS_URL"


def test_other_errors_are_not_taken_for_refusals(driver: Open) -> None:
    here = driver()
    here.redis.set("text", "x")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        here.store.call(lambda client: client.hgetall("text"))


# ---- a disk that is really full


@pytest.fixture
def small_disk(short_folder: Path) -> Iterator[tuple[Settings, Path]]:
    """Yield a Redis whose append-only file is on a separate disk of 1 MiB, and the folder of this disk."""
    folder, socket = short_folder / "disk", short_folder / "redis.sock"
    folder.mkdir()
    mounted = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m none "$0" && exec "$@"']
    if shutil.which("unshare") is None or subprocess.run([*mounted, folder, "true"], check=False).returncode:
        pytest.skip("this machine permits no mounts of one's own")
    server = [find_binary().path, "--dir", folder, "--unixsocket", socket, "--port", "0", "--save", "", "--appendonly"]
    process = subprocess.Popen([*mounted, folder, *server, "yes"], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: probe.ping(socket) is ServerState.READY, "Redis")
        yield Settings.of(redis_url=f"unix://{socket}"), Path(f"/proc/{process.pid}/root{folder}")
    finally:
        process.kill()
        process.wait()


def test_a_full_disk_is_named_and_jobs_are_accepted_when_it_has_room(small_disk: tuple[Settings, Path]) -> None:
    settings, folder = small_disk
    here = StoreDriver(settings)
    here.submit(job_id="first")
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))
    with pytest.raises(StoreRefuses, match=r"^the job store refuses writes: its disk is full$"):
        here.submit_many(1000)
    assert here.state("first") == "queued"
    filler.unlink()
    assert here.store.until_written(lambda: here.submit(job_id="last")) == "last"
