"""Lists of jobs, newest or oldest first: page by page, with filters. Nothing here writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jobs.errors import InvalidRequest, Problem
from jobs.record import Job
from jobs.states import JobState
from jobs.store import keys
from jobs.store.jobs import JobStore
from jobs.store.queries import listed, pipelined

#: Most records that one page looks at for a filter that no index answers, and how many of them at once.
MAX_EXAMINED, EXAMINED_AT_ONCE = 2000, 500
#: Fields of a record that such a filter looks at.
_EXAMINED = ("request", "error", "command")
#: Times have fewer digits.
_MAX_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs a list has. A filter that is not given lets all pass."""

    key_id: str | None = None
    states: frozenset[JobState] = frozenset()
    #: Created at this time or later, and before that one; milliseconds since 1970.
    since_ms: int | None = None
    until_ms: int | None = None
    model: str | None = None
    #: Case-folded words, each of which is in the prompt or the error, or begins the id.
    words: tuple[str, ...] = ()
    #: Videos only, in any state.
    only_videos: bool = False
    oldest_first: bool = False

    @property
    def examines(self) -> bool:
        """Whether the records must be looked at, because no index has what the filter asks for."""
        return self.model is not None or bool(self.words)

    @property
    def indexes(self) -> list[str]:
        """The indexes that together have the jobs, but for the times.

        They are in the order of a job's states: one that changes its state meanwhile is seen twice rather than never.
        """
        suffix = f":{self.key_id}" if self.key_id else ""
        if self.only_videos:
            return [keys.VIDEOS + suffix]
        if self.states and len(self.states) < len(JobState):
            return [keys.STATE + state + suffix for state in JobState if state in self.states]
        return [keys.JOBS + suffix]

    def passes(self, job_id: str, texts: Sequence[str | None]) -> bool:
        """Return whether a job passes that has these texts of :data:`_EXAMINED`."""
        request, error, command = texts
        if not request:  # deleted meanwhile
            return False
        values = json.loads(request)
        if self.model is not None and values["model"] != self.model:
            return False
        searched = _searched(values, error or "", command or "") if self.words else ""
        return all(word in searched or job_id.casefold().startswith(word) for word in self.words)


class Place(NamedTuple):
    """A place in the order of all lists: that of a job, which need not exist any more."""

    created_at_ms: int
    job_id: str

    def __str__(self) -> str:
        return f"{self.job_id}.{self.created_at_ms}"


@dataclass(frozen=True)
class JobPage:
    """One page of a list."""

    jobs: list[Job]
    #: ``after`` of the next page; None at the end.
    next: str | None
    #: Number of jobs in the whole list; None if only looking at all of them would tell.
    total: int | None


def page(store: JobStore, jobs: JobFilter, *, limit: int, after: str | None = None) -> JobPage:
    """Return one page. Its cost does not grow with the number of jobs.

    For a filter that examines records, a page may have fewer jobs than ``limit``, even none, before the end of the
    list: it ends after ``MAX_EXAMINED`` records.

    Args:
        store: the store.
        jobs: which jobs.
        limit: most jobs of the page.
        after: ``next`` of the previous page, or the id of a job in this list.

    Raises:
        InvalidRequest: ``after`` is neither.
    """
    place, ids, total, is_end = _place(store, jobs, after), list[str](), 0, False
    at_once, left = (EXAMINED_AT_ONCE, MAX_EXAMINED) if jobs.examines else (limit, limit)
    while not is_end and left > 0 and len(ids) < limit:
        wanted = min(at_once, left)
        found, total = _read(store, jobs, place, wanted + 1)
        is_end = len(found) <= wanted
        found = found[:wanted]
        passing = _passing(store, jobs, found)
        taken = passing[: limit - len(ids)]
        ids += [one.job_id for one in taken]
        left -= wanted
        if len(taken) < len(passing):
            is_end, place = False, taken[-1]
        elif found:
            place = found[-1]
    return JobPage(listed(store, ids), None if is_end else str(place), None if jobs.examines else total)


