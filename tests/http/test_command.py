"""The command and the client against the application: keys, limits, isolation, administration, events."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

import framemill
from app import create_app, keys
from app.access import auth
from framemill.cli import main
from framemill.errors import ApiError, JobCancelled
from framemill.records import Job
from jobs.errors import BadSetting
from jobs.startup import check_open_address
from jobs.store.credentials.api_keys import KeyRing
from tests.support.harness import wait_for
from tests.support.live_server import served
from tests.support.service import Service, first_key, later

TINY: dict[str, Any] = {"model": "tiny-image", "prompt": "x", "steps": 1}
SUBMIT = ("submit", "--model", "tiny-image", "--prompt", "x")
Start = Callable[..., "Site"]


class Result(NamedTuple):
    """What a command wrote, and its exit code."""

    code: int
    out: str
    err: str


class Site:
    """An application on a port, with the command and clients that call it."""

    def __init__(self, service: Service, url: str, opened: ExitStack, output: pytest.CaptureFixture[str]) -> None:
        self.service, self.url = service, url
        #: Secrets of the API keys by service.
        self.secrets: dict[str, str] = {}
        self._opened, self._output = opened, output

    def command(self, *words: str, key: str = "") -> Result:
        """Run ``framemill``; ``key`` is a secret, or the service of a known key."""
        self._output.readouterr()
        secret = self.secrets.get(key, key)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FRAMEMILL_API_KEY", secret)
            code = main(["--url", self.url, *words])
        return Result(code, *self._output.readouterr())

    def client(self, service: str = "", **fields: Any) -> framemill.Client:
        """A client with the key of a service, which is created with these fields if necessary."""
        if service and service not in self.secrets:
            if "ops" not in self.secrets:
                self.secrets["ops"] = first_key(self.service)["Authorization"].removeprefix("Bearer ")
            if service != "ops":
                with framemill.Client(self.url, self.secrets["ops"]) as ops:
                    self.secrets[service] = ops.create_key(service, **fields).secret or ""
        return self._opened.enter_context(framemill.Client(self.url, self.secrets.get(service)))


@pytest.fixture
def start(services: Callable[..., Service], capfd: pytest.CaptureFixture[str]) -> Iterator[Start]:
    """``start(SETTING=value)``: an application without keys and slots."""
    with ExitStack() as opened:

        def run(**options: Any) -> Site:
            service = services(**options)
            return Site(service, opened.enter_context(served(service.app)), opened, capfd)

        yield run


@pytest.fixture
def site(start: Start) -> Site:
    """An application with an admin key ``ops`` and without slots: jobs wait."""
    site = start()
    site.client("ops")
    return site


def refused(call: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value


# ---- keys


def test_from_the_first_key_to_the_last(
    start: Start, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    site = start()
    monkeypatch.setenv("DATA_DIR", str(site.service.settings.paths.data_dir))

    def on_the_host(*words: str) -> Result:
        return Result(keys.main(words), *capfd.readouterr())

    open_address = site.service.settings.replace(host="0.0.0.0")
    with pytest.raises(BadSetting, match=r"app\.keys create"):
        check_open_address(open_address)
    assert "everybody" in site.command("keys", "list").err
    for role in ("client", "admin"):
        refusal = site.command("keys", "create", "ops", "--role", role)
        assert (refusal.code, refusal.out) == (3, "")
        assert "python -m app.keys create NAME --role admin" in refusal.err
    refusal = on_the_host("create", "shop")
    assert (refusal.code, refusal.out) == (1, "")
    assert "`role` must be admin for the first key" in refusal.err
    assert site.command("models").code == 0

    created = on_the_host("create", "ops", "--role", "admin")
    auth.keys_changed()  # the server checks once a second
    ops = created.out.strip()
    assert re.fullmatch(r"fm_[\w-]{43}", ops)
    assert "shown this once" in created.err
    assert ops not in created.err
    check_open_address(open_address)

    keyless = site.command("models")
    assert (keyless.code, keyless.err) == (
        3,
        "framemill: the server needs an API key: run 'framemill login', or set FRAMEMILL_API_KEY\n",
    )
    assert site.service.get("/v1/models").headers["WWW-Authenticate"] == "Bearer"
    assert site.service.get("/healthz").status_code == 200
    assert "unknown or was revoked" in site.command("models", key="fm_guessed").err

    words = ("--class", "premium", "--max-waiting", "5", "--max-running", "2", "--max-per-minute", "60")
    words += ("--model", "tiny-image", "--model", "tiny-video", "--endpoint", "/v1/jobs", "--endpoint", "/v1/models")
    made = json.loads(site.command("--json", "keys", "create", "shop", *words, key=ops).out)
    assert made.pop("secret").startswith("fm_")
    assert made == {
        "service": "shop", "role": "client", "class": "premium", "max_waiting": 5, "max_running": 2,
        "max_per_minute": 60, "models": ["tiny-image", "tiny-video"], "endpoints": ["/v1/jobs", "/v1/models"],
        "may_skip_moderation": False, "retention": "", "webhook": None,
    }  # fmt: skip
    assert "shop" in site.command("keys", "create", "shop", key=ops).err  # there is one
    mail = site.command("keys", "create", "mail", key=ops).out.strip()
    table = site.command("keys", "list", key=ops).out
    assert [line.split()[:3] for line in table.splitlines()[1:]] == [
        ["mail", "client", "general"],
        ["ops", "admin", "general"],
        ["shop", "client", "premium"],
    ]
    assert ops not in table

    assert site.command("models", key=mail).code == 0
    assert site.command("keys", "list", key=mail).err == (
        "framemill: not allowed with this API key: this needs an admin's key\n"
    )
    assert site.command("keys", "revoke", "mail", key=ops).out == "the key of mail was revoked\n"
    assert site.command("models", key=mail).code == 3
    assert site.command("keys", "revoke", "mail", key=ops).code == 3

    assert on_the_host("list").out == "ops\tadmin\tgeneral\nshop\tclient\tpremium\n"
    assert on_the_host("revoke", "shop").out == "the key of shop was revoked\n"
    assert "last key" in on_the_host("revoke", "ops").err
    assert on_the_host("create", "shop", "--class", "premium", "--role", "worker").code == 0


def test_keys_of_the_environment_open_the_server_to_others(start: Start) -> None:
    ops, shop = "ops-secret-0123456789", "shop-secret-0123456789"
    site = start(HOST="0.0.0.0", API_KEYS=f"ops:{ops}:admin, shop:{shop}:client:premium")
    create_app(site.service.settings)  # stores the keys; the fixture has removed those of the first start
    ring = KeyRing(site.service.store)
    assert site.command("models").code == 3
    assert site.command("models", key=shop).code == 0
    keys = json.loads(site.command("--json", "keys", "list", key=ops).out)["keys"]
    assert [(key["service"], key["role"], key["class"]) for key in keys] == [
        ("ops", "admin", "general"),
        ("shop", "client", "premium"),
    ]
    # The next start with a changed secret replaces the old one, and leaves other keys as they are.
    ring.seed(["shop:another-secret-0123456789"])
    assert site.command("models", key=shop).code == 3
    assert site.command("models", key="another-secret-0123456789").code == 0
    ring.seed(["shop:another-secret-0123456789:client:premium"])  # the same secret, another class
    assert site.command("models", key="another-secret-0123456789").code == 0
    assert site.command("keys", "list", key=ops).code == 0


def test_a_client_sees_and_stops_its_own_jobs_only(site: Site) -> None:
    alice, bob, ops = site.client("alice"), site.client("bob"), site.client("ops")
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
    assert {job.id for job in ops.list().jobs} == {other, own}

    assert alice.get(other).state == "queued"
    assert ops.cancel(other).cancelled
    assert bob.cancel(own).cancelled
    # The stream of a key contains no jobs of others, whether replayed or live; that of an admin contains all.
    events = [event for _, event in zip(range(2), bob.events(since), strict=False)]
    assert [(event.job.id, event.job.state) for event in events] == [(own, "queued"), (own, "cancelled")]
    every = [event.job.id for _, event in zip(range(3), ops.events(since), strict=False)]
    assert {other, own} <= set(every)


def test_cancel_all_stops_running_jobs_and_on_request_waiting_ones(site: Site) -> None:
    alice, bob = site.client("alice"), site.client("bob")
    site.service.open()
    running = alice.submit(**TINY).id
    site.service.start()
    waiting, other = alice.submit(**TINY).id, bob.submit(**TINY).id
    assert alice.cancel_all() == (running,)
    assert alice.get(waiting).state == "queued"
    assert alice.cancel_all(waiting=True) == (waiting,)
    assert bob.get(other).state == "queued"


def test_events_arrive_while_they_happen(site: Site) -> None:
    alice = site.client("alice")
    job = alice.submit(**TINY).id
    following = alice.follow(job)
    assert next(following).name == "status"
    alice.cancel(job)
    *before, last = [(event.name, event.job.state) for event in following]
    assert last == ("end", "cancelled")
    assert set(before) <= {("state", "queued")}  # the acceptance may arrive late


def test_limits_of_a_key(site: Site) -> None:
    narrow, slow = site.client("narrow", max_waiting=1), site.client("slow", max_per_minute=1)
    first = narrow.submit(**TINY)
    error = refused(lambda: narrow.submit(**TINY))
    assert (error.status, error.code) == (429, "queue_full")
    assert (error.retry_after_s or 0) > 0
    narrow.cancel(first.id)
    narrow.cancel(narrow.submit(**TINY).id)
    # Two may be accepted when a minute ends.
    error = refused(lambda: [slow.submit(**TINY) for _ in range(3)])
    assert (error.status, error.code) == (429, "rate_limited")
    assert 0 < (error.retry_after_s or 0) <= 60
    assert site.client("alice").submit(**TINY).state == "queued"  # the limits are those of one key


def test_what_a_key_may_use(site: Site) -> None:
    general, premium = site.client("alice"), site.client("vip", job_class="premium")
    worker = site.client("gpu-host", role="worker")
    assert refused(lambda: general.submit(**TINY, job_class="premium")).status == 403
    assert premium.submit(**TINY).raw["class"] == "premium"
    assert premium.submit(**TINY, job_class="general").raw["class"] == "general"
    for call in (worker.models, worker.list, worker.keys, lambda: worker.submit(**TINY)):
        assert "worker" in str(refused(call))
    narrow = site.client("narrow", models=["tiny-image"], endpoints=["/v1/jobs"])
    assert refused(lambda: narrow.submit(model="tiny-video", prompt="x")).status == 403
    assert refused(narrow.models).status == 403
    assert narrow.submit(**TINY).state == "queued"


def test_a_revoked_key_is_refused_at_once(site: Site) -> None:
    ops, gone = site.client("ops"), site.client("gone")
    job = gone.submit(**TINY).id
    ops.revoke_key("gone")
    assert refused(lambda: gone.get(job)).status == 401
    assert ops.get(job).state == "queued"  # its jobs stay


def test_an_idempotent_submit(site: Site) -> None:
    alice, bob = site.client("alice"), site.client("bob")
    first = alice.submit(**{**TINY, "prompt": "one"}, idempotency_key="order-1")
    again = alice.submit(**{**TINY, "prompt": "one"}, idempotency_key="order-1")
    assert (again.id, again.request) == (first.id, first.request)
    error = refused(lambda: alice.submit(**{**TINY, "prompt": "two"}, idempotency_key="order-1"))
    assert (error.status, error.code) == (409, "idempotency_mismatch")
    # Keys of different services are different.
    assert bob.submit(**{**TINY, "prompt": "one"}, idempotency_key="order-1").id != first.id
    words = (*SUBMIT, "--idempotency-key", "order-2", "--priority", "3", "--max-run", "60")
    ids = {site.command(*words, key="alice").out for _ in range(2)}
    assert len(ids) == 1
    assert alice.get(ids.pop().strip()).raw["priority"] == 3


def test_a_preempted_job_says_so(start: Start) -> None:
    site = start(PREEMPT_AFTER_S=1)
    here, ops = site.service.driver, site.client("ops")
    site.service.open("gpu0")
    film = ops.submit(**{**TINY, "steps": 100}).id
    here.start("gpu0")
    here.store.progress(film, 1, "denoising", 5, 100, 95.0, resumable=True)
    assert ops.submit(**TINY, job_class="premium").position == 1
    here.store.hand_over(film, 1, slot="gpu0")
    shown = site.command("show", film, key="ops").out
    assert re.search(r"^preempted +once$", shown, re.MULTILINE)
    assert re.search("^needs +a slot, since a job of a higher class took its own$", shown, re.MULTILINE)
    assert ops.get(film).preemptions == 1
    assert ops.get(film).raw["preemptions"] == 1


def test_a_key_may_use_its_class_and_lower_ones(site: Site) -> None:
    night, ops = site.client("night", job_class="off-peak"), site.client("ops")
    assert night.submit(**TINY).raw["class"] == "off-peak"
    for job_class in ("general", "premium"):
        error = refused(lambda job_class=job_class: night.submit(**TINY, job_class=job_class))
        assert (error.status, str(error)) == (403, f"this key has no {job_class} class")
    assert site.client("alice").submit(**TINY, job_class="off-peak").raw["class"] == "off-peak"
    assert site.command(*SUBMIT, "--class", "off-peak", key="ops").code == 0
    assert ops.queue()["waiting"]["by_class"]["off-peak"] > 1


def test_a_job_for_the_evening_waits_for_it(site: Site) -> None:
    job_id = site.command(*SUBMIT, "--not-before", "8h", key="ops").out.strip()
    job = site.client("ops").get(job_id)
    assert job.not_before is not None
    assert 7.9 < (job.not_before - datetime.now(UTC)).total_seconds() / 3600 < 8
    assert job.waiting_for == f"the time {job.not_before:%Y-%m-%dT%H:%M:%SZ}"
    local = job.not_before.astimezone()
    assert re.search(rf"^earliest  .*{local:%H:%M}$", site.command("status", job_id, key="ops").out, re.MULTILINE)
    assert "must be a delay such as 30m" in site.command(*SUBMIT, "--not-before", "soon", key="ops").err
    clock = f"{datetime.now().astimezone() - timedelta(minutes=2):%H:%M}"  # means tomorrow
    tomorrow = site.client("ops").get(site.command(*SUBMIT, "--not-before", clock, key="ops").out.strip()).not_before
    assert tomorrow is not None
    assert 23 < (tomorrow - datetime.now(UTC)).total_seconds() / 3600 < 24


def test_the_caller_may_choose_the_id(site: Site) -> None:
    assert site.command(*SUBMIT, "--id", "circle", key="ops").out == "circle\n"
    assert site.client("ops").submit(**TINY, id="square").id == "square"
    assert site.command(*SUBMIT, "--id", "circle", key="ops").code == 3


# ---- administration


def test_slots_are_drained_and_resumed(site: Site) -> None:
    site.service.open("gpu0")
    site.service.open("gpu1")
    ops = site.client("ops")
    job_id = ops.submit(**TINY).id
    [busy] = [slot["name"] for slot in ops.fleet()["slots"] if slot["job_id"]]
    assert site.command("drain", key="ops").code == 2
    assert site.command("drain", busy, "--no-wait", key="ops").out == f"{busy} is draining: it runs job {job_id}\n"
    with later(site.service.finish, busy):
        done = site.command("drain", "--all", key="ops")
    assert (done.code, done.out) == (0, "gpu0 is drained\ngpu1 is drained\n")
    assert json.loads(site.command("--json", "drain", "gpu1", key="ops").out)["slots"][0]["drained"]
    assert "no slot 'gpu7'" in site.command("drain", "gpu7", key="ops").err
    assert site.command("resume", "--slot", "gpu0", key="ops").out == "paused: gpu1\n"
    site.command("pause", "--queue", key="ops")
    assert site.command("resume", "--all", key="ops").out == "paused: nothing\n"


def test_a_dead_letter_is_sent_again(start: Start) -> None:
    site = start(MAX_ATTEMPTS=1)
    site.client("ops", role="admin")
    service = site.service
    service.open("far")
    service.store.pause_slots("far")
    job_id = site.command(*SUBMIT, key="ops").out.strip()
    assert site.command("front", job_id, key="ops").out == f"{job_id}: position 1\n"
    service.store.pause_slots("far", resume=True)
    service.start("far")
    service.store.lose(job_id, 1)

    assert "worker died" in site.command("dead", key="ops").out
    service.store.pause_slots("far")
    again = site.command("retry", job_id, key="ops").out.strip()
    assert json.loads(site.command("--json", "status", again, key="ops").out)["state"] == "queued"
    assert "there are none" in site.command("dead", key="ops").err
    assert site.command("front", job_id, key="ops").code == 3


def test_pause_front_and_resume(start: Start) -> None:
    site = start()
    site.service.open()
    running = site.service.submit()
    site.service.start()
    first, second = site.service.submit(), site.service.submit()
    assert site.command("front", second).out == f"{second}: position 1\n"
    assert site.command("front", running).code == 3
    assert site.command("pause", "--queue").out == "paused: the whole queue\n"
    assert site.command("pause", "--slot", "gpu0").out == "paused: the whole queue, gpu0\n"
    assert "slot: must be one of" in site.command("pause", "--slot", "gpu77").err
    site.service.finish()
    state = site.command("service").out
    assert re.search(r"queue +2 queued", state)
    assert re.search(r"paused +the whole queue, gpu0", state)
    assert re.search(r"\ngpu0 +paused ", state)
    assert re.search(r"needs +resume of", site.command("status", first).out)
    assert site.command("resume", "--slot", "gpu0").out == "paused: the whole queue\n"
    assert site.service.job(second)["state"] == "queued"
    assert site.service.driver.at() == ("", 0)
    assert site.command("resume", "--queue").out == "paused: nothing\n"
    assert [site.service.finish() for _ in range(2)] == [second, first]


def test_jobs_are_paused_and_resumed(start: Start) -> None:
    site = start()
    site.service.open()
    running, waiting = site.service.submit(steps=4), site.service.submit()
    site.service.start(step=1)
    refused = site.command("pause", running)
    assert (refused.code, "does not make checkpoints" in refused.err) == (3, True)
    site.service.store.progress(running, 1, "denoising", 1, 4, None, resumable=True)
    paused = site.command("pause", running, waiting).out.splitlines()
    assert paused == [f"{running}: running  step 1/4, 25 %, stops at its next step, on gpu0", f"{waiting}: paused"]
    site.service.pause(step=2)
    assert re.search(r"step +2/4\n(.*\n)*needs +resume of the job", site.command("show", running).out)
    listed = site.command("list", "--state", "paused").out
    assert re.search(rf"{running} +paused 50 %", listed)
    assert re.search(rf"{waiting} +paused ", listed)
    assert "2 paused" in site.command("queue").out
    assert re.search(rf"{running} +paused", site.command("top").out)
    assert site.command("resume", waiting).out.startswith(f"{waiting}: queued")
    assert json.loads(site.command("--json", "resume", running).out)["state"] == "queued"
    for arguments in ((), (running, "--queue"), ("--slot", "gpu0", "--queue")):
        assert site.command("pause", *arguments).code == 2
    assert site.command("resume", running, "--all").code == 2


def test_retry(start: Start) -> None:
    site = start()
    site.service.open()
    job_id = site.service.submit(seed=5)
    assert site.command("retry", job_id).code == 3
    site.command("cancel", job_id)
    again = site.command("retry", job_id).out.strip()
    assert site.service.job(again)["request"]["seed"] == 5
    assert site.service.finish() == again
    assert "succeeded" in site.command("retry", again).err


# ---- events


def test_follow_prints_steps_until_the_end(start: Start) -> None:
    site = start()
    site.service.open()
    job_id = site.service.submit(steps=9)
    site.service.start()

    def steps() -> Iterator[None]:
        for step in (1, 2, 3):
            site.service.step(step, 9)
            yield
        site.service.cancel(job_id)
        yield

    work = steps()
    events = site.client().follow(job_id)
    next(events)
    seen = []
    for _ in work:
        seen.append(next(events))
    assert [(event.name, event.job.step, event.job.steps, event.job.percent) for event in seen[:3]] == [
        ("progress", 1, 9, 11), ("progress", 2, 9, 22), ("progress", 3, 9, 33),
    ]  # fmt: skip
    assert seen[3].job.state == "cancelled"
    assert site.command("follow", job_id).out == "cancelled\n"
    assert site.command("follow", "no-such-job").code == 3


def test_waiting_shows_every_part_of_a_job(start: Start) -> None:
    site = start()
    service, client = site.service, site.client()
    service.open()
    job = client.submit(**{**TINY, "steps": 4})
    seen: list[Job] = []

    def watch(update: Job) -> None:
        seen.append(update)
        if update.state == "queued":
            service.start()
        elif (update.step or 0) < 3:
            service.step((update.step or 0) + 1)
        else:
            client.cancel(job.id)

    with pytest.raises(JobCancelled):
        client.wait(job.id, on_update=watch)
    steps = [update.step for update in seen if update.state == "running"]
    assert list(dict.fromkeys(steps)) == [0, 1, 2, 3]  # after a pause of the stream, a state may come twice
    assert seen[-1].state == "cancelled"


def test_submit_can_wait_for_the_end(start: Start) -> None:
    site = start()
    service, client = site.service, site.client()
    service.open()

    def work() -> None:
        wait_for(lambda: service.driver.at()[0], "the job", 60)
        service.finish()

    worker = threading.Thread(target=work)
    worker.start()
    done = client.submit(**TINY, wait_s=60)
    worker.join()
    assert (done.state, client.wait(done.id, timeout_s=60).state) == ("succeeded", "succeeded")
