"""The embedded Redis: a private server on a Unix socket that writes all data to disk within a second.

``python -m stack redis`` runs it in the foreground; the stack uses :class:`EmbeddedRedis`.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from typing import Self, TextIO

import click
from redis import RedisError

from jobs.errors import BadSetting
from jobs.settings import Settings
from stack.embedded_redis import binary, config, probe
from stack.embedded_redis.binary import RedisStartError
from stack.embedded_redis.probe import ServerState
from stack.parent import terminate_with_parent

#: Maximum time for the start, and for reading a large append-only file, in seconds.
START_TIMEOUT_S = 30.0
LOAD_TIMEOUT_S = 600.0


class EmbeddedRedis:
    """A server below ``settings.paths.data_dir``, started on entry and shut down on exit of a ``with`` block.

    On Linux, the server also ends when the thread that started it ends without stopping it.

    Args:
        settings: ``data_dir`` and ``redis_socket`` are used.
        reuse: if a server already serves the socket, use it (and leave it running) instead of raising.
    """

    def __init__(self, settings: Settings, *, reuse: bool = False) -> None:
        self.socket = settings.redis_socket
        self.folder = settings.redis_socket.parent
        self.log = self.folder / "redis.log"
        self._reuse = reuse
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the server that this object started; None if it uses a server that was already running."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            RedisStartError: another server serves the socket (without ``reuse``), or this one does not start.
            OSError: the folder cannot be created, or belongs to another user.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        # The server inherits the locked file, so it holds the lock until it ends, whatever happens to this process. A
        # free lock therefore proves that an existing socket or pid file belongs to a dead server.
        with (self.folder / "redis.lock").open("w") as lock:
            if not self._locked(lock) or self._answers():  # the latter: a server started without the lock
                return
            redis_server = binary.find_binary()
            for stale in (self.socket, self.folder / "redis.pid"):
                stale.unlink(missing_ok=True)
            self._process = subprocess.Popen(
                [redis_server.path, config.write_config(self.folder, self.socket, self.log, redis_server)],
                cwd=self.folder,
                # A newer server refuses to start with a locale that the system does not have.
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                pass_fds=(lock.fileno(),),
                # A session of its own: Ctrl-C must not stop Redis before the processes that write to it.
                start_new_session=True,
                preexec_fn=terminate_with_parent,
            )
        try:
            self._await_answer()
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout_s: float = 2.5) -> None:
        """Shut the server down if this object started it; kill it after ``timeout_s`` seconds."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            with probe.connect(self.socket) as client:
                client.shutdown(nosave=True)  # the append-only file is complete without a snapshot
        except (RedisError, OSError):
            process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def exit_status(self, timeout_s: float | None = 0) -> int | None:
        """Wait up to ``timeout_s`` seconds (None: no limit) and return the exit status, None while the server runs."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def _locked(self, lock: TextIO) -> bool:
        """Acquire the lock. Returns False if another server is to be used instead.

        Raises:
            RedisStartError: another server holds the lock, and may not be used or does not answer.
        """
        deadline = time.monotonic() + LOAD_TIMEOUT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._answers():
                    return False
                if not self._reuse:
                    raise self._occupied() from None
                if time.monotonic() > deadline:
                    raise RedisStartError(f"the Redis server that holds {lock.name} does not answer") from None
                time.sleep(0.05)  # the other server is starting or ending
            else:
                return True

    def _answers(self) -> bool:
        """Return whether a server is ready on the socket and may be used.

        Raises:
            RedisStartError: a server serves the socket, but may not be used.
        """
        if probe.ping(self.socket) is not ServerState.READY:
            return False
        if self._process is None and not self._reuse:
            raise self._occupied()
        return True

    def _occupied(self) -> RedisStartError:
        return RedisStartError(
            f"a Redis server already runs on {self.socket}. Stop it first, or choose another DATA_DIR"
        )

    def _await_answer(self) -> None:
        assert self._process is not None
        started = time.monotonic()
        while (state := probe.ping(self.socket)) is not ServerState.READY:
            if self._process.poll() is not None:
                raise RedisStartError(f"redis-server ended at once (status {self._process.returncode}){self._tail()}")
            if time.monotonic() - started > (LOAD_TIMEOUT_S if state is ServerState.LOADING else START_TIMEOUT_S):
                raise RedisStartError(f"redis-server does not answer on {self.socket}{self._tail()}")
            time.sleep(0.02)

    def _tail(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        except OSError:
            return ""
        return "".join(f"\n  {line}" for line in lines)


@click.command()
def redis() -> int:
    """Start the embedded Redis alone; Ctrl-C stops it.

    Exit codes: 0 stopped, 1 the server ended by itself, 2 it could not start.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server = EmbeddedRedis(Settings.from_env())
        with server:
            print(f"Redis runs on {server.socket} (pid {server.pid}), log in {server.log}; Ctrl-C stops it", flush=True)
            status = server.exit_status(timeout_s=None)
            print(f"redis-server ended by itself (status {status})", file=sys.stderr)
            return 1
    except KeyboardInterrupt:
        return 0
    except (BadSetting, RedisStartError, OSError) as exc:
        print(f"cannot start Redis: {exc}", file=sys.stderr)
        return 2
