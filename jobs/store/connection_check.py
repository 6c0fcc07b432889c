"""One connection to Redis when a process starts: whether its address and password are right."""

from __future__ import annotations

import redis

from jobs.errors import BadSetting
from jobs.settings import Settings
from jobs.store.scripts import connect


def check_connection(settings: Settings) -> None:
    """Check what Redis itself says about ``REDIS_URL``. A server that does not answer is waited for later.

    Raises:
        BadSetting: Redis refuses the password or the database. The message does not contain the address.
    """
    if settings.embedded_redis:
        return
    client = connect(settings)
    try:
        client.ping()
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as exc:
        raise BadSetting(f"REDIS_URL is refused by Redis: {exc}") from exc
    except redis.ResponseError as exc:
        if "DB index" in str(exc):
            raise BadSetting(f"REDIS_URL is refused by Redis: {exc}") from exc
    except redis.RedisError:
        pass  # it may be starting
    finally:
        client.close()
