"""Hold a request while its client waits: check the connection, and hand the request over to a repeat if it is lost."""

from __future__ import annotations

import logging
import math
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fcntl import ioctl
from termios import TIOCOUTQ

from flask import Response, request

from app import waiting
from app.events.held_watch import HeldWatch
from app.events.hub import Listener
from app.extensions import current, dispatcher, store
from jobs.errors import JobNotFound, Unavailable
from jobs.record import Job
from jobs.states import JobState
from jobs.store import queries
from jobs.store.held_requests import LONG_CLAIM_S, Claim, HeldRequest, HeldRequests

logger = logging.getLogger(__name__)

#: Interval at which a waiting request looks at its connection itself, beside the watch, seconds.
IDLE_CHECK_S = 600.0
#: Interval at which a repeat asks whether the holders of equal requests have checked their connections, seconds.
PING_INTERVAL_S = 0.1
#: A client that has not received the rest of its response after this long is considered lost, seconds.
CONFIRM_TIMEOUT_S = 5.0
#: Preference of a client (header ``Prefer``) that does not repeat a request whose connection was lost.
CANCEL_ON_DISCONNECT = "cancel-on-disconnect"
#: Name of the watch among the adapters of the app.
_WATCH = "held.watch"
#: A body of at most this length is written at once, bytes: the claim need not be renewed for that.
SHORT_BYTES = 64 * 1024


class ClientDisconnected(Exception):
    """The client has closed its connection and receives no response."""


class RequestMismatch(Exception):
    """The client has used this id for a request with another body."""


