"""``python -m framemill`` runs the ``framemill`` command."""

from __future__ import annotations

import sys

from framemill.cli import main

if __name__ == "__main__":
    sys.exit(main())
