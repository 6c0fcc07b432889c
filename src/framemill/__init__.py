"""Python client of a Framemill server.

    import framemill

    with framemill.Client("http://127.0.0.1:8000") as client:
        client.generate("circle.png", model="demo-image", prompt="a red circle on a blue background")

``generate`` submits a job, waits for it and saves its outputs; :class:`Client` also has a method for each step.
:class:`AsyncClient` has the same methods with ``await``; :mod:`framemill.errors` lists the exceptions that they raise.
The ``framemill`` command does the same from a shell. The package imports no server code: it only speaks HTTP.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framemill import errors
    from framemill.async_client import AsyncClient
    from framemill.client import Client
    from framemill.errors import (
        ApiError,
        ClientError,
        JobCancelled,
        JobFailed,
        MissingPackage,
        NoMetadata,
        ServerUnavailable,
        WaitTimeout,
        WrongSignature,
    )
    from framemill.keys import Key
    from framemill.records import Cancellation, Deletion, Event, Generated, Job, JobPage, Output, Preview

__all__ = [
    "ApiError",
    "AsyncClient",
    "Cancellation",
    "Client",
    "ClientError",
    "Deletion",
    "Event",
    "Generated",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobPage",
    "Key",
    "MissingPackage",
    "NoMetadata",
    "Output",
    "Preview",
    "ServerUnavailable",
    "WaitTimeout",
    "WrongSignature",
    "__version__",
    "errors",
]

__version__: str

#: Module → the names that it defines. They are imported when they are used first: the HTTP library takes longer to
#: import than ``framemill --help`` may take in all.
_DEFINED_IN = {
    "async_client": ("AsyncClient",),
    "client": ("Client",),
    "errors": ("ApiError", "ClientError", "JobCancelled", "JobFailed", "MissingPackage", "NoMetadata",
               "ServerUnavailable", "WaitTimeout", "WrongSignature"),
    "keys": ("Key",),
    "records": ("Cancellation", "Deletion", "Event", "Generated", "Job", "JobPage", "Output", "Preview"),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":  # setup.cfg holds it; reading the metadata of a package is slow
        from importlib.metadata import version

        return version("framemill")
    if name == "errors":
        return import_module(".errors", __name__)
    for module, names in _DEFINED_IN.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f".{module}", __name__), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
