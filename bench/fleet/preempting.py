"""Measure what preemption costs Redis, on a fleet whose runs can all be interrupted.

``python -m bench.fleet.preempting [--slots 400] [--keys 1000] [--models 40] [--groups 4] [--depth 10000]``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from bench.common import machine, short_folder, table
from bench.fleet.fleet import NEVER_S, OWNER, REQUEST, Fleet, Shape
from jobs.callers import Caller
from jobs.record import new_job_id
from jobs.settings import Settings
from jobs.store import keys
from jobs.store.jobs import JobStore
from jobs.store.runs import StepReply
from jobs.submission import Accepted, Submission
from stack.embedded_redis.server import EmbeddedRedis
from tests.support.redis_meter import Cost, RedisMeter

#: Settings of the store. Nearly all running jobs are general ones.
OPTIONS = {
    "slot_lease_s": NEVER_S, "resend_after_s": NEVER_S, "event_log_length": 100, "preempt_after_s": 1.0,
    "general_premium_ratio": "100 1",
}  # fmt: skip


class Preempting:
    """Drives a fleet and measures the calls that have to do with preemption."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.store = fleet, fleet.store
        self._meter = RedisMeter(fleet.store)
        fleet.sweep()  # the first one of a process does more
        for slot in fleet.busy:
            self._report(slot, 1)

    def _report(self, slot: str, step: int) -> StepReply:
        job_id, attempt = self.fleet.at(slot)
        return self.store.progress(job_id, attempt, "denoising", step, 100, 1000.0, resumable=True)

    def _urgent(self) -> Accepted:
        request, caller = replace(REQUEST, model="model-0"), Caller(key_id="service-0", job_class="premium")
        return self.store.submit(new_job_id(), Submission(request=request, caller=caller))

    def costs(self) -> dict[str, Cost]:
        """Return the cost of each call. Can be called once."""
        fleet, store, measure = self.fleet, self.store, self._meter.measure
        found: dict[str, Cost] = {}
        accepted: list[Accepted] = []
        found["submit, takes the slot of a run"] = measure(lambda: accepted.append(self._urgent()))
        [victim] = accepted[0].preempted
        record = store.read(victim)
        slot, attempt = record["slot"], int(record["attempt"])
        found["progress, interrupted"] = measure(lambda: self._report(slot, 2))
        found["hand over, the urgent job gets the slot"] = measure(
            lambda: store.hand_over(victim, attempt, slot=slot)
        )  # fmt: skip
        assert fleet.at(slot)[0] != victim
        other = self._urgent()
        [victim] = other.preempted
        found["cancel, the run goes on"] = measure(lambda: store.cancel(other.job_id))
        slot = store.read(victim)["slot"]
        found["progress, the last fifth begins"] = measure(lambda: self._report(slot, 90))
        found["progress, nothing changes"] = measure(lambda: self._report(slot, 91))
        found["heartbeat, slot runs"] = measure(lambda: store.heartbeat(slot, OWNER, {}))
        groups = store.client.zrange(keys.PREEMPTORS, 0, -1)
        store.client.zadd(keys.PREEMPTORS, dict.fromkeys(map(str, groups), 1))  # each is looked at once in a heartbeat
        found["sweep, all runs are interrupted"] = measure(fleet.sweep)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, number in (("slots", 400), ("keys", 1000), ("models", 40), ("groups", 4), ("depth", 10_000)):
        parser.add_argument(f"--{name}", type=int, default=number)
    shape = Shape(**vars(parser.parse_args()))
    print(machine(), flush=True)
    with short_folder() as folder:
        settings = Settings.of(data_dir=folder, max_waiting=10 * shape.depth + 100_000, **OPTIONS)
        with EmbeddedRedis(settings):
            store = JobStore(settings.replace(redis_timeout_s=600))
            costs = Preempting(Fleet(store, shape)).costs()
            store.measures.close()
            store.client.close()
    rows = [(name, cost.ms, cost.longest_ms, cost.commands, cost.scripts) for name, cost in costs.items()]
    print(table(("call", "Redis, ms", "longest script, ms", "commands", "scripts"), rows))


if __name__ == "__main__":
    main()
