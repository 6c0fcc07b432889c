"""The version of the data in Redis, and the refusal to work on data that a newer Framemill has written."""

from __future__ import annotations

import redis

from jobs.errors import BadSetting
from jobs.settings import Settings
from jobs.store import keys
from jobs.store.connecting.client import connect

#: Version of the keys in Redis; 0.2 and older had none. Raise it when processes of the version before could not work
#: on the keys any more; ``adopt_queue.lua`` then brings older data up to date.
LAYOUT = 2


def check_layout(settings: Settings) -> None:
    """Check that this version knows the data in Redis. A server that does not answer is waited for later.

    Raises:
        BadSetting: a newer version wrote them.
    """
    client = connect(settings)
    try:
        layout = int(client.get(keys.LAYOUT) or 0)
    except redis.RedisError:
        return
    finally:
        client.close()
    if layout > LAYOUT:
        raise BadSetting(too_new(layout))


def too_new(layout: int) -> str:
    """Return why a process cannot work on data of a newer layout, and what to do."""
    return (
        f"the jobs in Redis were written by a newer Framemill (their layout is {layout}, this version knows {LAYOUT}): "
        "start the newer version, or restore a backup from before the upgrade"
    )
