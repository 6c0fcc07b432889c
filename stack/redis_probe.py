"""Talk to the embedded Redis about itself."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


class Answer(Enum):
    """What is behind a socket."""

    NONE = "nothing answers"
    LOADING = "a server that still reads its file"
    PONG = "a server at work"


def connect(socket: Path) -> redis.Redis:
    """A client that waits 2 s at most and tries once."""
    return redis.Redis(unix_socket_path=str(socket), socket_timeout=2, retry=Retry(NoBackoff(), 0))


def ping(socket: Path) -> Answer:
    """Ask once; never raises for a server that is away."""
    try:
        with connect(socket) as client:
            client.ping()
    except redis.BusyLoadingError:
        return Answer.LOADING
    except redis.RedisError:
        return Answer.NONE
    return Answer.PONG
