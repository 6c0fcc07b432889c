"""The calls that are one request and one answer, for both clients. Each pair does the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import httpx2

from framemill import calls, wire
from framemill.connection import AsyncConnection, Connection
from framemill.errors import ApiError
from framemill.keys import Key, KeyFields
from framemill.records import BulkCancellation, Cancellation, Deletion, Preview, Status, Task


class Operations(Connection):
    """Stop, retry, and what operators do. The latter needs an admin's key, else ApiError 403."""

    def status(self, task_id: str) -> Status:
        """Where the job is."""
        return self._json(calls.status(task_id), Status.from_dict)

    def preview(self, task_id: str) -> Preview | None:
        """What a running job has so far; None: nothing yet, or no more. Asking has previews made for some seconds."""
        try:
            return self._send(calls.task("GET", task_id, "/preview"), _read_preview)
        except ApiError as error:
            if error.code != "no_preview":
                raise
            return None

    def cancel(self, task_id: str) -> Cancellation:
        """Stop this job only; ``changed`` of the answer is False if it had ended before."""
        return self._json(calls.task("DELETE", task_id), Cancellation.from_dict)

    def delete(self, task_id: str) -> Deletion:
        """Delete this job with its files; one that is not over is stopped first. Deleting it again does no harm."""
        return self._json(calls.delete(task_id), Deletion.from_dict)

    def cancel_running(self) -> BulkCancellation:
        """Stop every running job that this key may stop."""
        return self._json(calls.CANCEL_RUNNING, BulkCancellation.from_dict)

    def retry(self, task_id: str) -> Task:
        """Send a failed, cancelled or expired job again; returns the new one. ApiError ``conflict``: any other."""
        return self._json(calls.task("POST", task_id, "/retry"), Task.from_dict)

    def front(self, task_id: str) -> Status:
        """Let a waiting job go before all others (operators). ApiError ``conflict``: it does not wait."""
        return self._json(calls.task("POST", task_id, "/front"), Status.from_dict)

    def pause(self, slot: str | None = None) -> Sequence[str]:
        """Start no more jobs on a slot, or (None) on any; running ones go on (operators).

        Returns:
            What is paused now: names of slots, ``*`` for the whole queue.
        """
        return self._json(calls.pause(slot, resume=False), _paused)

    def resume(self, slot: str | None = None) -> Sequence[str]:
        """End :meth:`pause` of the same ``slot``; returns what is still paused (operators)."""
        return self._json(calls.pause(slot, resume=True), _paused)

    def dead(self) -> Sequence[Mapping[str, Any]]:
        """Jobs that were given up because their workers died, newest first (operators); :meth:`retry` revives one."""
        return self._json(calls.DEAD, lambda answer: answer["dead"])

    def keys(self) -> Sequence[Key]:
        """The API keys, without their secrets (operators)."""
        return self._json(calls.KEYS, _keys)

    def create_key(self, service: str, **fields: Unpack[KeyFields]) -> Key:
        """Make an API key (operators); its ``secret`` can be seen this once only.

        Raises:
            ApiError: ``conflict``: the service has a key; ``invalid_request``: a wrong field, or not an admin's
                while there are no keys.
        """
        return self._json(calls.create_key(service, fields), Key.from_dict)

    def revoke_key(self, service: str) -> None:
        """Refuse a service's key from now on (operators). ApiError ``key_not_found``: it has none."""
        self._json(calls.revoke_key(service), dict)

    def set_webhook(
        self, service: str, url: str | None = None, events: Sequence[str] | None = None, *, new_secret: bool = False
    ) -> Mapping[str, Any]:
        """Set where the events of a key's later jobs go (operators).

        Args:
            service: whose key.
            url: where to; None: as it is.
            events: which; None: the ends of jobs.
            new_secret: make a new one; the one before it signs, too, until the next renewal.

        Returns:
            ``service``, ``webhook`` and, if it is new, ``secret``, which can be seen this once only.
        """
        return self._json(calls.set_webhook(service, url, events, new_secret=new_secret), dict)

    def remove_webhook(self, service: str) -> None:
        """Take a key's webhook and its secret away (operators)."""
        self._json(calls.remove_webhook(service), dict)

    def webhooks(self, task_id: str) -> Mapping[str, Any]:
        """What was sent about a job: ``url``, ``events`` and ``deliveries``, each with its ``tries``."""
        return self._json(calls.task("GET", task_id, "/webhooks"), dict)

    def resend_webhooks(self, task_id: str, event: str | None = None) -> Mapping[str, Any]:
        """Send one event of a job, or (None) all, again; answers as :meth:`webhooks`. ApiError ``conflict``: none."""
        return self._json(calls.resend_webhooks(task_id, event), dict)

    def models(self) -> Sequence[Mapping[str, Any]]:
        """The models with their kinds, defaults and limits."""
        return self._json(calls.MODELS, lambda answer: answer["models"])

    def order_model(self, name: str, order: str, slot: str | None = None) -> Mapping[str, Any]:
        """Have a model loaded, unloaded, pinned, unpinned or checked (operators).

        Args:
            name: the model.
            order: ``load``, ``unload``, ``pin``, ``unpin`` or ``check``.
            slot: where; None: on every slot that may run it (a check: on one).

        Returns:
            ``slots`` of it says for each slot what ``will`` happen, with the ``task_id`` of the job that does it.

        Raises:
            ApiError: ``conflict``: pinned, or no worker has it; ``model_not_found``.
        """
        return self._json(calls.model(name, order, slot), dict)

    def service_status(self) -> Mapping[str, Any]:
        """What the server as a whole does: queue, slots, devices."""
        return self._json(calls.SERVICE, dict)


