"""What is checked of Redis before a process starts."""

from __future__ import annotations

import ssl

import redis

from jobs.errors import BadSetting
from jobs.settings import Settings
from jobs.store.connecting.client import connect

#: Tries to learn why a server closes its TLS connections.
_TLS_TRIES = 10
_CLOSED = "closed"


def check_connection(settings: Settings) -> None:
    """Check what Redis itself says about ``REDIS_URL``. A server that does not answer is waited for later.

    Raises:
        BadSetting: Redis refuses the password or the database, or TLS fails. The message does not contain the address.
    """
    if settings.embedded_redis:
        return
    if problem := settings.redis_address.unreadable_file():
        raise BadSetting(f"REDIS_URL: {problem}")
    client = connect(settings)
    try:
        client.ping()
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as exc:
        raise BadSetting(f"REDIS_URL is refused by Redis: {exc}") from exc
    except redis.ResponseError as exc:
        if "DB index" in str(exc):
            raise BadSetting(f"REDIS_URL is refused by Redis: {exc}") from exc
    except redis.RedisError as exc:  # it may be starting
        if problem := _tls_problem(client, exc):
            raise BadSetting(f"REDIS_URL: TLS fails: {problem}") from exc
    finally:
        client.close()


def _tls_problem(client: redis.Redis, error: redis.RedisError) -> str:
    """Return why TLS failed; '' for other errors.

    A server that misses a certificate says so after the handshake. If the client writes at that moment, it sees a
    closed connection only, so it tries again.
    """
    for _ in range(_TLS_TRIES):
        if (problem := _reason(error)) != _CLOSED:
            return problem
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
