"""Previews of running jobs: requesting and reading them. Workers write them through :mod:`jobs.store.runs`."""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from jobs.errors import StoreRefuses
from jobs.store import keys
from jobs.store.scripts import Scripts

#: A request for previews of a job is in force this long, in seconds: longer than two polls of a slow client.
INTEREST_S = 20


@dataclass(frozen=True)
class Preview:
    """An intermediate picture of a run."""

    attempt: int
    #: Number of steps that were completed.
    step: int
    media_type: str
    #: The encoded picture, as base64.
    base64: str

    @property
    def content(self) -> bytes:
        """The encoded picture."""
        return base64.b64decode(self.base64)


def ask(store: Scripts, job_id: str) -> None:
    """Have previews made for the next ``INTEREST_S`` while the job runs, at no additional call of its worker."""
    with suppress(StoreRefuses):  # the job can be read without previews
        store.call(lambda client: client.set(keys.PREVIEW_WANTED + job_id, 1, ex=INTEREST_S))


def newest(store: Scripts, job_id: str) -> Preview | None:
    """Return the newest preview of a job; None if there is none yet, or if the run has ended."""
    values = store.call(lambda client: cast("dict[str, str]", client.hgetall(keys.PREVIEW + job_id)))
    if not values:
        return None
    return Preview(int(values["attempt"]), int(values["step"]), values["media_type"], values["content"])
