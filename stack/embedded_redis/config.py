"""Write the configuration of the embedded Redis."""

from __future__ import annotations

from pathlib import Path

from stack.embedded_redis.binary import RedisBinary, RedisStartError


def write_config(folder: Path, socket: Path, log: Path, binary: RedisBinary) -> Path:
    """Write ``redis.conf`` to ``folder`` and return its path.

    Raises:
        RedisStartError: ``binary`` is too old for the data in ``folder``.
    """
    newer = folder / "appendonlydir"
    # Redis 7 keeps its append-only files in a folder that Redis 6 ignores: Redis 6 would start without any data.
    if binary.version < (7, 0) and any(newer.glob("*")):
        raise RedisStartError(
            f"{newer} was written by Redis 7 or newer; {binary.path} is older and would not see the jobs in it. "
            "Put that redis-server on PATH (it may have been the one of a newer Python), or choose another DATA_DIR"
        )
    options = {
        "port": "0",
        "unixsocket": socket,
        "unixsocketperm": "700",
        "daemonize": "no",
        "dir": folder,
        "pidfile": folder / "redis.pid",
        "logfile": log,
        "loglevel": "notice",
        "appendonly": "yes",
        "appendfsync": "everysec",
        # When memory is full, Redis must refuse new jobs, never evict old ones.
        "maxmemory-policy": "noeviction",
        "save": "",
        # Request and outputs of a record have some hundred bytes. With the default limit of 64 bytes for compact
        # hashes, a finished job would take 3 KiB instead of 1.5. (Redis 7 accepts this name, too.)
        "hash-max-ziplist-value": "2048",
    }
    path = folder / "redis.conf"
    path.write_text("".join(f"{name} {_quoted(str(value))}\n" for name, value in options.items()), encoding="utf-8")
    path.chmod(0o600)
    return path


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
