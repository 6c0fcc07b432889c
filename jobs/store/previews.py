"""Previews of running jobs: asked for, and looked at. :meth:`jobs.store.jobs.JobStore.preview` writes them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import cast

from jobs.store import keys
from jobs.store.scripts import Scripts

#: Who asks for previews of a job is remembered so long, seconds; longer than two looks of a patient watcher.
INTEREST_S = 20


@dataclass(frozen=True)
class Preview:
    """A picture of what a run has so far."""

    attempt: int
    #: Steps that were done.
    step: int
    media_type: str
    #: The picture's file, base64.
    base64: str

    @property
    def content(self) -> bytes:
        """The picture's file."""
        return base64.b64decode(self.base64)


def ask(store: Scripts, job_id: str) -> None:
    """Have previews made for the next ``INTEREST_S`` if the job runs; it costs its worker no further call."""
    store.call(lambda client: client.set(keys.PREVIEW_WANTED + job_id, 1, ex=INTEREST_S))


def newest(store: Scripts, job_id: str) -> Preview | None:
    """The newest preview of a job; None: none yet, or no more."""
    found = store.call(lambda client: cast("dict[str, str]", client.hgetall(keys.PREVIEW + job_id)))
    if not found:
        return None
    return Preview(int(found["attempt"]), int(found["step"]), found["media_type"], found["content"])
