"""What ``celery -A tasks flower`` needs before Flower itself begins.

Flower reads ``FLOWER_PORT``, ``FLOWER_BASIC_AUTH`` and its other options from the environment before it asks for
Celery's configuration, with which ``.env`` would be read. And it tries a Redis that refuses it again and again, without
an end.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jobs.errors import BadSetting
from jobs.startup import cannot_start, settings_or_exit
from jobs.store.connecting.checks import check_connection


def prepare_if_started() -> None:
    """Read ``.env``, and check the address of Redis, if this process is Flower.

    Raises:
        SystemExit: a setting is wrong; the message is one line that names it.
    """
    if Path(sys.argv[0]).stem == "celery" and "flower" in sys.argv[1:]:
        try:
            check_connection(settings_or_exit())
        except BadSetting as exc:
            raise cannot_start(exc) from None
