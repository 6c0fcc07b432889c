"""The calls of :mod:`framemill.transport.operations` with ``await``: the same methods."""

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
from framemill.transport.connection import AsyncConnection
from framemill.transport.readers import read_as, read_keys, read_paused


class AsyncOperations(AsyncConnection):
    """:class:`Operations` with ``await``."""

    async def get(self, job_id: str) -> Job:
        """Return the current state of a job."""
        return await self._json(routes.get(job_id), Job.from_dict)

    async def preview(self, job_id: str) -> Preview | None:
        """Return the newest preview of a running job, or None. The request enables previews for some seconds."""
        try:
            return await self._send(routes.job("GET", job_id, "/preview"), _read_preview)
        except ApiError as error:
            if error.code != "no_preview":
                raise
            return None

    async def thumbnail(self, job_id: str, index: int = 0) -> bytes:
        """Return the thumbnail of an output. ApiError 404: it has none."""
        return await self._send(routes.job("GET", job_id, "/thumbnail", index=index), httpx2.Response.aread)

    async def cancel(self, job_id: str) -> Cancellation:
        """Cancel one job. ``cancelled`` of the result is False if the job had already finished."""
        return await self._json(routes.cancel(job_id), Cancellation.from_dict)

    async def delete(self, job_id: str) -> Deletion:
        """Delete a job and its files. An unfinished job is cancelled first. Repeating the call does no harm."""
        return await self._json(routes.delete(job_id), Deletion.from_dict)

    async def cancel_all(self, *, waiting: bool = False) -> Sequence[str]:
        """Cancel all running jobs of this key, with ``waiting`` all unfinished ones; return their ids."""
        return await self._json(routes.cancel_all(waiting=waiting), lambda body: tuple(body["cancelled"]))

    async def pause(self, job_id: str) -> Job:
        """Set a job aside until it is resumed; it holds no slot meanwhile. ApiError ``conflict``: it cannot be."""
        return await self._json(routes.pause(job_id, resume=False), Job.from_dict)

    async def resume(self, job_id: str) -> Job:
        """Let a paused job wait again, at its old place. ApiError ``conflict``: it is over."""
        return await self._json(routes.pause(job_id, resume=True), Job.from_dict)

    async def retry(self, job_id: str) -> Job:
        """Submit a failed, cancelled or expired job again as a new job."""
        return await self._json(routes.job("POST", job_id, "/retry"), Job.from_dict)

    async def front(self, job_id: str) -> Job:
        """Move a waiting job to the front of the queue (admin)."""
        return await self._json(routes.job("POST", job_id, "/front"), Job.from_dict)

    async def pause_slots(self, slot: str | None = None) -> Sequence[str]:
        """Start no more jobs on a slot, or (None) on any slot; return everything that is paused now (admin)."""
        return await self._json(routes.pause_slots(slot, resume=False), read_paused)

    async def resume_slots(self, slot: str | None = None) -> Sequence[str]:
        """End :meth:`pause_slots` of the same ``slot``; return everything that is still paused (admin)."""
        return await self._json(routes.pause_slots(slot, resume=True), read_paused)

    async def drain(self, slot: str, wait_s: float = 0) -> Drain:
        """Pause a slot, and say which job it still runs: after ``wait_s`` seconds, or as soon as there is none (admin).

        :meth:`resume_slots` ends it.
        """
        return await self._json(routes.drain(slot, wait_s), read_as(Drain))

    async def yield_slot(self, slot: str, wait_s: float = 0) -> YieldedSlot:
        """Pause a slot and give up the memory of its device (admin); see :meth:`Operations.yield_slot`."""
        return await self._json(routes.yield_slot(slot, wait_s), read_as(YieldedSlot))

    async def dead(self) -> Sequence[DeadLetter]:
        """Return the jobs that failed because their workers died, newest first (admin)."""
        return await self._json(routes.DEAD, lambda body: body["dead"])

    async def storage(self) -> Storage:
        """Return where files are stored, how many, how long they are kept, and the space on the disks (admin)."""
        return await self._json(routes.STORAGE, read_as(Storage))

    async def usage(
        self, since: str | date | None = None, until: str | date | None = None, *,
        by: Sequence[str] | None = None, key: str | None = None,
    ) -> Usage:  # fmt: skip
        """Return what this key (an admin's: all keys) used; see :meth:`Operations.usage`."""
        return await self._json(routes.usage(by, {"since": since, "until": until, "key": key}), read_as(Usage))

    async def usage_csv(
        self, since: str | date | None = None, until: str | date | None = None, *,
        by: Sequence[str] | None = None, key: str | None = None,
    ) -> str:  # fmt: skip
        """Return the rows of :meth:`usage` as CSV; see :meth:`Operations.usage_csv`."""
        period = {"since": since, "until": until, "key": key, "format": "csv"}
        return (await self._send(routes.usage(by, period), httpx2.Response.aread)).decode()

    async def keys(self) -> Sequence[Key]:
        """Return the API keys, without their secrets (admin)."""
        return await self._json(routes.KEYS, read_keys)

    async def create_key(self, service: str, **fields: Unpack[KeyFields]) -> Key:
        """Create an API key (admin). Only this response contains its ``secret``."""
        return await self._json(routes.create_key(service, fields), Key.from_dict)

    async def revoke_key(self, service: str) -> None:
        """Revoke the key of a service (admin)."""
        await self._json(routes.revoke_key(service), dict)

    async def set_webhook(
        self, service: str, url: str | None = None, events: Sequence[str] | None = None, *, new_secret: bool = False
    ) -> ServiceWebhook:
        """Set the webhook for the events of a key's later jobs (admin); see :meth:`Operations.set_webhook`."""
        call = routes.set_webhook(service, url, events, new_secret=new_secret)
        return await self._json(call, read_as(ServiceWebhook))

    async def remove_webhook(self, service: str) -> None:
        """Remove a key's webhook and its signing secret (admin)."""
        await self._json(routes.remove_webhook(service), dict)

    async def webhooks(self, job_id: str) -> Deliveries:
        """Return the webhooks of a job: ``url``, ``events`` and ``deliveries``, each with its ``tries``."""
        return await self._json(routes.job("GET", job_id, "/webhooks"), read_as(Deliveries))

    async def newest_webhooks(self, limit: int = 100, *, failed: bool = False) -> Sequence[TriedDelivery]:
        """Return the deliveries of all jobs that were tried last; with ``failed`` those that were given up (admin)."""
        return await self._json(routes.newest_webhooks(limit, failed=failed), lambda body: body["deliveries"])

    async def resend_webhooks(self, job_id: str, event: str | None = None) -> Deliveries:
        """Send one event of a job, or (None) all events, again. Returns and raises as :meth:`webhooks` does."""
        return await self._json(routes.resend_webhooks(job_id, event), read_as(Deliveries))

    async def models(self) -> Sequence[Model]:
        """Return the models with their kinds, defaults and limits."""
        return await self._json(routes.MODELS, lambda body: body["models"])

    async def model_command(
        self, name: str, command: str, slot: str | None = None, kind: str | None = None
    ) -> ModelCommand:  # fmt: skip
        """Load, unload, pin, unpin or check a model (admin)."""
        return await self._json(routes.model_command(name, command, slot, kind), read_as(ModelCommand))

    async def profile_model(
        self, name: str, slot: str | None = None, *, sizes: Sequence[str] = (), batches: Sequence[int] = ()
    ) -> ModelCommand:  # fmt: skip
        """Measure how many jobs of a model pay to be computed together (admin)."""
        return await self._json(routes.profile_model(name, slot, sizes, batches), read_as(ModelCommand))

    async def fleet(self) -> Fleet:
        """Return the slots with their devices, jobs and models, and the delivery workers."""
        return await self._json(routes.FLEET, read_as(Fleet))

    async def fleet_history(self) -> FleetHistory:
        """Return memory, load and temperature of the slots' devices in the last hour, one sample a minute."""
        return await self._json(routes.FLEET_HISTORY, read_as(FleetHistory))

    async def queue(self) -> Queue:
        """Return the number of jobs by state, the waiting jobs, the limits and the pauses."""
        return await self._json(routes.QUEUE, read_as(Queue))


async def _read_preview(response: httpx2.Response) -> Preview:
    return wire.preview_of(response, await response.aread())
