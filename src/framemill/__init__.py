"""Python client of a Framemill server.

    import framemill

    with framemill.Client("http://127.0.0.1:8000") as client:
        task = client.submit(model="demo-image", prompt="a red circle on a blue background")
        client.wait(task.task_id)
        client.result(task.task_id, "circle.png")

:class:`AsyncClient` has the same methods with ``await``; :mod:`framemill.errors` lists what they raise. The
``framemill`` command does the same from a shell. Nothing here imports server code: everything goes over HTTP.
"""

from __future__ import annotations

from framemill import errors
from framemill.async_client import AsyncClient
from framemill.client import Client
from framemill.events import Event
from framemill.keys import Key
from framemill.records import BulkCancellation, Cancellation, Deletion, Output, Preview, Status, Task, TaskPage

__all__ = [
    "AsyncClient",
    "BulkCancellation",
    "Cancellation",
    "Client",
    "Deletion",
    "Event",
    "Key",
    "Output",
    "Preview",
    "Status",
    "Task",
    "TaskPage",
    "errors",
]