class AsyncOperations(AsyncConnection):
    """As :class:`Operations`, with ``await``."""

    async def status(self, task_id: str) -> Status:
        """Where the job is."""
        return await self._json(calls.status(task_id), Status.from_dict)

    async def preview(self, task_id: str) -> Preview | None:
        """What a running job has so far; None: nothing yet, or no more. Asking has previews made for some seconds."""
        try:
            return await self._send(calls.task("GET", task_id, "/preview"), _aread_preview)
        except ApiError as error:
            if error.code != "no_preview":
                raise
            return None

    async def cancel(self, task_id: str) -> Cancellation:
        """Stop this job only; ``changed`` of the answer is False if it had ended before."""
        return await self._json(calls.task("DELETE", task_id), Cancellation.from_dict)

    async def delete(self, task_id: str) -> Deletion:
        """Delete this job with its files; one that is not over is stopped first. Deleting it again does no harm."""
        return await self._json(calls.delete(task_id), Deletion.from_dict)

    async def cancel_running(self) -> BulkCancellation:
        """Stop every running job that this key may stop."""
        return await self._json(calls.CANCEL_RUNNING, BulkCancellation.from_dict)

    async def retry(self, task_id: str) -> Task:
        """Send a failed, cancelled or expired job again; returns the new one."""
        return await self._json(calls.task("POST", task_id, "/retry"), Task.from_dict)

    async def front(self, task_id: str) -> Status:
        """Let a waiting job go before all others (operators)."""
        return await self._json(calls.task("POST", task_id, "/front"), Status.from_dict)

    async def pause(self, slot: str | None = None) -> Sequence[str]:
        """Start no more jobs on a slot, or (None) on any; returns what is paused now (operators)."""
        return await self._json(calls.pause(slot, resume=False), _paused)

    async def resume(self, slot: str | None = None) -> Sequence[str]:
        """End :meth:`pause` of the same ``slot``; returns what is still paused (operators)."""
        return await self._json(calls.pause(slot, resume=True), _paused)

    async def dead(self) -> Sequence[Mapping[str, Any]]:
        """Jobs that were given up because their workers died, newest first (operators)."""
        return await self._json(calls.DEAD, lambda answer: answer["dead"])

    async def keys(self) -> Sequence[Key]:
        """The API keys, without their secrets (operators)."""
        return await self._json(calls.KEYS, _keys)

    async def create_key(self, service: str, **fields: Unpack[KeyFields]) -> Key:
        """Make an API key (operators); its ``secret`` can be seen this once only."""
        return await self._json(calls.create_key(service, fields), Key.from_dict)

    async def revoke_key(self, service: str) -> None:
        """Refuse a service's key from now on (operators)."""
        await self._json(calls.revoke_key(service), dict)

    async def set_webhook(
        self, service: str, url: str | None = None, events: Sequence[str] | None = None, *, new_secret: bool = False
    ) -> Mapping[str, Any]:
        """Set where the events of a key's later jobs go (operators); see :meth:`Operations.set_webhook`."""
        return await self._json(calls.set_webhook(service, url, events, new_secret=new_secret), dict)

    async def remove_webhook(self, service: str) -> None:
        """Take a key's webhook and its secret away (operators)."""
        await self._json(calls.remove_webhook(service), dict)

    async def webhooks(self, task_id: str) -> Mapping[str, Any]:
        """What was sent about a job: ``url``, ``events`` and ``deliveries``, each with its ``tries``."""
        return await self._json(calls.task("GET", task_id, "/webhooks"), dict)

    async def resend_webhooks(self, task_id: str, event: str | None = None) -> Mapping[str, Any]:
        """Send one event of a job, or (None) all, again; answers as :meth:`webhooks`. ApiError ``conflict``: none."""
        return await self._json(calls.resend_webhooks(task_id, event), dict)

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """The models with their kinds, defaults and limits."""
        return await self._json(calls.MODELS, lambda answer: answer["models"])

    async def order_model(self, name: str, order: str, slot: str | None = None) -> Mapping[str, Any]:
        """Have a model loaded, unloaded, pinned, unpinned or checked (operators)."""
        return await self._json(calls.model(name, order, slot), dict)

    async def service_status(self) -> Mapping[str, Any]:
        """What the server as a whole does: queue, slots, devices."""
        return await self._json(calls.SERVICE, dict)


def _read_preview(response: httpx2.Response) -> Preview:
    return wire.preview_of(response, response.read())


async def _aread_preview(response: httpx2.Response) -> Preview:
    return wire.preview_of(response, await response.aread())


def _paused(answer: Mapping[str, Any]) -> Sequence[str]:
    return tuple(answer["paused"])


def _keys(answer: Mapping[str, Any]) -> Sequence[Key]:
    return tuple(Key.from_dict(key) for key in answer["keys"])
