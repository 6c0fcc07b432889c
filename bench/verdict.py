"""Check every job of ``bench/chaos.py`` against the API, Celery, the event log and the disk."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from bench.common import Client, table
from bench.monkey import Disturbance
from bench.traffic import Plan
from jobs.settings import PROJECT_ROOT
from jobs.states import TERMINAL, JobState, celery_state
from jobs.store import keys
from tests.support.harness import Stack

#: The code with which a job of the model "broken" must fail.
BROKEN_CODE = "model_load_failed"
#: Indexes in Redis that must be empty when no job is left.
_TRANSIENT = (keys.ASSIGNED, keys.DELIVERING, keys.WAITING, keys.WORK, keys.DEADLINES)
#: Beginnings of names that must not exist then.
_TRANSIENT_FAMILIES = (
    keys.LANE, keys.KEY_LANES, keys.READY, keys.ORDER, keys.ACTIVE, keys.UNFILLED, keys.STOPPING,
)  # fmt: skip

_ASK_CELERY = """
import json, sys
from tasks import app
print(json.dumps({job_id: app.AsyncResult(job_id).state for job_id in json.load(sys.stdin)}))
"""


@dataclass
class Verdict:
    """Counts, and every violation that was found."""

    jobs: list[Plan]
    disturbances: list[Disturbance]
    counts: Counter[str] = field(default_factory=Counter)
    #: Row of the table → violations.
    bad: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    orphans: int = 0
    #: Longest time to recover by kind of disturbance, seconds.
    recovery_s: dict[str, float] = field(default_factory=dict)

    ROWS = ("not accepted", "failed otherwise", "lost", "stuck", "published twice", "output missing or changed",
            "API, Celery and events disagree", "left over in Redis")  # fmt: skip

    @property
    def good(self) -> bool:
        return not any(self.bad.values())

    def text(self) -> str:
        """Return the table, then the violations, job by job."""
        done = Counter(each.what for each in self.disturbances)
        rows: list[tuple[Any, Any, Any]] = [
            ("accepted", sum(plan.accepted for plan in self.jobs), f"of {len(self.jobs)}"),
            ("sent more than once", sum(plan.sends > 1 for plan in self.jobs), ""),
            *((name, self.counts[name], "") for name in ("succeeded", "cancelled", "failed by design")),
            *((name, len(self.bad[name]), "must be 0") for name in self.ROWS),
            ("unpublished files left on disk", self.orphans, ""),
        ]
        for what, count in sorted(done.items()):
            longest = self.recovery_s.get(what)
            rows.append((what, count, "" if longest is None else f"runs again after at most {longest:.1f} s"))
        violations = [f"{name}: {line}" for name, lines in self.bad.items() for line in lines[:20]]
        return "\n".join([table(("", "number", ""), rows), *violations])


def judge(stack: Stack, jobs: list[Plan], disturbances: list[Disturbance], secret: str | None) -> Verdict:
    """Check everything. The stack must be running and idle."""
    verdict = Verdict(jobs, disturbances)
    views: dict[str, dict[str, Any]] = {}
    with Client(stack.port) as client:
        for plan in jobs:
            if not plan.accepted or plan.refusal:
                verdict.bad["not accepted"].append(f"{plan.job_id} {plan.refusal}")
                continue
            status, view = client.send("GET", f"/v1/jobs/{plan.job_id}", secret=secret)
            if status == 200:
                views[plan.job_id] = view
                _outcome(verdict, plan, view)
                _outputs(verdict, stack, client, plan, view, secret)
            else:
                verdict.bad["lost"].append(f"{plan.job_id}: {status} {view}")
    _events(verdict, stack, views)
    _celery(verdict, stack, views)
    _left_over(verdict, stack)
    return verdict


def _outcome(verdict: Verdict, plan: Plan, view: dict[str, Any]) -> None:
    state, error = JobState(view["state"]), view["error"] or {}
    line = f"{plan.job_id} ({plan.kind}) is {state}, attempt {view['attempt']}, {error}"
    if state not in TERMINAL:
        verdict.bad["stuck"].append(f"{line}, slot {view['slot']}, stage {view['progress']['stage']}")
    elif plan.cancel_answer and plan.cancel_answer != state:
        verdict.bad["API, Celery and events disagree"].append(f"{line}; the cancellation said {plan.cancel_answer}")
    elif state is JobState.CANCELLED and plan.cancel_after_s is not None:
        verdict.counts["cancelled"] += 1
    elif state is JobState.FAILED and plan.kind == "broken" and error.get("code") == BROKEN_CODE:
        verdict.counts["failed by design"] += 1
    elif state is JobState.SUCCEEDED and plan.kind != "broken":
        verdict.counts["succeeded"] += 1
    else:
        lost = error.get("code") in ("worker_lost", "output_lost")
        verdict.bad["lost" if lost else "failed otherwise"].append(line)


def _outputs(
    verdict: Verdict, stack: Stack, client: Client, plan: Plan, view: dict[str, Any], secret: str | None
) -> None:
    """Check that exactly the files of the record exist as they were published, and only for jobs that succeeded."""
    folder = stack.settings.paths.objects_dir / "outputs" / plan.job_id
    stored = [path for path in folder.glob("*/*") if not path.name.startswith(".")]
    expected = 1 if view["state"] == "succeeded" and plan.kind in ("image", "video") else 0
    if len(view["outputs"]) != expected:
        row = "published twice" if len(view["outputs"]) > expected else "output missing or changed"
        verdict.bad[row].append(f"{plan.job_id} ({view['state']}) names {len(view['outputs'])} outputs: {stored}")
    for output in view["outputs"]:
        status, content = client.fetch("GET", output["url"], secret=secret)
        if status != 200 or hashlib.sha256(content).hexdigest() != output["sha256"]:
            verdict.bad["output missing or changed"].append(f"{plan.job_id}: {status}")
    named = sum(1 + bool(output["thumbnail_url"]) + bool(output["poster_url"]) for output in view["outputs"])
    verdict.orphans += max(0, len(stored) - named)


def _events(verdict: Verdict, stack: Stack, views: dict[str, dict[str, Any]]) -> None:
    """Check that each job ends once with no event after it, and measure how long each disturbance lasted."""
    entries = stack.store.call(lambda c: c.xrange(keys.EVENTS))
    events = [(int(entry_id.split("-")[0]), json.loads(entry["event"])) for entry_id, entry in entries]
    ends: dict[str, list[str]] = defaultdict(list)
    for _, event in events:
        if event["state"] in TERMINAL or event["task_id"] in ends:
            ends[event["task_id"]].append(event["state"])
    for job_id, view in views.items():
        if view["state"] in TERMINAL and ends[job_id] != [view["state"]]:
            twice = ends[job_id].count("succeeded") > 1
            row = "published twice" if twice else "API, Celery and events disagree"
            verdict.bad[row].append(f"{job_id} is {view['state']}, events {ends[job_id]}")
    delivered = {plan.job_id for plan in verdict.jobs if plan.kind in ("image", "video")}
    for each in verdict.disturbances:
        for at_ms, event in events:
            if each.what.endswith(" io"):
                back = event["state"] == "succeeded" and event["task_id"] in delivered
            else:
                back = event["state"] == "running" and each.slot in ("", event.get("slot"))
            if back and at_ms > each.over_at_ms:  # otherwise no job was left for it
                recovered_s = (at_ms - each.over_at_ms) / 1000
                verdict.recovery_s[each.what] = max(recovered_s, verdict.recovery_s.get(each.what, 0.0))
                break


def _celery(verdict: Verdict, stack: Stack, views: dict[str, dict[str, Any]]) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", _ASK_CELERY], cwd=PROJECT_ROOT, env={**os.environ, **stack.environment},
        input=json.dumps(list(views)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    states = json.loads(answer.stdout)
    for job_id, view in views.items():
        expected = celery_state(JobState(view["state"]), reported=view["progress"]["stage"] is not None)
        if states[job_id] != expected:
            line = f"{job_id} is {view['state']}, AsyncResult says {states[job_id]}"
            verdict.bad["API, Celery and events disagree"].append(line)


def _left_over(verdict: Verdict, stack: Stack) -> None:
    client = stack.store.client
    for name in _TRANSIENT:
        kind = client.type(name)
        if kind != "none":
            held = client.hgetall(name) if kind == "hash" else client.zrange(name, 0, -1)
            verdict.bad["left over in Redis"].append(f"{name}: {held}")
    for name in client.scan_iter(keys.PREFIX + "*"):
        if name.startswith(_TRANSIENT_FAMILIES):
            verdict.bad["left over in Redis"].append(name)
        if name.startswith(keys.SLOT) and client.hget(name, "job"):
            verdict.bad["left over in Redis"].append(f"{name}: {client.hgetall(name)}")
    for state in set(JobState) - TERMINAL:
        if ids := client.zrange(keys.STATE + state, 0, -1):
            verdict.bad["left over in Redis"].append(f"{state}: {ids}")
