"""Invariants of everything that the store keeps in Redis, whatever was called before, in any order."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import redis

from jobs.states import TERMINAL, JobState
from jobs.store import keys
from tests.support import preemption_invariants

ENDED = {str(state) for state in TERMINAL}
READERS = {"hash": "hgetall", "set": "smembers", "string": "get", "stream": "xlen"}


def everything(client: redis.Redis) -> dict[str, Any]:
    """Return every key, read by its type; sorted sets as ``{member: score}``."""
    names = [str(name) for name in client.keys("*") if name != keys.SWEPT_AT]
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.type(name)
    # A key may expire between the two commands.
    types = {name: kind for name, kind in zip(names, pipe.execute(), strict=True) if kind != "none"}
    for name, kind in types.items():
        if kind == "zset":
            pipe.zrange(name, 0, -1, withscores=True)
        elif kind == "list":
            pipe.lrange(name, 0, -1)
        else:
            getattr(pipe, READERS[kind])(name)
    values = pipe.execute()
    return {n: dict(v) if t == "zset" else v for (n, t), v in zip(types.items(), values, strict=True)}


class Snapshot:
    """All of Redis at one moment; each check compares one part with what the records and slots imply."""

    def __init__(self, client: redis.Redis, preempts: Mapping[str, Sequence[str]] | None = None) -> None:
        self.preempts = preempts or {}
        self.all = everything(client)
        self.unexplained = set(self.all) - {keys.EVENTS, keys.RATES, keys.LIMITS, keys.PAUSED, keys.SERVED, keys.LAYOUT}
        self.paused = self.all.get(keys.PAUSED, set())
        self.jobs = self._family(keys.JOB)
        self.slots = self._family(keys.SLOT)
        self.waiting = {i: r for i, r in self.jobs.items() if r["state"] == "queued" and not r.get("slot")}
        self.early = {i: r for i, r in self.waiting.items() if int(r.get("not_before", 0)) > 1000 * time.time()}
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
        self._ends()
        preemption_invariants.check(self, self.preempts)
        self._previews()
        self._files()
        self._webhooks()
        self._usage()
        measured = (keys.MEASURES, keys.MEASURED, keys.BATCH)
        self.unexplained -= {name for name in self.unexplained if name.startswith(measured)}
        assert not self.unexplained, self.unexplained

    def _slots(self) -> None:
        self._members(keys.SLOTS, set(self.slots))
        self._members(keys.LEASES, set(self.slots))
        held = [(facts["job"], name, facts["attempt"]) for name, facts in self.slots.items() if "job" in facts]
        leaders = {job_id for job_id, *_ in held}
        for name, facts in self.slots.items():
            for companion in filter(None, facts.get("companions", "").split(",")):
                job_id, attempt = companion.split()
                held.append((job_id, name, attempt))
                assert self.jobs[job_id]["leader"] == facts["job"], job_id
        assert {job_id for job_id, record in self.jobs.items() if "leader" in record} == {i for i, *_ in held} - leaders
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
        assert {job_id for job_id, record in self.jobs.items() if "charged_offer" in record} <= held_ids
        self._members(
            keys.STOPPING,
            {name for job_id, name, _ in held if job_id in leaders and self.jobs[job_id]["state"] == "cancelled"},
        )
        self._offers()

    def _offers(self) -> None:
        """Each slot that takes jobs is indexed by what it offers, and as idle or busy; nothing else is."""
        offers: dict[str, str] = {}
        slots: dict[str, dict[str, float]] = defaultdict(dict)
        found: dict[str, set[str]] = defaultdict(set)
        for name, facts in self.slots.items():
            if {"draining", "suspect_at"} & set(facts):
                continue
            models = facts.get("models", "[]")
            offer = hashlib.sha1(models.encode()).hexdigest()[:16]
            offers[offer] = models
            for model in json.loads(models):
                found[f"{keys.MODEL_OFFERS}{model}"].add(offer)
            standing = 1 if name in self.paused else 2 if facts.get("blocked") else 0
            slots[offer][name] = standing
            if standing == 0 and "job" in facts:
                found[keys.BUSY + offer].add(name)
            elif standing == 0 and not ("pulls" in facts and "open" not in facts):
                found[keys.IDLE + offer].add(name)
                for model in set(facts.get("resident", "").split(",")) & set(json.loads(models)):
                    found[keys.WARM + model].add(name)
        assert self.all.get(keys.OFFERS, {}) == offers
        self._same(keys.OFFER_SLOTS, slots)
        indexes = (keys.MODEL_OFFERS, keys.IDLE, keys.BUSY, keys.WARM)
        assert {n: set(v) for n, v in self.all.items() if n.startswith(indexes)} == found
        self.unexplained -= {keys.OFFERS, *found}

    def _records(self) -> None:
        for job_id, record in self.jobs.items():
            fields = set(record)
            assert ("finished_at" in fields) == (record["state"] in ENDED), job_id
            assert ({"paused_at", "resume_by"} <= fields) == (record["state"] == "paused"), job_id
            assert ("start_within" in fields) <= (record["state"] == "paused"), job_id
            if job_id in self.waiting or record["state"] == "paused":
                assert not fields & {"slot", "device", "run", "started_at", "stage", "node", "run_s"}, job_id
                assert ("step" in fields) == ("checkpoint" in fields), job_id
            if record["state"] != "running":
                assert not fields & {"interrupt", "resumable"}, job_id
            if record["state"] in ENDED:
                assert not fields & {"line", "sequence", "stage", "eta_s", "delivery_owner", "node", "start_by"}, job_id
            if record["state"] != "delivering":
                assert not fields & {"delivery_owner", "deliveries", "next_look_at"}, job_id

    def _indexes(self) -> None:
        every: dict[str, dict[str, float]] = defaultdict(dict)
        for job_id, record in self.jobs.items():
            created = float(record["created_at"])
            for index in (keys.JOBS, keys.STATE + record["state"], *([keys.VIDEOS] if "video" in record else [])):
                every[index][job_id] = created
                if record["key"] != keys.NOBODY:
                    every[f"{index}:{record['key']}"][job_id] = created
        beginnings, names = (keys.JOBS + ":", keys.VIDEOS + ":", keys.STATE), (keys.JOBS, keys.VIDEOS)
        found = {n: v for n, v in self.all.items() if n.startswith(beginnings) or n in names}
        assert found == every
        self.unexplained -= set(found)
        self._members(keys.ASSIGNED, set(self.bound))
        self._members(keys.DELIVERING, self.of("delivering"))
        kept = {i for i, record in self.jobs.items() if record["state"] in ENDED and "outputs" in record}
        self._members(keys.EXPIRING, self.of(*ENDED) - kept)
        timed = {i for i, record in self.waiting.items() if "start_by" in record}
        self._members(keys.DEADLINES, timed | self.of("paused"))
        assert self.all.get(keys.NOT_BEFORE, {}) == {i: int(r["not_before"]) for i, r in self.early.items()}
        self.unexplained.discard(keys.NOT_BEFORE)
        self._members(keys.DEAD, {i for i, r in self.jobs.items() if '"worker_lost"' in r.get("error", "")})

    def _ends(self) -> None:
        """Each end that its process does not report is listed once; these tests take none from the list."""
        listed = [entry.split(" ") for entry in self.all.get(keys.ENDS, ())]
        ends = dict(listed)
        assert len(ends) == len(listed), "a job with two ends"
        for job_id, record in self.jobs.items():
            expected = record["state"] if record["state"] in ENDED - {"succeeded"} else None
            assert ends.get(job_id) == expected, job_id
        self.unexplained.discard(keys.ENDS)

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
        """Every index of waiting jobs is what a walk through all records finds."""
        lanes: dict[str, dict[str, float]] = defaultdict(dict)
        of_key: dict[str, set[str]] = defaultdict(set)
        order: dict[str, set[str]] = defaultdict(set)
        counts: Counter[str] = Counter()
        work: dict[str, float] = defaultdict(float)
        for job_id in set(self.waiting) - set(self.early):
            record = self.waiting[job_id]
            line, key, model = record["line"], record["key"], record["model"]
            late = record["class"] == "off-peak" and record.get("priority") != "1000"  # not moved to the front
            pin = (keys.LATE_PIN if late else keys.PIN) + record.get("pin", "")
            assert line in (record["class"], keys.FRONT) if "pin" not in record else line == pin
            lanes[f"{line}|{key}|{model}"][job_id] = int(record["sequence"]) - 1e12 * int(record.get("priority") or 0)
            of_key[key].add(f"{line}|{model}")
            order[f"{line}|{model}"].add(job_id)
            counts["model:" + model] += 1
            of_slot = f"{'late' if late else 'pin'}:{record.get('pin')}"
            counts["front" if line == keys.FRONT else of_slot if "pin" in record else f"class:{line}"] += 1
            counts["pins"] += "pin" in record and not late
            work[model] += float(record["work"])
        self._same(keys.LANE, dict(lanes))
        self._same(keys.KEY_LANES, dict(of_key))
        assert {name: set(jobs) for name, jobs in self._family(keys.ORDER).items()} == order
        self._ready(lanes)
        assert {name: int(value) for name, value in self.all.get(keys.WAITING, {}).items()} == +counts
        found = {model: round(float(value), 6) for model, value in self.all.get(keys.WORK, {}).items()}
        assert found == {model: round(value, 6) for model, value in work.items()}
        assert all(float(value) > -1e-6 for value in self.all.get(keys.SERVED, {}).values())
        assert set(self.all.get(keys.UNUSED, {})) <= set(self.all.get(keys.SERVED, {}))
        assert not self.all.get(keys.UNFILLED)
        self.unexplained -= {keys.WAITING, keys.WORK, keys.UNUSED, keys.SERVED_WALK}

    def _ready(self, lanes: dict[str, dict[str, float]]) -> None:
        """Keys stand by what they were served, or by their first job; those at their limit at the end."""
        served, limits = self.all.get(keys.SERVED, {}), self.all.get(keys.LIMITS, {})
        expected: dict[str, dict[str, float]] = defaultdict(dict)
        for lane, jobs in lanes.items():
            line, key, model = lane.split("|")
            score = (
                min(jobs.values())
                if line[0] in (keys.PIN, keys.LATE_PIN, keys.FRONT)
                else float(served.get(f"{line}|{key}|{model}", 0))
            )
            is_at_limit = len(self.all.get(keys.ACTIVE + key, ())) >= int(limits.get(key, 1_000_000))
            expected[f"{line}|{model}"][key] = float("inf") if is_at_limit else score
        found = self._family(keys.READY)
        assert set(found) == set(expected)
        for name, places in expected.items():
            assert found[name] == pytest.approx(places, abs=1e-6), name

    def _webhooks(self) -> None:
        """Each job with a webhook has announced its end once, and its start if it ran and the webhook wants that."""
        due: dict[str, set[str]] = defaultdict(set)
        hooks = self._family(keys.WEBHOOK_DELIVERIES)
        for job_id, record in self.jobs.items():
            webhook = json.loads(record.get("webhook") or "null")
            written = {field for field in hooks.pop(job_id, {}) if field.startswith("job.")}
            ends = {"job." + record["state"]} if record["state"] in ENDED else set()
            assert written - {"job.started", "job.paused"} == (ends if webhook else set()), job_id
            if int(record.get("starts") or 0) and webhook and "job.started" in webhook["events"]:
                assert "job.started" in written, job_id
            if record["state"] == "paused" and webhook and "job.paused" in webhook["events"]:
                assert "job.paused" in written, job_id
            for event in written:
                due[f"{record['key']}|{webhook['to']}"].add(f"{job_id} {event}")
        assert not hooks
        found = {name: set(value) for name, value in self._family(keys.RECEIVER_DELIVERIES).items()}
        assert found == due  # no sender runs in these tests
        first = {name: min(self.all[keys.RECEIVER_DELIVERIES + name].values()) for name in found}
        assert self.all.get(keys.RECEIVERS, {}) == first
        self.unexplained.discard(keys.RECEIVERS)

    def _usage(self) -> None:
        """The keys that have used something are listed."""
        used = {name.rpartition(":")[0] for name in self._family(keys.USAGE)}
        self._members(keys.USAGE_KEYS, used)

    def _previews(self) -> None:
        shown = {job_id: r for job_id, r in self.jobs.items() if "preview_step" in r}
        assert set(shown) <= self.of("running", "paused", "delivering")
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
