"""Passwords, users, databases and Unix sockets: the store, Celery and its results use the same ones."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from jobs.settings import Settings
from jobs.store.connecting.checks import check_connection
from jobs.store.jobs import JobStore
from tasks.celery_app import create_celery
from tests.support.redis_servers import RedisServer, serving

#: With all characters that mean something in an address.
PASSWORD = "p:a/s?s#w[o]r@d%41+&=,;é"
_PASSWORD = quote(PASSWORD, safe="")


@pytest.fixture(scope="module")
def locked() -> Iterator[RedisServer]:
    """Yield a server with a password, a second user and a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))  # the path of a socket must be short
    server = RedisServer(folder, {"unixsocket": folder / "s"})
    with serving(server):
        server.client.execute_command("ACL", "SETUSER", "anna", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        server.client.config_set("requirepass", PASSWORD)
        yield server
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("url", "user", "db"),
    [
        (f"redis://:{_PASSWORD}@127.0.0.1:PORT/0", "default", 0),
        (f"redis://anna:{_PASSWORD}@localhost:PORT/3", "anna", 3),
        (f"unix://:{_PASSWORD}@FOLDER/s", "default", 0),
        (f"unix://anna:{_PASSWORD}@FOLDER/s?db=2", "anna", 2),
    ],
)
def test_every_library_logs_in(locked: RedisServer, url: str, user: str, db: int) -> None:
    settings = Settings.of(redis_url=url.replace("PORT", str(locked.port)).replace("FOLDER", str(locked.folder)))
    check_connection(settings)
    store = JobStore(settings).client
    with create_celery(settings).connection_for_write() as connection:
        for client in (store, connection.default_channel.client):
            assert client.execute_command("ACL", "WHOAMI") in (user, user.encode())
            client.set(f"key-{db}", 1)
            assert client.client_info()["db"] in (db, str(db))
    store.close()
