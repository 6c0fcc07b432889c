"""Holding a call while its client waits: a look at the connection now and then, and what it means for repeats."""

from __future__ import annotations

import logging
import math
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from fcntl import ioctl
from termios import TIOCOUTQ

from flask import request

from app import waiting
from app.extensions import store
from app.protocols.a1111.access import Failed
from jobs.errors import Unavailable
from jobs.record import Job
from jobs.states import JobState
from jobs.store.held_requests import LONG_CLAIM_S, HeldRequest, HeldRequests

logger = logging.getLogger(__name__)

#: The connection is looked at this often, seconds.
LOOK_S = 0.5
#: A newcomer asks this often whether the holders of equal calls have looked, seconds.
ASK_S = 0.1
#: A peer that has not taken the rest of its answer after so long is taken for gone, seconds.
TAKEN_S = 5.0


class HungUp(Exception):
    """The client is gone; nobody will read an answer."""


class Held:
    """A call and the connection that waits for it."""

    def __init__(self, requests: HeldRequests, held_request: HeldRequest) -> None:
        self.request, self._requests = held_request, requests
        self._gone = waiting.hung_up()
        self._socket = request.environ.get("gunicorn.socket")
        self._answered = 0
        self._looked = 0.0

    def look(self) -> None:
        """Look at the connection if it is time to, and renew the claim. Raises: HungUp."""
        if time.monotonic() < self._looked + LOOK_S:
            return
        while True:
            if self._gone():
                raise HungUp
            try:
                asked = self._requests.renew(self.request, self._answered)
            except Unavailable:
                break  # the claim lapses unless Redis is back in time
            if asked <= self._answered:
                break
            self._answered = asked  # somebody wants to know whether the connection stands *now*
        self._looked = time.monotonic()

    def wait(self, job_ids: tuple[str, ...]) -> list[Job]:
        """The jobs when all are over; or as they are when one of them failed. Raises: HungUp."""
        found: list[Job] = []
        with ExitStack() as stack:
            listeners = [stack.enter_context(waiting.listening(job_id)) for job_id in job_ids]
            for job_id, listener in zip(job_ids, listeners, strict=True):
                job = waiting.wait_until_over(store().get(job_id), math.inf, listener, self.look, LOOK_S)
                found.append(job)
                if job.state in (JobState.FAILED, JobState.EXPIRED):
                    break
        return found

    def sent(self, body: bytes) -> Iterator[bytes]:
        """The body of the answer; when it was taken, the call is delivered, else it waits for a repeat."""
        taken = False
        try:
            if not self._gone():
                with suppress(Unavailable):
                    self._requests.renew(self.request, self._answered, LONG_CLAIM_S)
                yield body
                taken = self._is_taken()  # the server asks for more after it has written all of that
            else:
                yield body
        finally:  # also when writing failed: the server closes what it cannot read to its end
            with suppress(Unavailable):
                (self._requests.mark_delivered if taken else self._requests.release)(self.request)

    def _is_taken(self) -> bool:
        """Whether the peer has got all that was written: it confirmed it, and did not refuse the rest."""
        if self._socket is None:
            return True
        until, pause_s = time.monotonic() + TAKEN_S, 0.001
        try:
            while time.monotonic() < until:
                if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    return False
                if not struct.unpack("i", ioctl(self._socket.fileno(), TIOCOUTQ, b"\0" * 4))[0]:
                    return True
                time.sleep(pause_s)
                pause_s = min(0.02, 2 * pause_s)
        except OSError:
            pass
        return False


def take(requests: HeldRequests, new_request: HeldRequest, digest: str, *, forced: bool) -> Held:
    """Open a call, or take over the one it repeats.

    Raises:
        HungUp: the client is gone.
        Failed: the id was used with another body.
    """
    held = Held(requests, new_request)
    gone: Callable[[], bool] = waiting.hung_up()
    pings: dict[str, int] = {}
    while True:
        opening = requests.open(new_request, digest, forced=forced, pings=pings)
        if opening.request is not None:
            held.request = opening.request
            return held
        if not opening.pings:
            raise Failed(409, "force_task_id was used for another request")
        pings |= opening.pings
        if gone():
            raise HungUp
        time.sleep(ASK_S)
