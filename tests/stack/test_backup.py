"""A backup of Redis, made while everything runs, brings the jobs of that moment back (docs/operating/upgrading.md)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import redis

from jobs.slots.slot import ALL_SLOTS
from stack.embedded_redis.binary import find_binary
from tests.support import drawn_models
from tests.support.harness import Stack, wait_for


def snapshot(stack: Stack, target: Path) -> None:
    """Write the snapshot as an operator does it."""
    client = stack.store.client
    before = client.lastsave()
    client.bgsave()
    wait_for(lambda: client.lastsave() > before or client.info("persistence")["rdb_bgsave_in_progress"] == 0, "a save")
    shutil.copy(stack.settings.redis_socket.parent / "dump.rdb", target)


def restore(folder: Path, dump: Path) -> None:
    """Make append-only files of a snapshot, in an empty folder."""
    for old in [*folder.glob("appendonly*"), *folder.glob("dump.rdb")]:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copy(dump, folder / "dump.rdb")
    socket = folder / "restore.sock"
    command = [find_binary().path, "--port", "0", "--unixsocket", socket, "--dir", folder, "--appendonly", "no"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:

            def answers() -> bool:
                try:
                    return bool(client.ping())
                except redis.RedisError:
                    return False

            wait_for(answers, "Redis with the snapshot")
            client.config_set("appendonly", "yes")
            wait_for(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0
                     and client.info("persistence")["aof_rewrite_scheduled"] == 0, "the append-only file")  # fmt: skip
    finally:
        process.terminate()
        process.wait(150)


@pytest.mark.timeout(300)
def test_jobs_of_the_backup_come_back_and_waiting_ones_run(drawn_models_file: Path, tmp_path: Path) -> None:
    with drawn_models.stack_in_new_folder(drawn_models_file, "gpu0", "io", ORPHAN_AGE_S=0) as stack:
        done = stack.submit(steps=1)
        stack.wait(done)
        picture = stack.get(f"/v1/jobs/{done}/result").content
        stack.store.pause_slots(ALL_SLOTS, resume=False)
        waiting = stack.submit(steps=1)
        snapshot(stack, tmp_path / "backup.rdb")
        later = stack.submit(steps=1)

        for name in ("web", "gpu0", "io"):
            stack.kill(name)
        stack.redis.stop()
        restore(stack.settings.redis_socket.parent, tmp_path / "backup.rdb")
        stack.redis.start()
        stack.worker("gpu0")
        stack.worker("io")
        stack.web()

        assert stack.get(f"/v1/jobs/{later}").status_code == 404
        assert stack.get(f"/v1/jobs/{done}/result").content == picture
        assert stack.status(waiting)["state"] == "queued"
        stack.store.pause_slots(ALL_SLOTS, resume=True)
        assert stack.wait(waiting)["state"] == "succeeded"
        assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"
