"""What ``celery -A tasks flower`` needs before and while Flower itself begins.

Flower reads ``FLOWER_PORT``, ``FLOWER_BASIC_AUTH`` and its other options from the environment before it asks for
Celery's configuration, with which ``.env`` would be read. It tries a Redis that refuses it again and again, without an
end. And it binds every address, without a login, unless it is told otherwise.
"""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import Any

from jobs.errors import BadSetting
from jobs.process.log import configure, take_over
from jobs.settings import Settings
from jobs.startup import cannot_start, settings_or_exit
from jobs.store.connecting.checks import check_connection
from jobs.store.jobs import JobStore
from tasks import flower_pages


def prepare_if_started() -> None:
    """Read ``.env``, check the address of Redis, and adapt Flower, if this process is Flower.

    Raises:
        SystemExit: a setting is wrong; the message is one line that names it.
    """
    if Path(sys.argv[0]).stem == "celery" and "flower" in sys.argv[1:]:
        settings = settings_or_exit()
        try:
            check_connection(settings)
        except BadSetting as exc:
            raise cannot_start(exc) from None
        # Tornado adds no handler where there is one, and sets the level that --logging names.
        configure(settings.process.log_level, settings.process.log_format)
        take_over()
        _adapt(settings)


def _adapt(settings: Settings) -> None:
    """Have Flower show jobs, and refuse to serve others than this host without a login."""
    import flower.command
    from flower.options import options

    options.tasks_columns = flower_pages.COLUMNS
    options.format_task = flower_pages.formatter(JobStore(settings), prompts=settings.web.flower_prompts)

    class Guarded(flower.command.Flower):
        def start_http_server(self) -> Any:
            try:
                check_login(self.options)
            except BadSetting as exc:
                raise cannot_start(exc) from None
            return super().start_http_server()

    flower.command.Flower = Guarded


def check_login(options: Any) -> None:
    """Check that Flower asks for a login if others than this host reach it, directly or through a proxy.

    Args:
        options: Flower's, from the environment, its file and the command line.

    Raises:
        BadSetting.
    """
    if options.basic_auth or options.auth:
        return
    remedy = "set FLOWER_BASIC_AUTH=user:password"
    if options.url_prefix:
        raise BadSetting(f"Flower has FLOWER_URL_PREFIX, as behind a proxy, and no login: {remedy}")
    if not options.unix_socket and not _is_loopback(options.address):
        address = options.address or "all addresses"
        raise BadSetting(f"Flower would serve {address} without a login: {remedy}, or FLOWER_ADDRESS=127.0.0.1")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
