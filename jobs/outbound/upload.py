"""Upload a file to a link that a client sent, such as a presigned one of a bucket."""

from __future__ import annotations

import time
from collections.abc import Callable

from jobs.outbound.post import PostResult, post
from jobs.outbound.ssrf import Resolve, lookup

#: Tries, and the pause before the second one in seconds; each further pause is twice as long.
TRIES, PAUSE_S = 3, 1.0


def upload(
    url: str, content: bytes, media_type: str, *, timeout_s: float, allow_hosts: frozenset[str] = frozenset(),
    resolve: Resolve = lookup, pause: Callable[[float], None] = time.sleep,
) -> PostResult:  # fmt: skip
    """Put a file, and try again if the server cannot be reached or answers 5xx. Never raises.

    Args:
        url: the link as the client sent it.
        content: the file.
        media_type: its ``Content-Type``, which a presigned link may have signed.
        timeout_s: limit for all tries together, seconds.
        allow_hosts: hosts in lower case, spelled as in the link, that may have private addresses.
        resolve: host and port → addresses; called once for each try.
        pause: sleeps between two tries.

    Returns:
        The result of the last try.
    """
    deadline, result = time.monotonic() + timeout_s, PostResult(error=f"no answer within {timeout_s:g} seconds")
    for number in range(TRIES):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            break
        result = post(
            url, content, {"Content-Type": media_type}, timeout_s=left_s, allow_hosts=allow_hosts, resolve=resolve,
            method="PUT",
        )  # fmt: skip
        if result.status is not None and result.status < 500:
            break
        if number < TRIES - 1:
            pause(max(0.0, min(PAUSE_S * 2**number, deadline - time.monotonic())))
    return result
