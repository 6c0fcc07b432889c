"""gunicorn's worker: that of gevent, with limits of time and number for its connections."""

from __future__ import annotations

import gc
import logging
import resource
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import gevent
from gunicorn.config import Config
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.message import Request
from gunicorn.workers.ggevent import GeventWorker

from app import extensions
from app.server import request_trace
from app.server.connection import PIECE_BYTES, BodySource, Connection
from app.server.connections import Connections, Limits
from app.server.overload import IS_BEYOND_LIMIT
from jobs.process import tracing
from jobs.process.turns import take_turns

logger = logging.getLogger(__name__)


def log_failed_greenlets() -> None:
    """Log the exceptions that end a greenlet; gevent itself prints them."""

    def log(context: Any, kind: Any, exc: Any, traceback: Any) -> None:
        logger.error("a greenlet failed", exc_info=(kind, exc, traceback), extra={"greenlet": str(context)})

    gevent.get_hub().print_exception = log


class FixedConfig:
    """The values of gunicorn's settings, which do not change while a worker runs.

    gunicorn's own object looks each one up in its table of settings, about twenty times for a request.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        for name in (*config.settings, "is_ssl", "forwarded_allow_networks"):
            setattr(self, name, getattr(config, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)


class Worker(GeventWorker):
    """Serves the app. TLS is not offered: a reverse proxy does that."""

    cfg: Any
    wsgi: Any
    log: Any

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.cfg = FixedConfig(self.cfg)
        # The garbage collector need not look at the modules again: each time would stall all requests for 0.2 s.
        gc.collect()
        gc.freeze()
        gc.enable()  # gunicorn.conf.py has turned it off
        app, parts = self.wsgi, extensions.of(self.wsgi)
        web, self._measures = parts.settings.web, parts.store.measures
        self.log.shown, self.log.traces = parts.settings.process.log_requests, tracing.is_on()
        limits = Limits(web.max_connections, web.max_idle_connections, web.max_idle_per_address)
        file_descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limits = limits.within(file_descriptors)
        self._connections, self.worker_connections = Connections(limits), limits.most
        self._patience_s, self._max_request_bytes = web.request_timeout_s, web.max_request_bytes

        def checked(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            environ[IS_BEYOND_LIMIT] = self._connections.is_full()
            response: Iterable[bytes] = app(environ, start_response)
            return response

        def traced(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            request_trace.begin(environ)
            return checked(environ, start_response)

        self.wsgi = traced if tracing.is_on() else checked
        gevent.spawn(self._connections.close_overdue)

    def init_process(self) -> None:
        log_failed_greenlets()
        super().init_process()

    def timeout_ctx(self) -> AbstractContextManager[None]:
        """Return the limit of time for the head of a request: none, as the connections have one."""
        return nullcontext()

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        gevent.spawn(self._connections.close_idle)  # the process need not wait for silent clients

    def run(self) -> None:
        super().run()
        self._measures.close()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        address = addr[0] if addr else ""
        connection = Connection(client, address, self._patience_s, self.cfg.keepalive)
        with self._connections.accepted(connection):
            super().handle(listener, connection, addr)

    def handle_request(self, listener_name: Any, req: Request, sock: Connection, addr: Any) -> None:
        with self._connections.answering(sock):
            sock.set_busy()
            req.unreader.sock = BodySource(sock, req)
            try:
                super().handle_request(listener_name, req, sock, addr)
            except StopIteration:  # the connection is to be closed
                sock.flush()
                self._throw_away_rest(req)
                raise
            else:
                sock.flush()
                self._throw_away_rest(req)
            finally:
                req.unreader.sock = sock
                sock.set_idle()
        if req.unreader.buf.getbuffer() or sock.has_unread_data():
            take_turns()  # a client that is never waited for keeps all others waiting

    def _throw_away_rest(self, req: Request) -> None:
        """Read the part of a body that the app left, as many clients read no response before they have sent all.

        Raises:
            StopIteration: the connection must be closed: the rest is too long, comes too slowly or is malformed.
        """
        left_bytes = self._max_request_bytes
        while _is_unread(req.body):
            try:
                piece = req.body.reader.read(PIECE_BYTES)
            except Exception:
                raise StopIteration from None
            left_bytes -= len(piece)
            if left_bytes < 0 or (not piece and _is_unread(req.body)):
                raise StopIteration


def _is_unread(body: Body) -> bool:
    reader = body.reader
    return bool(reader.parser if isinstance(reader, ChunkedReader) else reader.length) and not body.failed
