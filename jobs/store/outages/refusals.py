"""Replies with which Redis refuses a command for the moment, and the words that callers read about them.

Redis then answers, and usually lets clients read, but a later repetition of the command may succeed: it is treated
like an outage. All other error replies are bugs and stay what they are.
"""

from __future__ import annotations

import queue
import re

import redis

from jobs.errors import StoreBusy, StoreRefuses, Unavailable

#: Part of Redis' reply → reason, which continues "the job store ". A reply may quote the error inside a script, and
#: redis-py removes some of the leading codes, so only sentences that Redis (or Valkey) itself writes are looked for.
_REASONS = (
    (r"command not allowed when used memory > 'maxmemory'", "refuses writes: its memory is full (maxmemory)"),
    (r"\bMISCONF\b.*No space left on device", "refuses writes: its disk is full"),
    (r"\bMISCONF\b", "refuses writes: it cannot save its data to its disk"),
    (r"can't write against a read only replica", "refuses writes: it is a read-only replica"),
    (r"\bNOREPLICAS\b", "refuses writes: it has too few replicas"),
    (r"is loading the dataset in memory", "does not answer yet: it is still loading its data"),
    (r"is busy running a script", "does not answer: a script keeps it busy"),
    (r"link with MASTER is down", "does not answer: it is a replica without its master"),
)
_OF_REPLICA = re.compile(r"can't write against a read only replica", re.IGNORECASE)
_PATTERNS = [(re.compile(pattern, re.IGNORECASE | re.DOTALL), reason) for pattern, reason in _REASONS]


class TooFewReplicas(redis.RedisError):
    """The primary has done what it was asked for, but too few replicas have it yet. The message says how many."""


def is_of_replica(exc: redis.RedisError) -> bool:
    """Return whether a server refused a write because it is a replica. It has written nothing."""
    return bool(_OF_REPLICA.search(str(exc)))


def unavailable(exc: redis.RedisError) -> Unavailable | None:
    """Return the error that callers get for an outage or a refusal; None for an error that will not pass."""
    if isinstance(exc, TooFewReplicas):
        return Unavailable(
            f"this is accepted, but only {exc} replicas of the job store have it: send the request again, "
            "with the same Idempotency-Key"
        )
    text = str(exc)
    for pattern, reason in _PATTERNS:
        if pattern.search(text):
            return StoreRefuses(f"the job store {reason}")
    if isinstance(exc, redis.AuthenticationError):
        return Unavailable("the job store refuses the password of REDIS_URL")
    if isinstance(exc, redis.ConnectionError | redis.TimeoutError):
        if isinstance(exc.__context__, queue.Empty):  # how redis-py's pool says that all connections are in use
            return StoreBusy("this server has too many requests at once; try again")
        return Unavailable("the job store does not answer")
    return None
