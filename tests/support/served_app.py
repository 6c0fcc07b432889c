"""An app behind a threaded HTTP server in the test process, with its own Redis and threads as workers."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from app import create_app, extensions
from jobs.settings import Settings
from stack.embedded_redis.server import EmbeddedRedis
from tests.support import documented, tiny
from tests.support.api import Api
from tests.support.thread_worker import ThreadWorker


class _QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        pass


class ServedApp(Api):
    """Serves an app on a free port.

    The connection of a request has the same name as in gunicorn, so that the app notices clients that hang up.

    Args:
        models: content of the models file.
        environment: settings by their environment variables.
    """

    def __init__(self, models: str = tiny.BASE, **environment: Any) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fm-"))
        (self._folder / "models.toml").write_text(models)
        variables = {"DATA_DIR": self._folder, "MODELS_FILE": self._folder / "models.toml", **environment}
        self.settings = Settings.from_env({name: str(value) for name, value in variables.items()})
        self.redis = EmbeddedRedis(self.settings)
        self.redis.start()
        self.app = create_app(self.settings)
        documented.watch(self.app)
        parts = extensions.of(self.app)
        parts.current_jobs.fresh_s = 0  # tests see at once what they change
        parts.reads.recent_s = 0
        self.store, self.objects = parts.store, parts.objects
        self.workers: list[ThreadWorker] = []
        self.port = 0
        self.serve_again()

    def serve_again(self) -> None:
        """Listen on the port of before, at first on a free one."""
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self._server = make_server("127.0.0.1", self.port, self._respond, threaded=True, request_handler=_QuietHandler)
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop_serving(self) -> None:
        """Refuse connections, and cut those that are open; the workers go on."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def worker(self, *models: str, slot: str = "gpu0", **options: Any) -> ThreadWorker:
        """Start a worker that draws the jobs of these models."""
        worker = ThreadWorker(self.settings, self.objects, slot, models, **options).start()
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.stop_serving()
        self.redis.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _respond(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["gunicorn.socket"] = environ["werkzeug.socket"]
        self._connections.add(environ["werkzeug.socket"])
        return self.app(environ, start_response)
