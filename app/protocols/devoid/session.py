"""One socket: receives requests, and sends the messages of its subscriber queues."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from simple_websocket import ConnectionClosed

from app.access import auth
from app.protocols.devoid import messages, submitting
from app.protocols.devoid.connections import Connections
from app.protocols.devoid.wire import Incoming, ReadingServer, Wire
from jobs.errors import FramemillError, InvalidRequest, Problem, Unauthorized, Unavailable
from jobs.record import new_job_id
from jobs.store import queries
from jobs.store.events import order
from jobs.store.jobs import JobStore
from jobs.store.outgoing.subscriber_queue import Message, MessageDetails, SubscriberQueues
from jobs.strict_json import dumps

logger = logging.getLogger(__name__)

#: Pause before the next try while Redis does not respond, seconds.
RETRY_S = 0.5
#: Close code when the key of an open socket was revoked (RFC 6455: policy violation).
POLICY_VIOLATION = 1008


class Session:
    """See :class:`app.protocols.devoid.connections.Connection`.

    Args:
        ws: the socket.
        service: the service that opened it, as its messages name it.
        key_id: the owner of its jobs.
        secret: the key that it was opened with.
        link_prefix: the part of an image's link before its name.
        connections: the sockets of this process.
        store: the job store.
    """

    def __init__(
        self, ws: ReadingServer, service: str, key_id: str, secret: str, link_prefix: str, connections: Connections,
        store: JobStore,
    ) -> None:  # fmt: skip
        self.service, self.key_id = service, key_id
        self.queues: list[str] = []
        self._wire = Wire(ws)
        self._secret, self._link_prefix = secret, link_prefix
        self._connections, self._store = connections, store
        self._subscriber_queues: SubscriberQueues = connections.queues_of(key_id)
        self._lock = threading.Lock()
        self._has_messages = self._is_sending = self._is_closed = False

    def run(self) -> None:
        """Serve the socket until it is closed. Raises: ConnectionClosed."""
        self._connections.open(self)
        try:
            while True:
                self._receive(self._wire.receive())
        finally:
            self._is_closed = True
            self._connections.close(self)

    # ---- from the client

    def _receive(self, message: Incoming) -> None:
        frame = messages.Frame(None)
        try:
            auth.identify(self._secret or None)
            frame = messages.parse_frame(message)
            if frame.message_type == "info":
                return self._send(self._info())
            if frame.message_type == "response":
                return None
            if frame.message_type != "request":
                rule = "must be request or info"
                raise InvalidRequest(Problem("message_type", rule, str(frame.message_type)))
            submitting.submit(messages.parse_request(frame), self.queues[0])
        except Unauthorized:
            self._wire.close(POLICY_VIOLATION, "this key was revoked")
        except FramemillError as exc:
            self._refuse(frame, exc.message)
        except (ConnectionClosed, OSError):
            raise
        except Exception:
            logger.exception("a message could not be processed", extra={"service": self.service})
            self._refuse(frame, "an internal error; the server's log has the details")
        return None

    def _refuse(self, frame: messages.Frame, reason: str) -> None:
        """Send an error about a message that was not queued."""
        result, avg_time = messages.text(reason), messages.avg_time(None)
        correlation, final_correlation = frame.correlation(), frame.final_correlation()
        body = messages.ending(
            self.service, new_job_id(), "error", correlation, final_correlation, result, avg_time
        )  # fmt: skip
        self._send(body)

    def _info(self) -> dict[str, Any]:
        fleet = queries.fleet(self._store)
        return {
            "message_type": "info",
            "service": self.service,
            "queue": {
                "waiting": fleet.counts["queued"],
                "running": fleet.counts["running"],
                **{name: fleet.waiting_classes.get(name, 0) for name in ("premium", "general")},
            },
            "slots": [
                {
                    "name": slot.name,
                    "device": slot.device_name,
                    "is_busy": bool(slot.job_id),
                    "models": list(slot.models),
                }
                for slot in fleet.slots
            ],
        }

    # ---- to the client

    def wake(self) -> None:
        with self._lock:
            self._has_messages = True
            if self._is_sending or self._is_closed:
                return
            self._is_sending = True
        threading.Thread(target=self._send_messages, name="devoid-messages", daemon=True).start()

    def _send_messages(self) -> None:
        try:
            while self._take_turn():
                try:
                    while self._send_pending():
                        pass
                except Unavailable:
                    time.sleep(RETRY_S)
                    self._has_messages = True
        except (ConnectionClosed, OSError):
            self._is_closed = True  # the messages stay for the next socket
        except Exception:
            logger.exception("messages were not sent", extra={"service": self.service})
        finally:
            self._is_sending = False

    def _take_turn(self) -> bool:
        with self._lock:
            turn = self._has_messages and not self._is_closed
            self._has_messages = False
            self._is_sending = turn
        return turn

    def _send_pending(self) -> int:
        """Send the messages of all queues, oldest first; return their number."""
        pending = [
            (message, queue) for queue in list(self.queues) for message in self._subscriber_queues.read(queue)
        ]
        for message, queue in sorted(pending, key=lambda pair: order(pair[0].message_id)):
            if self._is_closed:
                return 0
            self._send(self._body_of(message, self._subscriber_queues.details(message.job_id)))
            self._subscriber_queues.acknowledge(queue, message)
        return len(pending)

    def _body_of(self, message: Message, details: MessageDetails) -> dict[str, Any]:
        avg_time = messages.avg_time(details.quoted_s)
        if message.notice in ("queued", "generating"):
            return messages.progress(self.service, message.job_id, message.notice, message.correlation, avg_time)
        status, result = str(message.notice), messages.image(self._link_prefix, message.job_id)
        if status == "error":
            result = messages.text(messages.failure_of(details))
        elif details.state == "succeeded" and not details.has_outputs:
            status, result = "error", messages.text("the model produced no image")
        return messages.ending(
            self.service, message.job_id, status, message.correlation, details.final_correlation, result, avg_time
        )

    def _send(self, message: dict[str, Any]) -> None:
        self._wire.send(dumps(message))
