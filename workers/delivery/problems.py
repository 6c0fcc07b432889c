"""What a failed delivery means: whether it passes, who can end it, how often it is tried, and the words for callers."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from jobs.errors import FramemillError, ObjectRefused, ObjectStoreAway, ObjectStoreMisset, Unavailable
from workers.broken_process import has_too_few_descriptors, is_half_imported

#: A delivery fails for good after this many failures that concern its output.
MAX_FAILURES = 4
#: The same for an output that the object store refuses: about an hour, in which an operator may raise a limit.
MAX_REFUSALS = 60
#: Longest pause before the next attempt, seconds.
LONGEST_PAUSE_S = 60.0
#: The same while the object store is away. Short, because only one delivery of the host retries then.
LONGEST_AWAY_S = 5.0
#: The same for a set-up that an operator has to correct.
LONGEST_MISSET_S = 15.0
#: Errors of a disk or folder of this host, which say nothing about the output.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


@dataclass(frozen=True)
class DeliveryProblem:
    """Why a delivery failed."""

    #: The problem in words that callers may read: no paths, no secrets.
    text: str
    #: What the delivery waits for; callers are shown it with the job.
    waiting_for: str
    #: Whether it concerns all outputs of this host. Then it is not counted, and one delivery tries for the others.
    away: bool = False
    #: Whether it stays until an operator corrects something.
    needs_operator: bool = False
    longest_pause_s: float = LONGEST_PAUSE_S
    #: The delivery fails for good after this many failures.
    most_failures: int = MAX_FAILURES


def of(exc: Exception) -> DeliveryProblem:
    """Return what an error of a delivery means."""
    text = exc.message if isinstance(exc, FramemillError) else type(exc).__name__
    if isinstance(exc, ObjectRefused):
        return DeliveryProblem(text, f"the object store: {text}", needs_operator=True, most_failures=MAX_REFUSALS)
    if isinstance(exc, ObjectStoreMisset):
        return DeliveryProblem(
            text, f"the object store: {text}", away=True, needs_operator=True, longest_pause_s=LONGEST_MISSET_S
        )
    if isinstance(exc, ObjectStoreAway):
        return DeliveryProblem(text, f"the object store: {text}", away=True, longest_pause_s=LONGEST_AWAY_S)
    if isinstance(exc, Unavailable):
        return DeliveryProblem(text, text, away=True, longest_pause_s=LONGEST_AWAY_S)
    if isinstance(exc, OSError) and exc.errno in _DISK:
        text = f"files of the delivery worker cannot be written: {os.strerror(exc.errno)}"
        return DeliveryProblem(text, text, away=True, needs_operator=True, longest_pause_s=LONGEST_MISSET_S)
    # Too few descriptors say nothing about the output. Too little memory may: an output can be too large for this host.
    if is_half_imported(exc) or has_too_few_descriptors(exc):
        return DeliveryProblem(text, "a new process of the delivery worker", away=True, longest_pause_s=LONGEST_AWAY_S)
    return DeliveryProblem(text, "another attempt to store its output")
