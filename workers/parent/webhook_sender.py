"""Send the webhooks of the outbox: a thread in the parent process of an ``io`` worker, and one more for each delivery.

It is not a task of the ``io`` queue, because a receiver that hangs would block a process that encodes.
"""

from __future__ import annotations

import json
import logging
import os
import random
import secrets
import threading
import time
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

from jobs.callers import NOBODY
from jobs.errors import FramemillError, JobNotFound, Unavailable
from jobs.forecast import OVER
from jobs.job_view import iso, job_view
from jobs.objects.base import ObjectStore
from jobs.outbound import webhook as webhooks
from jobs.outbound.post import PostResult, post
from jobs.outbound.signed_links import LinkSigner
from jobs.prediction_view import PROTOCOL, prediction_view
from jobs.record import Job
from jobs.store.credentials.link_secret import secrets_of
from jobs.store.jobs import JobStore
from jobs.store.measuring import families
from jobs.store.measuring.objects import open_measured
from jobs.store.outgoing.webhook_outbox import MAX_TRIES, Delivery, WebhookOutbox
from tasks.runtime import settings, store

logger = logging.getLogger(__name__)

#: Interval between two looks at the outbox, seconds.
POLL_S = 0.25
#: Concurrent deliveries to one receiver, per worker.
PER_RECEIVER = 4
#: How much longer than the timeout of its request a delivery is leased, seconds.
LEASE_MARGIN_S = 10.0
#: Statuses with which a receiver may set ``Retry-After``.
_RETRY_AFTER_STATUSES = frozenset({429, 503})
_GONE = 410


@cache
def _objects() -> ObjectStore:
    return open_measured(settings(), store().measures)


class WebhookSender:
    """Sends from :meth:`start` to :meth:`stop`. A slow receiver gets few threads, so that some are left for others."""

    def __init__(self) -> None:
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        #: Number of running deliveries by receiver (host and port), by API key (``key …``), and in total ('').
        self._running: Counter[str] = Counter()

    def start(self) -> None:
        threading.Thread(target=self._run, name="webhooks", daemon=True).start()

    def stop(self) -> None:
        """Begin no more deliveries. One that does not end is sent again by another worker."""
        self._stopping.set()
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._send_due()
            except Unavailable:
                pass  # the heartbeat thread logs it
            except Exception:
                logger.exception("the webhook sender goes on after an error")
            self._wake.wait(POLL_S)
            self._wake.clear()

    def _send_due(self) -> None:
        outbox = WebhookOutbox(store())
        for receiver in outbox.due():
            key, _, host = receiver.partition("|")
            if (capacity := self._capacity(key, host)) <= 0:
                continue
            sender = f"{os.getpid()}:{secrets.token_hex(4)}"
            lease_s = settings().webhooks.timeout_s + LEASE_MARGIN_S
            for delivery in outbox.claim(receiver, capacity, lease_s=lease_s, sender=sender):
                with self._lock:
                    self._running.update(("", f"key {key}", host))
                arguments, name = (delivery, key, host, sender), f"webhook {delivery.job_id}"
                threading.Thread(target=self._deliver, args=arguments, name=name, daemon=True).start()

    def _capacity(self, key: str, host: str) -> int:
        """Return how many more deliveries may begin. No API key gets more than half, however many receivers it has."""
        most = settings().webhooks.concurrency
        with self._lock:
            return min(
                most - self._running[""],
                (most + 1) // 2 - self._running[f"key {key}"],
                PER_RECEIVER - self._running[host],
            )

    def _deliver(self, delivery: Delivery, key: str, host: str, sender: str) -> None:
        try:
            send(delivery, sender)
        except FramemillError as exc:  # Redis or the object store is away: sent again when the lease lapses
            logger.warning("webhook not sent", extra={"job_id": delivery.job_id, "error": exc.message})
        except Exception:
            logger.exception("webhook not sent", extra={"job_id": delivery.job_id})
        finally:
            with self._lock:
                self._running.subtract(("", f"key {key}", host))
                self._running += Counter()  # drops the entries that are 0
            self._wake.set()