class HeldConnection:
    """A held request, and the connection that waits for its response."""

    def __init__(self, requests: HeldRequests, held_request: HeldRequest) -> None:
        self.claim, self._requests = Claim(held_request), requests
        self.has_hung_up = waiting.hung_up()
        self._dispatcher, self._is_repeatable = dispatcher(), CANCEL_ON_DISCONNECT not in waiting.preferences()
        self._socket = request.environ.get("gunicorn.socket")
        self._listener: Listener | None = None
        self._is_lost = False
        #: Whether a repeat is to get the jobs although a response was sent: it says "later".
        self._awaits_repeat = False

    @property
    def request(self) -> HeldRequest:
        return self.claim.request

    def check(self) -> None:
        """Check the connection. Raises: ClientDisconnected."""
        if self._is_lost or self.has_hung_up():
            raise ClientDisconnected

    def lose(self) -> None:
        """End the wait: the client has closed the connection."""
        self._is_lost = True
        if self._listener is not None:
            self._listener.put(None)

    def wait(self, job_ids: tuple[str, ...]) -> list[Job]:
        """Return the jobs when all have finished, or those up to the first failed one. Raises: ClientDisconnected."""
        jobs: list[Job] = []
        with ExitStack() as stack:
            listeners = [stack.enter_context(waiting.listening(job_id)) for job_id in job_ids]
            for job_id, listener in zip(job_ids, listeners, strict=True):
                job = self.wait_for(store().get(job_id), listener)
                jobs.append(job)
                if job.state in (JobState.FAILED, JobState.EXPIRED):
                    break
        return jobs

    def wait_for(self, job: Job, listener: Listener) -> Job:
        """Return a job when it has finished; the listener was opened before it was read. Raises: ClientDisconnected."""
        with self.watched(listener):
            return waiting.wait_until_over(job, math.inf, listener, self.check, IDLE_CHECK_S)

    @contextmanager
    def watched(self, listener: Listener) -> Iterator[None]:
        """Have the connection checked and its claim renewed inside the block.

        If the client closes the connection, the listener is woken and :meth:`check` raises.
        """
        self._listener = listener
        with _watch().watching(self):
            yield

    def discard(self) -> None:
        """Forget the request: an equal body is a new one."""
        self._requests.discard(self.request)

    @contextmanager
    def let_go_on_error(self, *, keeps_id: bool = False) -> Iterator[None]:
        """Decide what a repeat of the request gets if the block raises an exception, which is raised again.

        If the client is gone, or Redis or the object store is away, accepted jobs continue, and a repeat receives
        them. After any other exception the request is forgotten, so that an equal body is a new one. A client that has
        said so stops its jobs when it closes the connection.

        Args:
            keeps_id: whether the client may look the id of the request up afterwards, if its jobs were accepted.
        """
        try:
            yield
        except ClientDisconnected:
            with suppress(Unavailable):
                self._abandon()
            raise
        except Unavailable:
            self._awaits_repeat = True
            with suppress(Unavailable):
                self._requests.release(self.request)
            raise
        except Exception:
            with suppress(Unavailable):
                is_kept = keeps_id and exists(self.request)
                (self._requests.mark_delivered if is_kept else self._requests.discard)(self.request)
            raise

    def _abandon(self) -> None:
        """Let a repeat receive the jobs of a client that is gone, or stop them if it does not come back."""
        if self._is_repeatable:
            self._requests.release(self.request)
        elif self._requests.discard(self.request):  # no other connection has taken the request over
            for job_id in self.request.job_ids:
                with suppress(JobNotFound):
                    self._dispatcher.cancel(job_id)

    def deliver(self, body: Iterable[bytes], size_bytes: int | None = None) -> Iterator[bytes]:
        """Yield the body of the response; without proof that the client received it, the request waits for a repeat.

        Args:
            body: the body in parts.
            size_bytes: its length; None if it may be long.
        """
        is_received = False
        try:
            if self.has_hung_up():
                yield from body
            else:
                if size_bytes is None or size_bytes > SHORT_BYTES:
                    with suppress(Unavailable):
                        self._requests.renew(self.claim, LONG_CLAIM_S)
                yield from body
                is_received = self._is_received()  # the server continues here after it has written the body
        finally:  # also after a failed write: the server closes an iterator that it does not exhaust
            with suppress(Unavailable):
                if self._awaits_repeat:
                    self._requests.release(self.request)
                elif is_received:
                    self._requests.mark_delivered(self.request)
                else:
                    self._abandon()

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
    requests: HeldRequests, new: Callable[[], HeldRequest], digest: str, *, forced: bool = False, random: bool = False
) -> HeldConnection:  # fmt: skip
    """Open a request, or take over the earlier request that it repeats, unless that one has failed.

    What the caller stopped himself has not failed: the repeat that waited for it gets what there is.

    Args:
        requests: the held requests of the caller.
        new: returns the request if it is new.
        digest: digest of the body.
        forced: whether the client chose the id.
        random: whether the seed is random.

    Raises:
        ClientDisconnected: the client has closed its connection.
        RequestMismatch: the id was used with another body.
    """
    connection = _hold(requests, new(), digest, forced, random)
    taken = connection.request
    if taken.is_repeat and not taken.was_interrupted and _has_failed(taken):
        requests.discard(taken)
        connection = _hold(requests, new(), digest, forced, random)
    return connection


def _hold(
    requests: HeldRequests, new_request: HeldRequest, digest: str, forced: bool, random: bool
) -> HeldConnection:  # fmt: skip
    connection = HeldConnection(requests, new_request)
    has_hung_up = waiting.hung_up()
    pings: dict[str, int] = {}
    while True:
        opening = requests.open(new_request, digest, forced=forced, random=random, pings=pings)
        if opening.request is not None:
            connection.claim = Claim(opening.request)
            return connection
        if not opening.pings:
            raise RequestMismatch
        pings |= opening.pings
        if has_hung_up():
            raise ClientDisconnected
        time.sleep(PING_INTERVAL_S)


def _watch() -> HeldWatch:
    """Return the watch of the current app."""
    parts = current()
    watch: HeldWatch = parts.adapters.setdefault(_WATCH, HeldWatch(parts.store))
    return watch


def exists(held_request: HeldRequest) -> bool:
    """Return whether all jobs of a request were accepted."""
    return all(queries.find(store(), job_id) is not None for job_id in held_request.job_ids)


def _has_failed(held_request: HeldRequest) -> bool:
    jobs = [queries.find(store(), job_id) for job_id in held_request.job_ids]
    return any(job is not None and job.state.is_terminal and job.state is not JobState.SUCCEEDED for job in jobs)


def unread_response() -> Response:
    """Return a response for a client that has closed its connection."""
    return Response(status=408)
