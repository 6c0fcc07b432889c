"""Sends what the outbox holds: a thread in the parent process of an ``io`` worker, and one for each delivery.

Not a task of the ``io`` queue: a receiver that hangs would hold a process that encodes.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import threading
import time
from collections import Counter
from dataclasses import replace
from functools import cache

from jobs.errors import FramemillError, JobNotFound, Unavailable
from jobs.forecast import OVER
from jobs.job_view import iso, job_view
from jobs.objects.base import ObjectStore
from jobs.objects.factory import open_store
from jobs.outbound import webhook as webhooks
from jobs.outbound.post import Answer, post
from jobs.record import Job
from jobs.store.webhook_outbox import MAX_TRIES, Delivery, WebhookOutbox
from tasks.runtime import settings, store

logger = logging.getLogger(__name__)

#: Longest time a due delivery is not noticed, seconds.
POLL_S = 0.25
#: Deliveries to one receiver at once, from one worker.
PER_RECEIVER = 4
#: What a sender may need beside the receiver's time, before others take its delivery, seconds.
SPARE_S = 10.0
#: Statuses with which a receiver may say when to come back.
_COME_BACK = frozenset({429, 503})
_GONE = 410


@cache
def _objects() -> ObjectStore:
    return open_store(settings())


class Sender:
    """From :meth:`start` to :meth:`stop`. A slow receiver has few threads, so that others always find some."""

    def __init__(self) -> None:
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        #: Deliveries on their way by receiver (host and port), by key, and in all ('').
        self._busy: Counter[str] = Counter()

    def start(self) -> None:
        threading.Thread(target=self._run, name="webhooks", daemon=True).start()

    def stop(self) -> None:
        """Begin no more; what is on its way and does not end is sent again by another worker."""
        self._stopping.set()
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
            except Unavailable:
                pass  # the keeper says so
            except Exception:
                logger.exception("the sender of webhooks goes on after an error")
            self._wake.wait(POLL_S)
            self._wake.clear()

    def _look(self) -> None:
        outbox = WebhookOutbox(store())
        for receiver in outbox.due():
            key, _, host = receiver.partition("|")
            if (places := self._places(key, host)) <= 0:
                continue
            sender = f"{os.getpid()}:{secrets.token_hex(4)}"
            lease_s = settings().webhook_timeout_s + SPARE_S
            for delivery in outbox.claim(receiver, places, lease_s=lease_s, sender=sender):
                with self._lock:
                    self._busy.update(("", f"key {key}", host))
                name = f"webhook {delivery.job_id}"
                threading.Thread(
                    target=self._deliver, args=(delivery, key, host, sender), name=name, daemon=True
                ).start()

    def _places(self, key: str, host: str) -> int:
        """How many more deliveries may begin. No key has more than half, whatever names its receivers have."""
        most = settings().webhook_concurrency
        with self._lock:
            left = (most - self._busy[""], (most + 1) // 2 - self._busy[f"key {key}"], PER_RECEIVER - self._busy[host])
        return min(left)

    def _deliver(self, delivery: Delivery, key: str, host: str, sender: str) -> None:
        try:
            send(delivery, sender)
        except FramemillError as exc:  # Redis or the object store is away: tried again when the lease is over
            logger.warning("webhook not sent", extra={"job_id": delivery.job_id, "error": exc.message})
        except Exception:
            logger.exception("webhook not sent", extra={"job_id": delivery.job_id})
        finally:
            with self._lock:
                self._busy.subtract(("", f"key {key}", host))
                self._busy += Counter()  # forgets those without any
            self._wake.set()


def send(delivery: Delivery, sender: str) -> None:
    """Try a claimed delivery once, and note what came of it."""
    outbox = WebhookOutbox(store())
    try:
        job = store().get(delivery.job_id)
    except JobNotFound:
        return  # its record has left, and the delivery with it
    begun = time.time()
    answer = _try(job, delivery, outbox.secrets(job.key_id))
    entry = {
        "at": int(begun * 1000), "duration_ms": int((time.time() - begun) * 1000), "status": answer.status,
        "error": answer.error,
    }  # fmt: skip
    wait_s = None if answer.accepted or answer.status == _GONE else pause_s(delivery.round, answer)
    state = "delivered" if answer.accepted else "gone" if answer.status == _GONE else "pending"
    settled = replace(
        delivery, state="failed" if state == "pending" and wait_s is None else state, round=delivery.round + 1,
        tries=[*delivery.tries, entry][-MAX_TRIES:],
        next_at=None if wait_s is None else int((time.time() + wait_s) * 1000),
    )  # fmt: skip
    store().until_written(lambda: outbox.settle(settled, sender, wait_s=wait_s))
    logger.log(
        logging.INFO if answer.accepted else logging.WARNING, "webhook %s", settled.state,
        extra={"job_id": job.job_id, "event": delivery.event, "status": answer.status, "error": answer.error or "-",
               "again_in_s": wait_s},
    )  # fmt: skip


def _try(job: Job, delivery: Delivery, keys: list[str]) -> Answer:
    if not job.webhook or not keys:
        return Answer(error="there is no secret that signs")
    # Built now, not when it was written: links to outputs lapse.
    forecast = OVER if job.state.is_terminal else store().forecast(job.job_id)[0]
    view = job_view(job, forecast, _objects(), settings().public_url.rstrip("/"))
    body = webhooks.message(delivery.event, iso(delivery.written_at), view)
    headers = webhooks.signed_headers(keys, delivery.message_id, int(time.time()), body)
    headers["Content-Type"] = "application/json"
    return post(
        job.webhook.url, body, headers, timeout_s=settings().webhook_timeout_s, allow_hosts=settings().webhook_hosts
    )


def pause_s(tries: int, answer: Answer) -> float | None:
    """Seconds to the next try after so many failed ones before this one; None: there is none."""
    pauses = settings().webhook_pauses_s
    if tries >= len(pauses):
        return None
    # Spread: the deliveries that an outage of the receiver gathered shall not all come at once.
    planned = pauses[tries] * random.uniform(1, 1.2)  # noqa: S311  (no secret)
    asked = answer.retry_after_s if answer.status in _COME_BACK else None
    return max(planned, min(asked or 0, max(pauses)))
