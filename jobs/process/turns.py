"""Lets the other work of a process go on during a long piece of work."""

from __future__ import annotations

import sys

#: Of events in libev: those that wait for a turn are not kept waiting by later data.
_HIGHEST_PRIORITY = 2


def runs_on_gevent() -> bool:
    """Return whether gevent runs this process: what does not wait then keeps everything else waiting."""
    if "gevent" not in sys.modules:
        return False
    from gevent.monkey import is_module_patched

    return bool(is_module_patched("socket"))


def take_turns() -> None:
    """Let everybody else run and have their data received. Where threads do the work, they do so anyway.

    ``gevent.sleep(0)`` would not do: up to a thousand such pauses pass before gevent looks for new data.
    """
    if runs_on_gevent():
        from gevent import idle

        idle(_HIGHEST_PRIORITY)
