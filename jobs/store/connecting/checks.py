"""What is checked of Redis before a process starts."""

from __future__ import annotations

import ssl
from typing import Any

import redis
from redis.sentinel import MasterNotFoundError

from jobs.errors import BadSetting
from jobs.settings import Settings
from jobs.store.connecting.client import connect
from jobs.store.connecting.primary import Primary

#: The oldest server that has every command that the scripts use.
MIN_VERSION = (6, 2)
#: Tries to learn why a server closes its TLS connections.
_TLS_TRIES = 10
_CLOSED = "closed"


def check_connection(settings: Settings) -> list[str]:
    """Check what Redis itself says about ``REDIS_URL``. A server that does not answer is waited for later.

    Returns:
        A sentence for each thing that does not keep a process from starting.

    Raises:
        BadSetting: Redis refuses the password or the database, TLS fails, or the server would lose jobs or cannot run
            the scripts. The message does not contain the address.
    """
    if settings.embedded_redis:
        return []
    if problem := settings.redis_address.unreadable_file():
        raise BadSetting(f"REDIS_URL: {problem}")
    client = connect(settings)
    try:
        client.ping()
        return _judged(client.info())
    except redis.exceptions.NoPermissionError as exc:
        if "info" not in str(exc).lower():
            raise BadSetting(f"REDIS_URL is refused by Redis: {exc}") from exc
        return ["Redis cannot be checked, because the user of REDIS_URL may not use INFO"]
    except redis.AuthenticationError as exc:
        raise BadSetting(f"REDIS_URL is refused by Redis: {exc}") from exc
    except redis.ResponseError as exc:
        if "DB index" in str(exc):
            raise BadSetting(f"REDIS_URL is refused by Redis: {exc}") from exc
    except redis.RedisError as exc:  # it may be starting
        if problem := _tls_problem(client, exc) or _sentinel_problem(settings, exc):
            raise BadSetting(f"REDIS_URL: {problem}") from exc
    finally:
        client.close()
    return []


def _judged(info: dict[str, Any]) -> list[str]:
    """Return notes about a server, from its INFO, which managed services have where CONFIG is forbidden."""
    version = str(info.get("valkey_version") or info["redis_version"])
    if "valkey_version" not in info and tuple(map(int, version.split(".")[:2])) < MIN_VERSION:
        raise BadSetting(f"REDIS_URL: Redis {version} is too old; {'.'.join(map(str, MIN_VERSION))} or newer is needed")
    if "sentinel" in (info.get("redis_mode"), info.get("server_mode")):  # Valkey has the latter
        raise BadSetting("REDIS_URL names a Sentinel as if it were the server: begin it with sentinel://")
    if info.get("cluster_enabled"):
        raise BadSetting("REDIS_URL: Redis runs as a cluster, in which scripts cannot find their keys; use one server")
    notes = []
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        sentence = f"Redis removes jobs when its memory is full: set maxmemory-policy to noeviction (it is {policy})"
        if info.get("maxmemory"):
            raise BadSetting(f"REDIS_URL: {sentence}")
        notes.append(sentence)
    if not info.get("aof_enabled"):
        notes.append("Redis loses jobs when it is restarted: set appendonly to yes")
    if info.get("role") == "slave":
        notes.append("REDIS_URL names a replica, which refuses writes until it is the primary")
    return notes


def _sentinel_problem(settings: Settings, error: redis.RedisError) -> str:
    """Return what is wrong with the Sentinels' part of the address; '' if it is only that the primary is away."""
    if not isinstance(error, MasterNotFoundError):
        return ""
    known, refusal = Primary(settings.redis_address).services()
    if refusal:
        return f"a Sentinel refuses sentinel_password: {refusal}"
    if known and settings.redis_address.service not in known:
        return f"the Sentinels know no service {settings.redis_address.service}, but {', '.join(sorted(known))}"
    return ""


def _tls_problem(client: redis.Redis, error: redis.RedisError) -> str:
    """Return why TLS failed; '' for other errors.

    A server that misses a certificate says so after the handshake. If the client writes at that moment, it sees a
    closed connection only, so it tries again.
    """
    for _ in range(_TLS_TRIES):
        if (problem := _reason(error)) != _CLOSED:
            return f"TLS fails: {problem}" if problem else ""
        try:
            client.ping()
        except redis.RedisError as exc:
            error = exc
        else:
            return ""
    return ""


def _reason(exc: BaseException | None) -> str:
    """Return what OpenSSL says, if an error comes from it."""
    while exc is not None:
        if isinstance(exc, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError):
            return _CLOSED
        if isinstance(exc, ssl.SSLCertVerificationError):
            return f"the certificate of the server is not valid: {exc.verify_message}"
        if isinstance(exc, ssl.SSLError) and exc.reason:
            return exc.reason.lower().replace("_", " ")
        exc = exc.__cause__ or exc.__context__
    return ""
