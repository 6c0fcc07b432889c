"""End child processes together with their parent, even after ``kill -9`` of the parent."""

from __future__ import annotations

import ctypes
import functools
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
# Loaded at import: the code below runs between fork and exec, where as little as possible should happen.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(signum: int) -> None:
    """Have the kernel send ``signum`` to this process when the thread that forked it ends (Linux only)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signum)


#: For ``preexec_fn``: the child receives SIGTERM when its parent ends.
terminate_with_parent: Callable[[], None] = functools.partial(die_with_parent, signal.SIGTERM)
