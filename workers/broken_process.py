"""Recognise errors after which a child process cannot be trusted, and end it: its parent starts a new one."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from typing import Any, NoReturn

logger = logging.getLogger(__name__)



def is_half_imported(exc: BaseException) -> bool:
    """Return whether an import stopped half-way.

    A library in C such as torch or numpy cannot be imported again in the same process: every later job would fail. A
    module that does not exist is another matter: nothing of it was loaded.
    """
    links = list(_chain(exc))
    if any(isinstance(link, ModuleNotFoundError) for link in links):
        return False
    return any(_passed_through_module(link) for link in links)


def has_too_little_memory(exc: BaseException) -> bool:
    """Return whether the process could not allocate memory."""
    return any(
        isinstance(link, MemoryError) or (isinstance(link, OSError) and link.errno == errno.ENOMEM)
        for link in _chain(exc)
    )


def has_too_few_descriptors(exc: BaseException) -> bool:
    """Return whether this process, or the host, had too many open files."""
    return any(isinstance(link, OSError) and link.errno in (errno.EMFILE, errno.ENFILE) for link in _chain(exc))


def end_process(why: str, exc: BaseException, **context: Any) -> NoReturn:
    """End this process at once. The parent notices it, and treats a task that still runs as lost."""
    logger.critical("%s, the process ends", why, exc_info=exc, extra=context)
    logging.shutdown()
    os._exit(os.EX_SOFTWARE)


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes."""
    seen: set[int] = set()
    link: BaseException | None = exc
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _passed_through_module(exc: BaseException) -> bool:
    """Return whether an exception was raised while the body of a module was executed."""
    step = exc.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_name == "<module>":
            return True
        step = step.tb_next
    return False
