"""Calls that consist of one request and one response. ``async_operations`` has the same methods."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Unpack

import httpx2

from framemill.errors import ApiError
from framemill.keys import Key, KeyFields
from framemill.records import Cancellation, Deletion, Job, Preview
from framemill.responses import (
    DeadLetter,
    Deliveries,
    Drain,
    Fleet,
    FleetHistory,
    Model,
    ModelCommand,
    Queue,
    ServiceWebhook,
    Storage,
    TriedDelivery,
    Usage,
    YieldedSlot,
)
from framemill.transport import routes, wire
from framemill.transport.connection import Connection
from framemill.transport.readers import read_as, read_keys, read_paused


class Operations(Connection):
    """Cancel, retry and administer. Administrative calls need an admin key; ApiError 403 otherwise."""

    def get(self, job_id: str) -> Job:
        """Return the current state of a job."""
        return self._json(routes.get(job_id), Job.from_dict)

    def preview(self, job_id: str) -> Preview | None:
        """Return the newest preview of a running job, or None. The request enables previews for some seconds."""
        try:
            return self._send(routes.job("GET", job_id, "/preview"), _read_preview)
        except ApiError as error:
            if error.code != "no_preview":
                raise
            return None

    def thumbnail(self, job_id: str, index: int = 0) -> bytes:
        """Return the thumbnail of an output. ApiError 404: it has none."""
        return self._send(routes.job("GET", job_id, "/thumbnail", index=index), httpx2.Response.read)

    def cancel(self, job_id: str) -> Cancellation:
        """Cancel one job. ``cancelled`` of the result is False if the job had already finished."""
        return self._json(routes.cancel(job_id), Cancellation.from_dict)

    def delete(self, job_id: str) -> Deletion:
        """Delete a job and its files. An unfinished job is cancelled first. Repeating the call does no harm."""
        return self._json(routes.delete(job_id), Deletion.from_dict)

    def cancel_all(self, *, waiting: bool = False) -> Sequence[str]:
        """Cancel all running jobs of this key, with ``waiting`` all unfinished ones; return their ids."""
        return self._json(routes.cancel_all(waiting=waiting), lambda body: tuple(body["cancelled"]))

    def pause(self, job_id: str) -> Job:
        """Set a job aside until it is resumed; it holds no slot meanwhile. ApiError ``conflict``: it cannot be."""
        return self._json(routes.pause(job_id, resume=False), Job.from_dict)

    def resume(self, job_id: str) -> Job:
        """Let a paused job wait again, at its old place. ApiError ``conflict``: it is over."""
        return self._json(routes.pause(job_id, resume=True), Job.from_dict)

    def retry(self, job_id: str) -> Job:
        """Submit a failed, cancelled or expired job again as a new job. ApiError ``conflict``: any other state."""
        return self._json(routes.job("POST", job_id, "/retry"), Job.from_dict)

    def front(self, job_id: str) -> Job:
        """Move a waiting job to the front of the queue (admin). ApiError ``conflict``: the job is not waiting."""
        return self._json(routes.job("POST", job_id, "/front"), Job.from_dict)

    def pause_slots(self, slot: str | None = None) -> Sequence[str]:
        """Start no more jobs on a slot, or (None) on any slot; running jobs continue (admin).

        Returns:
            Everything that is paused now: names of slots, and ``*`` for the whole queue.
        """
        return self._json(routes.pause_slots(slot, resume=False), read_paused)

    def resume_slots(self, slot: str | None = None) -> Sequence[str]:
        """End :meth:`pause_slots` of the same ``slot``; return everything that is still paused (admin)."""
        return self._json(routes.pause_slots(slot, resume=True), read_paused)

    def drain(self, slot: str, wait_s: float = 0) -> Drain:
        """Pause a slot, and say which job it still runs: after ``wait_s`` seconds, or as soon as there is none (admin).

        :meth:`resume_slots` ends it.
        """
        return self._json(routes.drain(slot, wait_s), read_as(Drain))

    def yield_slot(self, slot: str, wait_s: float = 0) -> YieldedSlot:
        """Pause a slot and give up the memory of its device, for other processes (admin).

        Returns:
            The state after ``wait_s`` seconds, or as soon as the memory is free. :meth:`resume_slots` ends it.
        """
        return self._json(routes.yield_slot(slot, wait_s), read_as(YieldedSlot))

    def dead(self) -> Sequence[DeadLetter]:
        """Return the jobs that failed because their workers died, newest first (admin). See :meth:`retry`."""
        return self._json(routes.DEAD, lambda body: body["dead"])

    def storage(self) -> Storage:
        """Return where files are stored, how many, how long they are kept, and the space on the disks (admin)."""
        return self._json(routes.STORAGE, read_as(Storage))

    def usage(
        self, since: str | date | None = None, until: str | date | None = None, *,
        by: Sequence[str] | None = None, key: str | None = None,
    ) -> Usage:  # fmt: skip
        """Return what this key (an admin's: all keys) used.

        Args:
            since, until: first and last day in UTC; None: the 30 days that end today.
            by: what each row stands for: one or more of ``day``, ``key`` and ``model``.
            key: only this key (admin).
        """
        return self._json(routes.usage(by, {"since": since, "until": until, "key": key}), read_as(Usage))

    def usage_csv(
        self, since: str | date | None = None, until: str | date | None = None, *,
        by: Sequence[str] | None = None, key: str | None = None,
    ) -> str:  # fmt: skip
        """Return the rows of :meth:`usage` as CSV with a line of names. No cell is a formula to a spreadsheet."""
        period = {"since": since, "until": until, "key": key, "format": "csv"}
        return self._send(routes.usage(by, period), httpx2.Response.read).decode()

    def keys(self) -> Sequence[Key]:
        """Return the API keys, without their secrets (admin)."""
        return self._json(routes.KEYS, read_keys)

    def create_key(self, service: str, **fields: Unpack[KeyFields]) -> Key:
        """Create an API key (admin). Only this response contains its ``secret``.

        Raises:
            ApiError: ``conflict``: the service already has a key; ``invalid_request``: a field is wrong, or the first
                key is not an admin key.
        """
        return self._json(routes.create_key(service, fields), Key.from_dict)

    def revoke_key(self, service: str) -> None:
        """Revoke the key of a service (admin). ApiError ``key_not_found``: the service has no key."""
        self._json(routes.revoke_key(service), dict)

    def set_webhook(
        self, service: str, url: str | None = None, events: Sequence[str] | None = None, *, new_secret: bool = False
    ) -> ServiceWebhook:
        """Set the webhook for the events of a key's later jobs (admin).

        Args:
            service: the service that the key belongs to.
            url: receiver of the webhooks; None: unchanged.
            events: names of the events; None: when a job finishes.
            new_secret: create a new signing secret. The previous one also signs until the next renewal.

        Returns:
            ``service``, ``webhook`` and, if it is new, ``secret``. Only this response contains the secret.
        """
        return self._json(routes.set_webhook(service, url, events, new_secret=new_secret), read_as(ServiceWebhook))

    def remove_webhook(self, service: str) -> None:
        """Remove a key's webhook and its signing secret (admin)."""
        self._json(routes.remove_webhook(service), dict)

    def webhooks(self, job_id: str) -> Deliveries:
        """Return the webhooks of a job: ``url``, ``events`` and ``deliveries``, each with its ``tries``."""
        return self._json(routes.job("GET", job_id, "/webhooks"), read_as(Deliveries))

    def newest_webhooks(self, limit: int = 100, *, failed: bool = False) -> Sequence[TriedDelivery]:
        """Return the deliveries of all jobs that were tried last; with ``failed`` those that were given up (admin)."""
        return self._json(routes.newest_webhooks(limit, failed=failed), lambda body: body["deliveries"])

    def resend_webhooks(self, job_id: str, event: str | None = None) -> Deliveries:
        """Send one event of a job, or (None) all events, again. Returns and raises as :meth:`webhooks` does."""
        return self._json(routes.resend_webhooks(job_id, event), read_as(Deliveries))

    def models(self) -> Sequence[Model]:
        """Return the models with their kinds, defaults and limits."""
        return self._json(routes.MODELS, lambda body: body["models"])

    def model_command(
        self, name: str, command: str, slot: str | None = None, kind: str | None = None
    ) -> ModelCommand:  # fmt: skip
        """Load, unload, pin, unpin or check a model (admin).

        Args:
            name: the model.
            command: ``load``, ``unload``, ``pin``, ``unpin`` or ``check``.
            slot: the slot; None: every slot that may run the model (``check``: one of them).
            kind: kind of the job that ``check`` computes; None: one without inputs if the model has one.

        Returns:
            ``slots`` states for each slot what ``will`` happen, with the ``job_id`` of the job that does it.

        Raises:
            ApiError: ``conflict``: the model is pinned, or no worker offers it; ``model_not_found``.
        """
        return self._json(routes.model_command(name, command, slot, kind), read_as(ModelCommand))

    def profile_model(
        self, name: str, slot: str | None = None, *, sizes: Sequence[str] = (), batches: Sequence[int] = ()
    ) -> ModelCommand:  # fmt: skip
        """Measure how many jobs of a model pay to be computed together, and write its table on the slot's host (admin).

        Args:
            name: the model.
            slot: the slot; None: one that runs the model.
            sizes: of the pictures, such as ``512x768``; empty: the model's default size.
            batches: numbers of jobs; empty: 1, 2, 4 and 8.

        Raises:
            ApiError: ``conflict``: its jobs are never computed together, or no worker offers it; ``model_not_found``;
                ``validation_error``.
        """
        return self._json(routes.profile_model(name, slot, sizes, batches), read_as(ModelCommand))

    def fleet(self) -> Fleet:
        """Return the slots with their devices, jobs and models, and the delivery workers."""
        return self._json(routes.FLEET, read_as(Fleet))

    def fleet_history(self) -> FleetHistory:
        """Return memory, load and temperature of the slots' devices in the last hour, one sample a minute."""
        return self._json(routes.FLEET_HISTORY, read_as(FleetHistory))

    def queue(self) -> Queue:
        """Return the number of jobs by state, the waiting jobs, the limits and the pauses."""
        return self._json(routes.QUEUE, read_as(Queue))


def _read_preview(response: httpx2.Response) -> Preview:
    return wire.preview_of(response, response.read())