def first_ids(store: JobStore, jobs: JobFilter, *, limit: int) -> list[str]:
    """Return the ids of the first jobs of a list. The filter must not examine records."""
    return [place.job_id for place in _read(store, jobs, None, limit)[0]]


def _place(store: JobStore, jobs: JobFilter, after: str | None) -> Place | None:
    """Return the place after which a page begins; None for the first page. Raises: InvalidRequest."""
    if after is None:
        return None
    job_id, _, created_at = after.rpartition(".")
    if job_id and created_at.isascii() and created_at.isdigit() and len(created_at) < _MAX_DIGITS:
        return Place(int(created_at), job_id)
    index = keys.JOBS + (f":{jobs.key_id}" if jobs.key_id else "")
    score = store.call(lambda c: c.zscore(index, after))
    if score is None:
        raise InvalidRequest(Problem("after", "must be `next` of an earlier page, or the id of a job", after))
    return Place(int(score), after)


def _read(store: JobStore, jobs: JobFilter, after: Place | None, count: int) -> tuple[list[Place], int]:
    """Return the next places of the list, and how many jobs it has in all, in one round trip."""
    least = "-inf" if jobs.since_ms is None else str(jobs.since_ms)
    below = "+inf" if jobs.until_ms is None else f"({jobs.until_ms}"
    commands: list[tuple[Any, ...]] = [("zcount", index, least, below) for index in jobs.indexes]
    for index in jobs.indexes:
        for low, high, *limit in _ranges(jobs, after, least, below, count):
            if jobs.oldest_first:
                commands.append(("zrangebyscore", index, low, high, *limit, True))
            else:
                commands.append(("zrevrangebyscore", index, high, low, *limit, True))
    replies = store.call(lambda c: pipelined(c, commands))
    counts, found = replies[: len(jobs.indexes)], replies[len(jobs.indexes) :]
    places = {Place(int(score), job_id) for part in found for job_id, score in part}
    if after is not None:
        places = {place for place in places if (place > after if jobs.oldest_first else place < after)}
    return sorted(places, reverse=not jobs.oldest_first)[:count], sum(counts)


def _ranges(jobs: JobFilter, after: Place | None, least: str, below: str, count: int) -> list[tuple[Any, ...]]:
    """Return the ranges of times in which the next places are, each with the first one and their number."""
    at = None if after is None else after.created_at_ms
    if at is None or (jobs.since_ms is not None and at < jobs.since_ms and jobs.oldest_first):
        return [(least, below, 0, count)]
    if jobs.until_ms is not None and at >= jobs.until_ms and not jobs.oldest_first:
        return [(least, below, 0, count)]
    # All jobs of the same millisecond, which are few, are in the order of their ids.
    last = at if jobs.until_ms is None else min(at, jobs.until_ms - 1)
    same = (max(at, jobs.since_ms or 0), last, None, None)
    return [same, (f"({at}", below, 0, count) if jobs.oldest_first else (least, f"({at}", 0, count)]


def _passing(store: JobStore, jobs: JobFilter, places: list[Place]) -> list[Place]:
    """Return the places of the jobs that pass."""
    if not (jobs.examines and places):
        return places
    records = store.call(lambda c: c.hmgets([keys.JOB + place.job_id for place in places], _EXAMINED))
    return [place for place, texts in zip(places, records, strict=True) if jobs.passes(place.job_id, texts)]


def _searched(request: dict[str, Any], error: str, command: str) -> str:
    """Return what words are searched in: the texts by which people know a job, and why it failed."""
    parts = [command, request.get("prompt"), (request.get("params") or {}).get("prompt"), request.get("endpoint")]
    parts += [part.get("text") for part in request.get("mix") or ()]
    if command:
        parts.append(request["model"])
    if error:
        parts.append(json.loads(error).get("message"))
    return " ".join(part for part in parts if isinstance(part, str)).casefold()
