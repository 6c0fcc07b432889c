"""``python -m bench.webhooks``: measure the cost and the delay of webhooks."""

from __future__ import annotations

import time

from bench.common import noop_stack, quantile, short_folder
from jobs.outbound.webhook import Webhook
from jobs.settings import Settings
from stack.embedded_redis.server import EmbeddedRedis
from tests.support.harness import Stack, wait_for
from tests.support.receiver import SECRET, Receiver, receiving
from tests.support.store_driver import StoreDriver

JOBS = 1000
MESSAGES = 40
#: Number of messages for a receiver that never responds.
STUCK = 50


def redis_work(webhook: Webhook | None) -> tuple[float, float]:
    """Return the Redis commands, and µs in scripts, of one job from submit to end."""
    with short_folder() as folder, EmbeddedRedis(settings := Settings.of(data_dir=folder)):
        driver = StoreDriver(settings)
        driver.open("gpu0")
        driver.redis.config_resetstat()
        for _ in range(JOBS):
            driver.submit(webhook=webhook)
            driver.finish()
        spent = driver.redis.info("commandstats")
        stats = {name: stat for name, stat in spent.items() if name not in ("cmdstat_info", "cmdstat_config|resetstat")}
        scripts = stats.pop("cmdstat_evalsha")
        return sum(stat["calls"] for stat in stats.values()) / JOBS, scripts["usec"] / JOBS


def end_of_a_job(stack: Stack, receiver: Receiver) -> str:
    job_id = str(stack.post(model="noop", webhook_url=receiver.url).json()["id"])
    stack.cancel(job_id)
    return job_id


def delays_ms(stack: Stack, receiver: Receiver) -> list[float]:
    """Return the milliseconds from the response to a cancel until the receiver has the message."""
    delays = []
    for _ in range(MESSAGES):
        job_id, begun = end_of_a_job(stack, receiver), time.perf_counter()
        wait_for(lambda job_id=job_id: receiver.of(job_id), "the message")  # type: ignore[misc]
        delays.append((time.perf_counter() - begun) * 1000)
    return sorted(delays)


def main() -> None:
    for what, webhook in (("without a webhook", None), ("with one", Webhook("http://example.org/"))):
        commands, script_us = redis_work(webhook)
        print(f"a job {what}: {commands:.0f} commands of Redis, {script_us:.0f} µs in scripts")
    with (
        noop_stack("io", WEBHOOK_SECRET=SECRET, WEBHOOK_ALLOW="127.0.0.1") as stack,
        receiving() as quick,
        receiving() as slow,
    ):
        end_of_a_job(stack, quick)
        wait_for(lambda: quick.messages, "the first message")
        slow.answers = [slow.hang] * STUCK
        for what in ("alone", f"beside {STUCK} messages for a receiver that hangs"):
            delays = delays_ms(stack, quick)
            print(f"a message {what}: median {quantile(delays, 0.5):.0f} ms, longest {delays[-1]:.0f} ms")
            for _ in range(STUCK if what == "alone" else 0):
                end_of_a_job(stack, slow)


if __name__ == "__main__":
    main()
