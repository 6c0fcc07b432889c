"""Ask the embedded Redis whether it is ready."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


class ServerState(Enum):
    """State of the server behind a socket."""

    NONE = "nothing answers"
    LOADING = "a server that is still reading its file"
    READY = "a server that is ready"


def connect(socket: Path) -> redis.Redis:
    """Return a client that waits at most 2 s and does not retry."""
    return redis.Redis(unix_socket_path=str(socket), socket_timeout=2, retry=Retry(NoBackoff(), 0))


def ping(socket: Path) -> ServerState:
    """Send one ping. Never raises for an unreachable server."""
    try:
        with connect(socket) as client:
            client.ping()
    except redis.BusyLoadingError:
        return ServerState.LOADING
    except redis.ResponseError:  # it cannot save its data and refuses writes, and with them pings
        return ServerState.READY
    except redis.RedisError:
        return ServerState.NONE
    return ServerState.READY
