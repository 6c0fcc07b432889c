"""A real S3 server for tests: it checks signatures, and links expire."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import requests

from jobs.objects.s3 import S3Store
from jobs.settings import Settings
from stack import ports
from stack.parent import terminate_with_parent
from tests.support.harness import BIN, files_below, wait_for

LINK_TTL_S = 3


class S3Server:
    """rclone's S3 server over a folder with one bucket. It can be stopped, restarted and frozen."""

    def __init__(self, folder: Path) -> None:
        self.bucket = folder / "media"
        self.bucket.mkdir()
        # Not the first free port for all: two processes that start servers at the same time would find the same one.
        self.port = ports.next_free("127.0.0.1", 20_000 + 37 * os.getpid() % 4_000)
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "S3_BUCKET": self.bucket.name, "S3_ENDPOINT_URL": self.url, "S3_ADDRESSING_STYLE": "path",
            "S3_PREFIX": "/mill/", "RESULT_URL_TTL_S": str(LINK_TTL_S), "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "framemill", "AWS_SECRET_ACCESS_KEY": "a secret",
        }  # fmt: skip
        self.store = self.store_of()

    def start(self, secret: str = "a secret") -> None:
        command = ["rclone", "serve", "s3", f"--addr=127.0.0.1:{self.port}", f"--auth-key=framemill,{secret}"]
        self.process = subprocess.Popen(
            [BIN / command[0], *command[1:], "--config=/dev/null", self.bucket.parent],
            stderr=subprocess.DEVNULL,
            preexec_fn=terminate_with_parent,  # a killed test run leaves no process behind
        )
        wait_for(self._answers, "the S3 server")
        assert self.process.poll() is None, "another process has taken the port of the S3 server"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def store_of(self, **environment: str) -> S3Store:
        """Return the bucket as the server's processes open it; ``environment`` changes the settings."""
        environment = {**self.environment, "REDIS_URL": "redis://none", **environment}
        store = S3Store(Settings.from_env(environment))
        with pytest.MonkeyPatch.context() as patch:
            for name in environment:
                patch.setenv(name, environment[name])
            assert store.client  # created now, with these credentials
            store.url("any")  # as is the client that signs links
        return store

    def files(self, part: str = "") -> list[str]:
        """Return the keys that contain ``part``, without the copies that rclone has half written or left behind."""
        names = sorted(str(path.relative_to(self.bucket)) for path in files_below(self.bucket))
        return [name for name in names if part in name and not name.endswith(".partial")]

    def _answers(self) -> bool:
        try:
            return requests.get(self.url, timeout=2).status_code < 500
        except requests.ConnectionError:
            return False
