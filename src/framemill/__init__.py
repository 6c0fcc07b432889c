"""Python client of a Framemill server.

    import framemill

    with framemill.Client("http://127.0.0.1:8000") as client:
        client.generate("circle.png", model="demo-image", prompt="a red circle on a blue background")

``generate`` submits a job, waits for it and saves its outputs; :class:`Client` also has a method for each step.
:class:`AsyncClient` has the same methods with ``await``; :mod:`framemill.errors` lists the exceptions that they raise.
The ``framemill`` command does the same from a shell. The package imports no server code: it only speaks HTTP.
"""

from __future__ import annotations

from typing import Any

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


def __getattr__(name: str) -> Any:
    # setup.cfg holds the version. It is read on demand, because reading package metadata slows down the import.
    if name == "__version__":
        from importlib.metadata import version

        return version("framemill")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
