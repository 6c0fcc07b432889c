"""Kombu's Redis transport for queues that others can write to: a message that makes no sense does not end its worker.

Kombu and Celery parse messages inside the worker's event loop, which ends at the first exception. Nothing is lost with
a message that is dropped: the record decides, and the sweep sends the message of a job again.
"""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Callable
from queue import Empty
from typing import Any

from kombu import transport
from kombu.transport import redis

from jobs import strict_json
from jobs.errors import InvalidRequest
from jobs.settings.redis_address import RedisAddress
from jobs.store.connecting.primary import Primary, PrimaryConnection, PrimaryTLSConnection
from jobs.strict_json import Limits

logger = logging.getLogger(__name__)

#: Names of the tasks, which ``workers.gpu.task`` and ``workers.delivery.task`` implement.
GENERATE = "tasks.generate"
DELIVER = "tasks.deliver"
#: Headers of Celery that no message of a job has.
_UNUSED = ("eta", "expires", "group", "shadow", "stamped_headers", "stamps", "replaced_task_nesting")
_BODY = Limits(total_bytes=65_536, text_bytes=65_536, values=1000)
#: The body that the scripts write, which need not be parsed to know that it is one.
_OWN_BODY = re.compile(r'\[\["[\w-]{1,64}", \d{1,9}\], \{\}, \{(?:"\w+": null(?:, "\w+": null)*)?\}\]', re.ASCII)


class SturdyChannel(redis.Channel):
    """Drops messages that are not JSON."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except Exception as exc:
            if isinstance(exc, (Empty, *self.connection.connection_errors, *self.connection.channel_errors)):
                raise
            logger.warning("a message was dropped: it is not JSON", exc_info=True)
            return True


class KnownReaders:
    """An event loop that leaves a reader as it is when the same one is added again.

    Kombu adds the sockets of Redis before each wait. Each time, the kernel refuses them as known, which costs a call
    and an exception for each socket, four times for each message.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def add_reader(self, fd: int, callback: Callable[..., Any], *args: Any) -> None:
        # Kombu removes a reader when its connection is closed, so a new connection is added even under the same number.
        if self._loop.readers.get(fd) != (callback, args):
            self._loop.add_reader(fd, callback, *args)


class SturdyTransport(redis.Transport):
    """Drops messages that Celery cannot understand."""

    Channel = SturdyChannel

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        super().register_with_event_loop(connection, KnownReaders(loop))

    def _deliver(self, message: Any, queue: str | None) -> None:
        if not (queue and _is_message(message) and (_is_of_celery(queue) or _is_for(message, queue))):
            logger.warning("a message was dropped: it has not the form of a message", extra={"queue": queue})
            return
        try:
            super()._deliver(message, queue)
        except (*self.connection_errors, *self.channel_errors):
            raise
        except Exception:
            logger.warning("a message was dropped: Celery cannot read it", exc_info=True, extra={"queue": queue})
            for channel in self.channels or ():
                channel.qos.ack(message["properties"]["delivery_tag"])  # otherwise it would come again


class PrimaryChannel(SturdyChannel):
    """Connects to the primary that the Sentinels name."""

    # Channels get these options of the transport as attributes.
    from_transport_options = (*redis.Channel.from_transport_options, "redis_address")
    redis_address: RedisAddress
    connection_class = PrimaryConnection
    connection_class_ssl = PrimaryTLSConnection

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        options = super()._connparams(asynchronous)  # type: ignore[misc]
        return {**options, "primary": Primary(self.redis_address)}


class PrimaryTransport(SturdyTransport):
    """The same with Sentinels."""

    default_port = 26379
    Channel = PrimaryChannel


def _is_message(message: Any) -> bool:
    """Return whether a message has what kombu reads without asking."""
    properties = message.get("properties") if isinstance(message, dict) else None
    return (
        isinstance(properties, dict)
        and isinstance(properties.get("delivery_info"), dict)
        and isinstance(properties.get("delivery_tag"), str)
        and isinstance(message.get("headers", {}), dict)
        and isinstance(message.get("body"), str)
    )


def _is_of_celery(queue: str) -> bool:
    """Return whether a queue has Celery's own messages: remote control, its replies, or events."""
    return queue.endswith("celery.pidbox") or queue.startswith("celeryev")


def _is_for(message: dict[str, Any], queue: str) -> bool:
    """Return whether a message runs or delivers an attempt of a job, and is in a queue for that."""
    headers = message.get("headers", {})
    if headers.get("task") != (DELIVER if queue.partition("@")[0] == "io" else GENERATE):
        return False
    if not isinstance(headers.get("id"), str) or not isinstance(headers.get("retries", 0), int):
        return False
    # The parent of a delivery is the task that computed the job.
    if not isinstance(headers.get("parent_id"), str | None):
        return False
    if any(headers.get(name) for name in _UNUSED) or headers.get("timelimit") not in (None, [None, None]):
        return False
    text = message["body"]
    if _OWN_BODY.fullmatch(text):
        return True
    try:
        if message["properties"].get("body_encoding"):
            text = base64.b64decode(text)
        body = strict_json.loads(text, _BODY)
    except (ValueError, InvalidRequest):
        return False
    if not (isinstance(body, list) and len(body) == 3 and isinstance(body[0], list) and isinstance(body[2], dict)):
        return False
    arguments, options, embedded = body
    return [type(argument) for argument in arguments] == [str, int] and options == {} and not any(embedded.values())


def install() -> None:
    """Use these transports for all addresses of Redis; ``redis`` is also that of ``redis+socket://``."""
    for alias in ("redis", "rediss"):
        transport.TRANSPORT_ALIASES[alias] = f"{__name__}:{SturdyTransport.__name__}"
    transport.TRANSPORT_ALIASES["sentinel"] = f"{__name__}:{PrimaryTransport.__name__}"
