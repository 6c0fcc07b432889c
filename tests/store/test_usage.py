"""What each key used, as the scripts count it."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import pytest

from jobs.record import Output
from jobs.store import keys
from jobs.store.statistics import usage
from jobs.store.statistics.usage import Used
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]
IMAGE = Output("outputs/a1/1.1/0.png", "image/png", 300, "0" * 64, 8, 8)
VIDEO = Output("outputs/a1/1.1/0.mp4", "video/mp4", 5000, "0" * 64, 8, 8, frames=48, fps=16.0, thumbnail=IMAGE)


def used(here: StoreDriver, days: int = 0) -> dict[tuple[str, str], Used]:
    today = datetime.datetime.now(datetime.UTC).date()
    rows = usage.rows(here.store, today - datetime.timedelta(days + 1), today)
    return {(row.key_id, row.model): row.used for row in rows}


def test_a_job_counts_its_gpu_time_and_its_files(driver: Open) -> None:
    here = driver()
    here.open("gpu0")
    for outputs in ([IMAGE, IMAGE], [VIDEO]):
        job_id = here.submit(key="shop")
        here.start("gpu0")
        assert here.store.finish_run(job_id, 1, slot="gpu0", node="host", run_s=2.5)
        assert here.store.claim(job_id, 1, "io") == 1
        assert here.store.deliver(job_id, 1, "io", outputs)
        assert here.store.deliver(job_id, 1, "io", outputs)  # a repeated call counts nothing
    assert used(here) == {
        ("shop", "m"): Used(gpu_s=5.0, succeeded=2, images=2, videos=1, video_s=3.0, output_bytes=5900)
    }  # fmt: skip


def test_jobs_that_never_ran_cost_no_time(driver: Open) -> None:
    here = driver()
    cancelled, expired = here.submit(key="shop"), here.submit(key="shop", start_within_s=1)
    here.store.cancel(cancelled)
    here.store.cancel(cancelled)
    here.redis.zadd(keys.DEADLINES, {expired: 1})
    here.store.sweep()
    assert used(here) == {("shop", "m"): Used(cancelled=1, expired=1)}


def test_the_time_of_a_run_whose_worker_died_is_lost_and_counted(driver: Open) -> None:
    here = driver(max_attempts=2)
    here.open("gpu0")
    job_id = here.submit(key="shop")
    for attempt in (1, 2):
        here.start("gpu0")
        here.redis.hincrby(keys.JOB + job_id, "started_at", -10_000)
        here.store.lose(job_id, attempt)
    of_shop = used(here)["shop", "m"]
    assert (of_shop.failed, of_shop.succeeded) == (1, 0)
    assert of_shop.lost_gpu_s == pytest.approx(of_shop.gpu_s)
    assert 20 <= of_shop.gpu_s < 200


def test_frames_that_were_lost_before_delivery_count_as_lost_time(driver: Open) -> None:
    here = driver()
    here.open("gpu0")
    job_id = here.submit(key="shop")
    here.start("gpu0")
    here.store.finish_run(job_id, 1, slot="gpu0", node="host", run_s=2.5)
    here.store.recompute(job_id, 1)
    assert used(here)["shop", "m"] == Used(gpu_s=2.5, lost_gpu_s=2.5)


def test_each_key_and_model_has_its_own_numbers(driver: Open) -> None:
    here = driver()
    for key, model in (("shop", "m"), ("shop", "n"), ("web", "m")):
        here.store.cancel(here.submit(key=key, model=model))
    assert used(here) == {
        (key, model): Used(cancelled=1) for key, model in (("shop", "m"), ("shop", "n"), ("web", "m"))
    }
    today = datetime.datetime.now(datetime.UTC).date()
    only = usage.rows(here.store, today - datetime.timedelta(1), today, ["web"])
    assert {(row.key_id, row.model) for row in only} == {("web", "m")}


def test_only_the_days_of_the_period_are_read(driver: Open) -> None:
    here = driver()
    here.store.cancel(here.submit(key="shop"))
    day = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(2)
    assert list(usage.rows(here.store, day, day + datetime.timedelta(100))) == []


def test_nothing_is_counted_with_usage_days_0(driver: Open) -> None:
    here = driver(usage_days=0)
    here.store.cancel(here.submit(key="shop"))
    assert not here.redis.keys(keys.USAGE + "*")
    assert used(here) == {}


def test_numbers_expire_and_their_keys_are_forgotten(driver: Open) -> None:
    here = driver(usage_days=3)
    here.store.cancel(here.submit(key="shop"))
    (name,) = here.redis.keys(keys.USAGE + "shop:*")
    assert 3 * 86_400 < here.redis.ttl(name) <= 33 * 86_400
    here.redis.zadd(keys.USAGE_KEYS, {"gone": 1})
    assert set(used(here)) == {("shop", "m")}
    assert here.redis.zrange(keys.USAGE_KEYS, 0, -1) == ["shop"]
