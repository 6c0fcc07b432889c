"""The ``framemill`` command: submit jobs to a server, watch them, download their results; administer the server.

Results (ids, tables, JSON) go to standard output, everything else to standard error.
"""

from __future__ import annotations

from framemill.cli.app import main

__all__ = ["main"]
