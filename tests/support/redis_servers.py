"""Redis servers on TCP ports, as people run them: with TLS, logins, replicas and Sentinels."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stack import ports
from stack.embedded_redis.binary import find_binary
from stack.parent import terminate_with_parent
from tests.support.api import wait_for
from tests.support.clients import debian

#: Debian's packages with a redis-server that has TLS, and what it is linked with.
_PACKAGES = ("redis-server", "redis-tools", "libjemalloc2", "liblua5.1-0", "liblzf1", "libatomic1")
_PORTS = iter(range(22_000 + 37 * os.getpid() % 8_000, 32_000))


class RedisServer:
    """A server on 127.0.0.1 that a test may kill and start again.

    Args:
        folder: for its configuration, log and data.
        options: lines of its configuration; the names without dashes at their beginning.
        client: options of a client that may do everything.
        sentinel: run as a Sentinel.
    """

    def __init__(
        self, folder: Path, options: dict[str, Any], *, client: dict[str, Any] | None = None, sentinel: bool = False,
        tls: bool = False,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self._sentinel = sentinel
        self._binary, self._environment = _with_tls() if tls else (find_binary().path, {})
        listening = {"port": 0, "tls-port": self.port} if tls else {"port": self.port}
        lines = {"bind": "127.0.0.1", "dir": folder, "logfile": folder / "log", "save": '""', **listening, **options}
        self._config = folder / "redis.conf"
        text = "".join(f"{name} {value}\n" for name, value in lines.items() if not (sentinel and name == "save"))
        self._config.write_text(text)  # Sentinels, and servers that they command, write to it
        self.client: Any = redis.Redis(
            port=self.port, decode_responses=True, retry=Retry(NoBackoff(), 0), socket_timeout=10, **(client or {})
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> RedisServer:
        self._process = subprocess.Popen(
            [self._binary, self._config, *(("--sentinel",) if self._sentinel else ())],
            env={**os.environ, **self._environment, "LC_ALL": "C"}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, start_new_session=True, preexec_fn=terminate_with_parent,
        )  # fmt: skip
        wait_for(self._answers, f"the server in {self.folder.name}")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            return bool(self.client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def signal(self, signum: int) -> None:
        assert self._process is not None
        self._process.send_signal(signum)

    def kill(self) -> None:
        """Kill the server as a crash does, and wait until it is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


@contextlib.contextmanager
def serving(*servers: RedisServer) -> Iterator[None]:
    """Run servers for one ``with`` block."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.kill()


def free_port() -> int:
    """Return a port that nobody uses, and that this process has not returned before."""
    return next(port for port in _PORTS if ports.refusal("127.0.0.1", port) is None)


def certificates(folder: Path) -> dict[str, Path]:
    """Make a CA, and certificates of a server on 127.0.0.1 and of a client; return the files by their names."""
    names = [f"{name}.{kind}" for name in ("ca", "server", "client") for kind in ("crt", "key")]
    files = {name: folder / name for name in names}

    def make(name: str, *extension: str) -> None:
        signed = () if name == "ca" else ("-CA", str(files["ca.crt"]), "-CAkey", str(files["ca.key"]))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
             "-keyout", files[f"{name}.key"], "-out", files[f"{name}.crt"], *extension, *signed],
            check=True, capture_output=True,
        )  # fmt: skip

    no_ca = ("-addext", "basicConstraints=critical,CA:false")
    make("ca")
    make("server", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", *no_ca)
    make("client", *no_ca)
    return files


def server_tls(files: dict[str, Path]) -> dict[str, Any]:
    """Return the options of a server that asks its clients for a certificate."""
    names = {"cert": files["server.crt"], "key": files["server.key"], "ca-cert": files["ca.crt"]}
    return {f"tls-{name}-file": file for name, file in names.items()} | {"tls-auth-clients": "yes"}


def client_tls(files: dict[str, Path]) -> dict[str, Any]:
    """Return redis-py's options of a client with a certificate."""
    names = {"ca_certs": files["ca.crt"], "certfile": files["client.crt"], "keyfile": files["client.key"]}
    return {f"ssl_{name}": file for name, file in names.items()} | {"ssl": True}


def _with_tls() -> tuple[Path, dict[str, str]]:
    """Return a redis-server that was built with TLS, and its environment. The one in the wheel was not."""
    root = debian("redis", *_PACKAGES)
    return root / "usr" / "bin" / "redis-server", {"LD_LIBRARY_PATH": str(next(root.glob("usr/lib/*-linux-gnu*")))}
