"""nginx with an example of ``deploy/proxies``, in which only paths, ports and addresses are replaced."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.settings import PROJECT_ROOT
from stack import ports
from stack.parent import terminate_with_parent
from tests.support.api import wait_for

FOLDER = PROJECT_ROOT / "deploy/proxies"
#: The host name in the examples.
NAME = "pictures.example.org"
_FIRST_PORT = 24_000
#: What Debian's own file has around the included example. Nothing is written outside the folder.
_MAIN = """
{user}
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/framemill.conf;
}}
"""


class Nginx:
    """A running nginx.

    Attributes:
        base_url: the address at which it serves Framemill.
        certificate: file with its certificate, which it has signed itself.
    """

    def __init__(self, folder: Path, example: str, prefix: str, *, web: int, flower: int) -> None:
        self.folder, self.prefix = folder, prefix
        self.certificate = folder / "certificate.pem"
        self.port = ports.next_free("127.0.0.1", _FIRST_PORT + 13 * os.getpid() % 8_000)
        plain = ports.next_free("127.0.0.1", self.port + 1)
        self.base_url = f"https://{NAME}:{self.port}{prefix}"
        _make_certificate(self.certificate, folder / "key.pem")
        text = (FOLDER / example).read_text(encoding="utf-8")
        for old, new in (
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
            ("listen 443 ", f"listen 127.0.0.1:{self.port} "),
            ("127.0.0.1:8000", f"127.0.0.1:{web}"),
            ("127.0.0.1:5555", f"127.0.0.1:{flower}"),
            (f"/etc/ssl/certs/{NAME}.pem", str(self.certificate)),
            (f"/etc/ssl/private/{NAME}.key", str(folder / "key.pem")),
            ("/var/log/nginx/framemill.log", str(folder / "access.log")),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / "framemill.conf").write_text(text)
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user))

    @contextlib.contextmanager
    def running(self) -> Iterator[Nginx]:
        command = [_binary(), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "stderr"]
        with (self.folder / "output.log").open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True, preexec_fn=terminate_with_parent
            )

        def listens() -> bool:
            assert process.poll() is None, self.log("output.log")
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port), 5):
                return True
            return False

        try:
            wait_for(listens, "nginx")
            yield self
        finally:
            process.terminate()
            process.wait(20)

    def log(self, name: str = "access.log") -> str:
        return (self.folder / name).read_text(errors="replace")


def _make_certificate(path: Path, key: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
               "-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
               "-keyout", str(key), "-out", str(path)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _binary() -> str:
    """Return the program; skip the test if there is none."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        assert not os.environ.get("CI"), "CI needs nginx"
        pytest.skip("nginx is not installed (Debian: apt-get install nginx)")
    return found
