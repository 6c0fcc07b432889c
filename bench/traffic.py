"""The callers of ``bench/chaos.py``: they submit jobs with their own ids, repeat unanswered requests, cancel some."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bench.common import Client

#: Keys of the server when it has keys: name, secret, role and class.
KEYS = (
    ("ops", "chaos-secret-of-ops", "admin", "general"),
    ("amber", "chaos-secret-of-amber", "client", "general"),
    ("birch", "chaos-secret-of-birch", "client", "premium"),
    ("cedar", "chaos-secret-of-cedar", "client", "general"),
)
API_KEYS = ",".join(":".join(key) for key in KEYS)
OPERATOR = KEYS[0][1]

#: Kinds of jobs and how often they occur.
MIX = {"noop": 9, "image": 6, "video": 2, "broken": 1}
CANCELLED_SHARE = 0.15
RETRY_PAUSE_S = 0.2


@dataclass
class Plan:
    """One job: its request, what is done with it, and the responses of the server."""

    job_id: str
    kind: str
    fields: dict[str, Any]
    #: Secret of the caller; None on a server without keys.
    secret: str | None
    #: Cancel it this long after it was accepted, seconds; None: never.
    cancel_after_s: float | None = None
    accepted: bool = False
    #: How often it was sent.
    sends: int = 0
    #: State in the response to the cancellation.
    cancel_answer: str | None = None
    refusal: str = ""


def plans(count: int, rng: random.Random, *, keys: bool) -> list[Plan]:
    """Return ``count`` jobs, the same for the same ``rng``."""
    fields: dict[str, Callable[[], dict[str, Any]]] = {
        "noop": lambda: {"model": "noop", "steps": rng.randint(1, 60)},
        "image": lambda: {"model": "tiny-image", "prompt": "a red circle", "steps": rng.randint(1, 40)},
        "video": lambda: {"model": "tiny-video", "prompt": "a red circle", "steps": rng.randint(1, 10)},
        "broken": lambda: {"model": "broken", "prompt": "never"},
    }
    jobs = []
    for number in range(count):
        kind = rng.choices(list(MIX), list(MIX.values()))[0]
        job_id = f"chaos-{number:05d}"
        secret = rng.choice(KEYS[1:])[1] if keys else None
        plan = Plan(job_id, kind, {**fields[kind](), "id": job_id}, secret)
        if rng.random() < CANCELLED_SHARE:
            plan.cancel_after_s = rng.expovariate(1 / 2.0)
        jobs.append(plan)
    return jobs


class Traffic:
    """Sends the plans from several threads, evenly over ``duration_s``."""

    def __init__(self, port: int, jobs: list[Plan], duration_s: float, senders: int = 4) -> None:
        self._port, self._jobs, self._pause_s = port, jobs, duration_s * senders / max(1, len(jobs))
        self._stop = threading.Event()
        shares: Iterable[list[Plan]] = (jobs[number::senders] for number in range(senders))
        self._threads = [threading.Thread(target=self._send_all, args=(share,), daemon=True) for share in shares]
        self._threads.append(threading.Thread(target=self._cancel_all, daemon=True))
        self._accepted_at: dict[str, float] = {}

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until everything is sent; give up after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads[:-1]:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._stop.set()
        self._threads[-1].join(30)

    def _send_all(self, share: list[Plan]) -> None:
        with Client(self._port, timeout_s=8) as client:
            for plan in share:
                if self._stop.is_set():
                    return
                self._submit(client, plan)
                time.sleep(self._pause_s)

    def _submit(self, client: Client, plan: Plan) -> None:
        while not self._stop.is_set():
            plan.sends += 1
            try:
                status, answer = client.send("POST", "/v1/jobs", plan.fields, secret=plan.secret)
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(RETRY_PAUSE_S)
                continue
            repeated = status == 409 and answer["error"]["code"] == "duplicate_job" and plan.sends > 1
            if status == 201 or repeated:
                plan.accepted = True
                self._accepted_at[plan.job_id] = time.monotonic()
                return
            if status not in (429, 503):
                plan.refusal = f"{status}: {answer}"
                return
            time.sleep(RETRY_PAUSE_S)

    def _cancel_all(self) -> None:
        waiting = [plan for plan in self._jobs if plan.cancel_after_s is not None]
        with Client(self._port, timeout_s=8) as client:
            while waiting:
                ending = self._stop.is_set()
                waiting = [plan for plan in waiting if not self._done_with(client, plan, ending)]
                time.sleep(0.05)

    def _done_with(self, client: Client, plan: Plan, ending: bool) -> bool:
        """Cancel a job if its time has come. Return False to check it again later."""
        accepted_at = self._accepted_at.get(plan.job_id)
        if accepted_at is None:
            return ending
        return (ending or time.monotonic() >= accepted_at + (plan.cancel_after_s or 0)) and _cancel(client, plan)


def _cancel(client: Client, plan: Plan) -> bool:
    try:
        status, answer = client.send("POST", f"/v1/jobs/{plan.job_id}/cancel", secret=plan.secret)
    except (OSError, http.client.HTTPException, ValueError):
        return False
    if status == 200:
        plan.cancel_answer = answer["state"]
    elif status != 503:
        plan.refusal = f"cancel {status}: {answer}"
    return status != 503
