"""Words that the Lua scripts write and Python reads, or the other way round.

The scripts use them as constants (``NOTICE.OK``), as they use the keys: see :mod:`jobs.store.lua.loader`.
"""

from __future__ import annotations

from enum import StrEnum

from jobs.states import Interrupt as Interrupt


class MessageGap(StrEnum):
    """What a script fills in when it sends a job's Celery message: see :mod:`tasks.message`."""

    JOB_ID = "@I@"
    ATTEMPT = "@A@"
    #: Number of attempts before this one.
    RETRIES = "@R@"
    SLOT = "@S@"


class Obstacle(StrEnum):
    """Why a slot takes no new job."""

    #: No worker holds the slot.
    ABSENT = "absent"
    #: Its worker is about to stop.
    DRAINING = "draining"
    #: Its lease has lapsed.
    SUSPECT = "suspect"
    #: An operator paused it.
    PAUSED = "paused"
    #: Its back end is away, or its host's spool is full.
    BLOCKED = "blocked"
    #: Its worker fetches jobs over HTTP, and no request of it waits for one at the moment.
    CLOSED = "closed"


class Notice(StrEnum):
    """What a subscriber is told about a job."""

    QUEUED = "queued"
    GENERATING = "generating"
    OK = "ok"
    ERROR = "error"


class DeliveryState(StrEnum):
    """Where the delivery of a webhook message is."""

    PENDING = "pending"
    DELIVERED = "delivered"
    #: All tries were used up.
    FAILED = "failed"
    #: The receiver answered that it wants no more messages.
    GONE = "gone"
