"""Hold a request while its client waits: check the connection, and hand the request over to a repeat if it is lost."""

from __future__ import annotations

import logging
import math
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from fcntl import ioctl
from termios import TIOCOUTQ

from flask import request

from app import waiting
from app.extensions import store
from app.protocols.a1111.access import A1111Error
from jobs.errors import Unavailable
from jobs.record import Job
from jobs.states import JobState
from jobs.store.held_requests import LONG_CLAIM_S, HeldRequest, HeldRequests

logger = logging.getLogger(__name__)

#: Interval of connection checks, seconds.
CHECK_INTERVAL_S = 0.5
#: Interval at which a repeat asks whether the holders of equal requests have checked their connections, seconds.
PING_INTERVAL_S = 0.1
#: A client that has not received the rest of its response after this long is considered lost, seconds.
CONFIRM_TIMEOUT_S = 5.0


class ClientDisconnected(Exception):
    """The client has closed its connection and receives no response."""


class HeldConnection:
    """A held request, and the connection that waits for its response."""

    def __init__(self, requests: HeldRequests, held_request: HeldRequest) -> None:
        self.request, self._requests = held_request, requests
        self._has_hung_up = waiting.hung_up()
        self._socket = request.environ.get("gunicorn.socket")
        #: The number of the newest ping that a connection check has answered.
        self._answered = 0
        self._checked_at = 0.0

    def check(self) -> None:
        """Check the connection if a check is due, and renew the claim. Raises: ClientDisconnected."""
        if time.monotonic() < self._checked_at + CHECK_INTERVAL_S:
            return
        while True:
            if self._has_hung_up():
                raise ClientDisconnected
            try:
                newest_ping = self._requests.renew(self.request, self._answered)
            except Unavailable:
                break  # the claim lapses unless Redis is back in time
            if newest_ping <= self._answered:
                break
            self._answered = newest_ping  # the ping asks about the connection as it is now: check once more
        self._checked_at = time.monotonic()

    def wait(self, job_ids: tuple[str, ...]) -> list[Job]:
        """Return the jobs when all have finished, or those up to the first failed one. Raises: ClientDisconnected."""
        jobs: list[Job] = []
        with ExitStack() as stack:
            listeners = [stack.enter_context(waiting.listening(job_id)) for job_id in job_ids]
            for job_id, listener in zip(job_ids, listeners, strict=True):
                job = store().get(job_id)
                job = waiting.wait_until_over(job, math.inf, listener, self.check, CHECK_INTERVAL_S)
                jobs.append(job)
                if job.state in (JobState.FAILED, JobState.EXPIRED):
                    break
        return jobs

    def deliver(self, body: bytes) -> Iterator[bytes]:
        """Yield the body of the response; without proof that the client received it, the request waits for a repeat."""
        is_received = False
        try:
            if self._has_hung_up():
                yield body
            else:
                with suppress(Unavailable):
                    self._requests.renew(self.request, self._answered, LONG_CLAIM_S)
                yield body
                is_received = self._is_received()  # the server continues here after it has written the body
        finally:  # also after a failed write: the server closes an iterator that it does not exhaust
            with suppress(Unavailable):
                (self._requests.mark_delivered if is_received else self._requests.release)(self.request)

    def _is_received(self) -> bool:
        """Return whether the client has acknowledged all that was written, and has not refused the rest."""
        if self._socket is None:
            return True
        deadline, pause_s = time.monotonic() + CONFIRM_TIMEOUT_S, 0.001
        try:
            while time.monotonic() < deadline:
                if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    return False
                if not struct.unpack("i", ioctl(self._socket.fileno(), TIOCOUTQ, b"\0" * 4))[0]:
                    return True
                time.sleep(pause_s)
                pause_s = min(0.02, 2 * pause_s)
        except OSError:
            pass
        return False


def hold(
    requests: HeldRequests, new_request: HeldRequest, digest: str, *, forced: bool, random: bool
) -> HeldConnection:  # fmt: skip
    """Open a request, or take over the earlier request that it repeats.

    Args:
        requests: the held requests of the caller.
        new_request: the request if it is new.
        digest: digest of the body.
        forced: whether the client chose the id.
        random: whether the seed is random.

    Raises:
        ClientDisconnected: the client has closed its connection.
        A1111Error: the id was used with another body.
    """
    connection = HeldConnection(requests, new_request)
    has_hung_up = waiting.hung_up()
    pings: dict[str, int] = {}
    while True:
        opening = requests.open(new_request, digest, forced=forced, random=random, pings=pings)
        if opening.request is not None:
            connection.request = opening.request
            return connection
        if not opening.pings:
            raise A1111Error(409, "force_task_id was used for another request")
        pings |= opening.pings
        if has_hung_up():
            raise ClientDisconnected
        time.sleep(PING_INTERVAL_S)
