"""Helpers for tests of webhooks: end a job, and look at its deliveries."""

from __future__ import annotations

from typing import Any

from tests.support.harness import Stack, wait_for
from tests.support.receiver import SECRET, Receiver

OPTIONS = {
    "WEBHOOK_SECRET": SECRET,
    "WEBHOOK_ALLOW": "127.0.0.1",
    "WEBHOOK_RETRY_S": "0 0 0 0 0 3600",
    "PUBLIC_URL": "https://pictures.example.org/",
}


def cancelled(stack: Stack, receiver: Receiver, **fields: Any) -> str:
    """Cancel a job, which sends an event to the receiver; return its id."""
    job_id = stack.submit(webhook_url=receiver.url, **fields)
    assert stack.cancel(job_id).json()["cancelled"]
    return job_id


def log(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    return list(stack.get(f"/v1/jobs/{job_id}/webhooks").json()["deliveries"])


def settled(stack: Stack, job_id: str, state: str, tries: int = 1) -> dict[str, Any]:
    """Wait for the job's only delivery to be in this state after this many tries; return it."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found[:] = log(stack, job_id)
        return [(one["state"], len(one["tries"])) for one in found] == [(state, tries)]

    try:
        wait_for(look, f"a delivery that is {state} after {tries} tries")
    except AssertionError as exc:
        raise AssertionError(f"{exc}: {found}") from None
    return found[0]
