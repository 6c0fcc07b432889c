"""The calls that are one request and one answer, for both clients. Each pair does the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from framemill import calls
from framemill.connection import AsyncConnection, Connection
from framemill.keys import Key, KeyFields
from framemill.records import BulkCancellation, Cancellation, Deletion, Status, Task


class Operations(Connection):
    """Stop, retry, and what operators do. The latter needs an admin's key, else ApiError 403."""

    def status(self, task_id: str) -> Status:
        """Where the job is."""
        return self._json(calls.status(task_id), Status.from_dict)

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

    def models(self) -> Sequence[Mapping[str, Any]]:
        """The models with their kinds, defaults and limits."""
        return self._json(calls.MODELS, lambda answer: answer["models"])

    def service_status(self) -> Mapping[str, Any]:
        """What the server as a whole does: queue, slots, devices."""
        return self._json(calls.SERVICE, dict)


class AsyncOperations(AsyncConnection):
    """As :class:`Operations`, with ``await``."""

    async def status(self, task_id: str) -> Status:
        """Where the job is."""
        return await self._json(calls.status(task_id), Status.from_dict)

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

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """The models with their kinds, defaults and limits."""
        return await self._json(calls.MODELS, lambda answer: answer["models"])

    async def service_status(self) -> Mapping[str, Any]:
        """What the server as a whole does: queue, slots, devices."""
        return await self._json(calls.SERVICE, dict)


def _paused(answer: Mapping[str, Any]) -> Sequence[str]:
    return tuple(answer["paused"])


def _keys(answer: Mapping[str, Any]) -> Sequence[Key]:
    return tuple(Key.from_dict(key) for key in answer["keys"])
