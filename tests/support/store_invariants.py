"""Invariants of everything that the store keeps in Redis, whatever was called before, in any order."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import redis

from jobs.states import TERMINAL, JobState
from jobs.store import keys

ENDED = {str(state) for state in TERMINAL}
READERS = {"hash": "hgetall", "set": "smembers", "string": "get", "stream": "xlen"}


def everything(client: redis.Redis) -> dict[str, Any]:
    """Return every key, read by its type; sorted sets as ``{member: score}``."""
    names = [name for name in client.keys("*") if name != keys.SWEPT_AT]
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.type(name)
    types = pipe.execute()
    for name, kind in zip(names, types, strict=True):
        if kind == "zset":
            pipe.zrange(name, 0, -1, withscores=True)
        else:
            getattr(pipe, READERS[kind])(name)
    values = pipe.execute()
    return {n: dict(v) if t == "zset" else v for n, t, v in zip(names, types, values, strict=True)}


class Snapshot:
    """All of Redis at one moment; each check compares one part with what the records and slots imply."""

    def __init__(self, client: redis.Redis) -> None:
        self.all = everything(client)
        self.unexplained = set(self.all) - {keys.EVENTS, keys.RATES, keys.LIMITS, keys.PAUSED, keys.SERVED}
        self.jobs = self._family(keys.JOB)
        self.slots = self._family(keys.SLOT)
        self.waiting = {i: r for i, r in self.jobs.items() if r["state"] == "queued" and not r.get("slot")}
        self.bound = {i: r for i, r in self.jobs.items() if r["state"] == "queued" and r.get("slot")}

    def _family(self, prefix: str) -> dict[str, dict[str, str]]:
        names = [name for name in self.all if name.startswith(prefix)]
        self.unexplained -= set(names)
        return {name.removeprefix(prefix): self.all[name] for name in names}

    def of(self, *states: str) -> set[str]:
        return {job_id for job_id, record in self.jobs.items() if record["state"] in states}

    def _same(self, prefix: str, expected: dict[str, Any]) -> None:
        """Check that exactly these keys exist with this prefix."""
        found = {name: value for name, value in self.all.items() if name.startswith(prefix)}
        assert found == {prefix + suffix: value for suffix, value in expected.items()}, prefix
        self.unexplained -= set(found)

    def _members(self, key: str, expected: set[str]) -> None:
        assert set(self.all.get(key, ())) == expected, key
        self.unexplained.discard(key)

    def check(self) -> None:
        self._slots()
        self._records()
        self._indexes()
        self._queue()
        self._previews()
        self._files()
        self._webhooks()
        assert not self.unexplained

    def _slots(self) -> None:
        self._members(keys.SLOTS, set(self.slots))
        self._members(keys.LEASES, set(self.slots))
        idle = {
            name for name, facts in self.slots.items() if not {"job", "draining", "suspect_at"} & set(facts)
        }  # fmt: skip
        self._members(keys.IDLE, idle)
        held = [(facts["job"], name, facts["attempt"]) for name, facts in self.slots.items() if "job" in facts]
        assert len({job_id for job_id, *_ in held}) == len(held), "two slots with one job"
        for job_id, name, attempt in held:
            record = self.jobs[job_id]
            assert (record["slot"], record["attempt"]) == (name, attempt)
            assert record["state"] in {"queued", "running", *ENDED}
        held_ids = {job_id for job_id, *_ in held}
        assert set(self.bound) | self.of("running") <= held_ids, "a bound or running job without its slot"
        active: dict[str, set[str]] = defaultdict(set)
        for job_id in held_ids:
            active[self.jobs[job_id]["key"]].add(job_id)
        self._same(keys.ACTIVE, dict(active))
        assert {job_id for job_id, record in self.jobs.items() if "charged" in record} == held_ids

    def _records(self) -> None:
        for job_id, record in self.jobs.items():
            fields = set(record)
            assert ("finished_at" in fields) == (record["state"] in ENDED), job_id
            if job_id in self.waiting:
                assert not fields & {"slot", "device", "run", "started_at", "stage", "step", "node", "run_s"}, job_id
            if record["state"] in ENDED:
                assert not fields & {"lane", "sequence", "stage", "eta_s", "delivery_owner", "node", "start_by"}, job_id
            if record["state"] != "delivering":
                assert not fields & {"delivery_owner", "deliveries", "next_look_at"}, job_id

    def _indexes(self) -> None:
        every: dict[str, dict[str, float]] = defaultdict(dict)
        for job_id, record in self.jobs.items():
            created = float(record["created_at"])
            for index in (keys.JOBS, keys.STATE + record["state"]):
                every[index][job_id] = created
                if record["key"] != keys.NOBODY:
                    every[f"{index}:{record['key']}"][job_id] = created
        found = {n: v for n, v in self.all.items() if n.startswith((keys.JOBS + ":", keys.STATE)) or n == keys.JOBS}
        assert found == every
        self.unexplained -= set(found)
        self._members(keys.ASSIGNED, set(self.bound))
        self._members(keys.DELIVERING, self.of("delivering"))
        kept = {i for i, record in self.jobs.items() if record["state"] in ENDED and "outputs" in record}
        self._members(keys.EXPIRING, self.of(*ENDED) - kept)
        self._members(keys.DEADLINES, {i for i, record in self.waiting.items() if "start_by" in record})
        self._members(keys.DEAD, {i for i, r in self.jobs.items() if '"worker_lost"' in r.get("error", "")})

    def _files(self) -> None:
        """Inputs named by records are counted and kept; outputs are due by their class, and kept ones never."""
        due = self.all.get(keys.DUE, {})
        uses = Counter(name for record in self.jobs.values() for name in record.get("inputs", "").split())
        assert {name: int(number) for name, number in self.all.get(keys.INPUT_USES, {}).items()} == uses
        known = self.all.get(keys.INPUTS, {})
        assert set(uses) <= set(known.values())
        assert set(known.values()) - set(uses) <= set(due), "an input that nothing needs and nothing removes"
        for job_id, record in self.jobs.items():
            folder = f"{keys.OUTPUT_OBJECTS}{job_id}/"
            assert ("expires_at" in record) <= (record["state"] == "succeeded"), job_id
            if "outputs" in record and record["retention"] == "keep":
                assert folder not in due, job_id
            elif "outputs" in record:
                assert due[folder] == float(record["expires_at"]), job_id
            if record["state"] in ENDED:
                assert "stored" not in record, job_id
        self.unexplained -= {keys.DUE, keys.INPUTS, keys.INPUT_USES}
        self.unexplained -= {name for name in self.unexplained if name.startswith(keys.DELETED)}

    def _queue(self) -> None:
        lanes: dict[str, dict[str, float]] = defaultdict(dict)
        models: dict[str, set[str]] = defaultdict(set)
        counts: Counter[str] = Counter()
        work: dict[str, float] = defaultdict(float)
        fair: dict[str, set[str]] = defaultdict(set)
        for job_id, record in self.waiting.items():
            lane = record["lane"]
            lanes[lane][job_id] = int(record["sequence"]) - 1e12 * int(record.get("priority") or 0)
            counts["model:" + record["model"]] += 1
            work[record["model"]] += float(record["work"])
            if lane[0] not in (keys.PIN, keys.FRONT):
                who = f"{record['class']}|{record['key']}"
                assert lane == f"{who}|{record['model']}"
                models[who].add(record["model"])
                counts[who] += 1
                counts["class:" + record["class"]] += 1
                fair[record["class"]].add(record["key"])
        self._same(keys.LANE, dict(lanes))
        self._same(keys.KEY_MODELS, dict(models))
        assert {name: int(value) for name, value in self.all.get(keys.WAITING, {}).items()} == counts
        found = {model: round(float(value), 6) for model, value in self.all.get(keys.WORK, {}).items()}
        assert found == {model: round(value, 6) for model, value in work.items()}
        served = self.all.get(keys.SERVED, {})
        for job_class in ("general", "premium"):
            scores = self.all.get(keys.FAIR + job_class, {})
            assert set(scores) == fair[job_class]
            for key, score in scores.items():
                assert abs(score - float(served[f"{job_class}|{key}"])) < 1e-6
        assert all(float(value) > -1e-6 for value in served.values())
        self.unexplained -= {keys.WAITING, keys.WORK, keys.FAIR + "general", keys.FAIR + "premium"}

    def _webhooks(self) -> None:
        """Each job with a webhook has announced its end once, and its start if it ran and the webhook wants that."""
        due: dict[str, set[str]] = defaultdict(set)
        hooks = self._family(keys.WEBHOOK_DELIVERIES)
        for job_id, record in self.jobs.items():
            webhook = json.loads(record.get("webhook") or "null")
            written = {field for field in hooks.pop(job_id, {}) if field.startswith("job.")}
            ends = {"job." + record["state"]} if record["state"] in ENDED else set()
            assert written - {"job.started"} == (ends if webhook else set()), job_id
            if int(record.get("starts") or 0) and webhook and "job.started" in webhook["events"]:
                assert "job.started" in written, job_id
            for event in written:
                due[f"{record['key']}|{webhook['to']}"].add(f"{job_id} {event}")
        assert not hooks
        found = {name: set(value) for name, value in self._family(keys.RECEIVER_DELIVERIES).items()}
        assert found == due  # no sender runs in these tests
        first = {name: min(self.all[keys.RECEIVER_DELIVERIES + name].values()) for name in found}
        assert self.all.get(keys.RECEIVERS, {}) == first
        self.unexplained.discard(keys.RECEIVERS)

    def _previews(self) -> None:
        shown = {job_id: r for job_id, r in self.jobs.items() if "preview_step" in r}
        assert set(shown) <= self.of("running", "delivering")
        found = self._family(keys.PREVIEW)
        assert {job_id: (p["attempt"], p["step"]) for job_id, p in found.items()} == {
            job_id: (record["attempt"], record["preview_step"]) for job_id, record in shown.items()
        }
        assert not set(self._family(keys.PREVIEW_WANTED)) & self.of(*ENDED)

    def counters(self) -> dict[str, int]:
        """The totals of submitted and ended jobs."""
        found = self.all.get(keys.COUNTERS, {})
        self.unexplained.discard(keys.COUNTERS)
        return {name: int(found[name]) for name in ("submitted", *(str(s) for s in JobState)) if name in found}