def send(delivery: Delivery, sender: str) -> None:
    """Send a claimed delivery once and write the result to the outbox."""
    outbox = WebhookOutbox(store())
    try:
        job = store().get(delivery.job_id)
    except JobNotFound:
        return  # the delivery has been removed with the record
    begun, began = time.time(), time.monotonic()
    response = _post(job, delivery, outbox.secrets(job.key_id))
    attempt = {
        "at": int(begun * 1000), "duration_ms": int((time.time() - begun) * 1000), "status": response.status,
        "error": response.error,
    }  # fmt: skip
    settled, wait_s = _settled(delivery, response, attempt)
    outcome = "retried" if settled.state == "pending" else settled.state
    store().measures.observe(families.WEBHOOK, outcome, seconds=time.monotonic() - began)
    store().until_written(lambda: outbox.settle(settled, sender, wait_s=wait_s))
    logger.log(
        logging.INFO if response.accepted else logging.WARNING, "webhook %s", settled.state,
        extra={"job_id": job.job_id, "event": delivery.event, "status": response.status,
               "error": response.error or "-", "again_in_s": wait_s},
    )  # fmt: skip


def _post(job: Job, delivery: Delivery, keys: list[str]) -> PostResult:
    if not job.webhook or not keys:
        return PostResult(error="there is no secret that signs")
    # The body is built now, not when the delivery was written: links to outputs expire.
    body = message_of(job, delivery, store(), _objects())
    headers = webhooks.signed_headers(keys, delivery.message_id, int(time.time()), body)
    headers["Content-Type"] = "application/json"
    options = settings().webhooks
    return post(job.webhook.url, body, headers, timeout_s=options.timeout_s, allow_hosts=options.allowed_hosts)


def message_of(job: Job, delivery: Delivery, records: JobStore, objects: ObjectStore) -> bytes:
    """Return the body: a message of the native API, or the prediction of a job of Replicate's."""
    if job.protocol != PROTOCOL:
        return webhooks.message(delivery.event, iso(delivery.written_at), view_of(job, records, objects))
    base_url = records.settings.web.public_url.rstrip("/")
    prediction = prediction_view(job, objects, _signer(job, records), base_url)
    return json.dumps(prediction, ensure_ascii=False).encode()


def view_of(job: Job, records: JobStore, objects: ObjectStore) -> dict[str, Any]:
    """Return a job as its webhook shows it, with links for the owner of its key."""
    options = records.settings
    forecast = OVER if job.state.is_terminal else records.forecast(job.job_id)[0]
    return job_view(job, forecast, objects, _signer(job, records), options.web.public_url.rstrip("/"))


def _signer(job: Job, records: JobStore) -> LinkSigner | None:
    """Return the signer of links for the owner of a job's key."""
    if job.key_id == NOBODY:  # the server has no keys, and its links need no signature
        return None
    return LinkSigner.lasting(secrets_of(records)[0], job.key_id, records.settings.outputs.url_ttl_s)


def _settled(
    delivery: Delivery, response: PostResult, attempt: dict[str, int | str | None]
) -> tuple[Delivery, float | None]:  # fmt: skip
    """Return the delivery after this attempt, and the seconds to the next one (None: there is none)."""
    wait_s = None
    if response.accepted:
        state = "delivered"
    elif response.status == _GONE:
        state = "gone"
    else:
        wait_s = pause_s(delivery.round, response)
        state = "failed" if wait_s is None else "pending"
    settled = replace(
        delivery, state=state, round=delivery.round + 1, tries=[*delivery.tries, attempt][-MAX_TRIES:],
        next_at=None if wait_s is None else int((time.time() + wait_s) * 1000),
    )  # fmt: skip
    return settled, wait_s


def pause_s(failed: int, response: PostResult) -> float | None:
    """Return the seconds to the next attempt; None if there is none.

    Args:
        failed: number of failed attempts before this one.
        response: the response to this one.
    """
    pauses = settings().webhooks.pauses_s
    if failed >= len(pauses):
        return None
    # Jitter: the deliveries that an outage of the receiver delayed must not all arrive at once.
    planned = pauses[failed] * random.uniform(1, 1.2)  # noqa: S311  (no secret)
    requested = response.retry_after_s if response.status in _RETRY_AFTER_STATUSES else None
    return max(planned, min(requested or 0, max(pauses)))
