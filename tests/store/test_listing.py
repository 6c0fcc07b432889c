"""Lists of jobs: which ones, in which order, page by page, and what a page costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from jobs.errors import InvalidRequest
from jobs.models.spec import Kind
from jobs.states import JobState
from jobs.store import keys, listing
from jobs.store.listing import JobFilter
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]


def pages(here: StoreDriver, jobs: JobFilter, limit: int) -> Iterator[listing.JobPage]:
    """Yield the pages of a list to its end."""
    after: str | None = None
    while True:
        page = listing.page(here.store, jobs, limit=limit, after=after)
        yield page
        after = page.next
        if after is None:
            return


def ids(here: StoreDriver, limit: int = 50, **options: object) -> list[str]:
    """Return the ids of a whole list."""
    return [job.job_id for page in pages(here, JobFilter(**options), limit) for job in page.jobs]  # type: ignore[arg-type]


def created(here: StoreDriver, job_id: str, at_ms: int) -> None:
    """Let a job have been created at this time."""
    here.redis.hset(keys.JOB + job_id, "created_at", at_ms)
    job = here.store.get(job_id)
    for index in (keys.JOBS, keys.STATE + job.state):
        for name in (index, f"{index}:{job.key_id}"):
            here.redis.zadd(name, {job_id: at_ms})


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_several_states_are_one_list_in_the_order_of_creation(driver: Open, limit: int) -> None:
    here = driver()
    jobs = here.submit_many(6)
    here.open()
    here.finish()
    here.store.cancel(jobs[3])
    assert ids(here, limit, states=frozenset({JobState.QUEUED, JobState.SUCCEEDED})) == [
        jobs[5], jobs[4], jobs[2], jobs[1], jobs[0]
    ]  # fmt: skip
    assert ids(here, limit, states=frozenset(JobState)) == jobs[::-1]
    assert ids(here, limit, states=frozenset({JobState.CANCELLED})) == [jobs[3]]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_jobs_of_one_millisecond_are_listed_once(driver: Open, limit: int) -> None:
    here = driver()
    jobs = sorted(here.submit_many(7))
    for job_id in jobs:
        created(here, job_id, 1000)
    assert ids(here, limit) == jobs[::-1]
    assert ids(here, limit, since_ms=1000, until_ms=1001) == jobs[::-1]
    assert ids(here, limit, since_ms=1001) == ids(here, limit, until_ms=1000) == []


def test_times_are_from_the_first_to_before_the_last(driver: Open) -> None:
    here = driver()
    jobs = here.submit_many(5)
    for number, job_id in enumerate(jobs):
        created(here, job_id, 1000 * number)
    assert ids(here, 2, since_ms=1000, until_ms=4000) == jobs[3:0:-1]
    assert [page.total for page in pages(here, JobFilter(since_ms=1000, until_ms=4000), 2)] == [3, 3]
    assert ids(here, since_ms=2000) == jobs[:1:-1]


def test_a_list_goes_on_although_the_job_of_its_place_changed_its_state_or_is_gone(driver: Open) -> None:
    here = driver()
    jobs = here.submit_many(4)
    waiting = JobFilter(states=frozenset({JobState.QUEUED}))
    first = listing.page(here.store, waiting, limit=2)
    assert [job.job_id for job in first.jobs] == jobs[:1:-1]
    here.store.cancel(jobs[2])
    assert [job.job_id for job in listing.page(here.store, waiting, limit=2, after=first.next).jobs] == jobs[1::-1]
    here.store.purge(jobs[2])
    assert [job.job_id for job in listing.page(here.store, waiting, limit=2, after=first.next).jobs] == jobs[1::-1]
    assert listing.page(here.store, waiting, limit=2, after=jobs[3]).jobs[0].job_id == jobs[1]
    for wrong in ("nobody", "nobody.", ".1", "x.²", "x." + "9" * 400):
        with pytest.raises(InvalidRequest):
            listing.page(here.store, waiting, limit=2, after=wrong)


def test_a_page_examines_a_bounded_number_of_records_and_the_next_one_goes_on(
    driver: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = driver()
    monkeypatch.setattr(listing, "MAX_EXAMINED", 10)
    monkeypatch.setattr(listing, "EXAMINED_AT_ONCE", 4)
    wanted = [here.submit(model="rare")]
    here.submit_many(12)
    wanted.append(here.submit(model="rare"))
    here.submit_many(13)
    found = list(pages(here, JobFilter(model="rare"), 5))
    assert [[job.job_id for job in page.jobs] for page in found] == [[], [wanted[1]], [wanted[0]]]
    assert {page.total for page in found} == {None}
    before = here.redis.info("commandstats")["cmdstat_hmget"]["calls"]
    listing.page(here.store, JobFilter(model="nothing"), limit=5)
    assert here.redis.info("commandstats")["cmdstat_hmget"]["calls"] - before == 10


def test_a_filter_ends_a_page_in_the_middle_of_what_was_examined(driver: Open) -> None:
    here = driver()
    jobs = [here.submit(model=model) for model in "abababab"]
    assert ids(here, 3, model="a") == jobs[6::-2]
    assert ids(here, 3, model="a", key_id="a", states=frozenset({JobState.QUEUED})) == jobs[6::-2]
    assert ids(here, 3, model="a", key_id="other") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_the_oldest_jobs_come_first_if_asked_for(driver: Open, limit: int) -> None:
    here = driver()
    jobs = here.submit_many(6)
    for number, job_id in enumerate(jobs):
        created(here, job_id, 1000 + number // 2)  # two of each millisecond
    expected = sorted(jobs, key=lambda job_id: (1000 + jobs.index(job_id) // 2, job_id))
    assert ids(here, limit, oldest_first=True) == expected
    assert ids(here, limit, oldest_first=True, since_ms=1001, until_ms=1002) == expected[2:4]
    assert ids(here, limit) == expected[::-1]


def test_videos_have_a_list_of_their_own_whose_pages_cost_the_same_among_many_other_jobs(driver: Open) -> None:
    here = driver()
    videos = [here.submit("a", kind=kind) for kind in (Kind.TEXT2VIDEO, Kind.IMG2VIDEO) for _ in range(3)]
    of_b = here.submit("b", kind=Kind.TEXT2VIDEO)

    def commands() -> int:
        return sum(one["calls"] for one in here.redis.info("commandstats").values())

    def cost() -> int:
        before = commands()
        found = listing.page(here.store, JobFilter(key_id="a", only_videos=True), limit=4)
        assert ([job.job_id for job in found.jobs], found.total) == (videos[:1:-1], 6)
        assert listing.page(here.store, JobFilter(key_id="a", only_videos=True), limit=4, after=found.next).next is None
        return commands() - before

    alone = cost()
    for key in "ab":
        here.submit_many(50, key)
    assert cost() == alone
    assert ids(here, 4, only_videos=True) == [of_b, *videos[::-1]]
    assert ids(here, 4, only_videos=True, oldest_first=True, key_id="a") == videos
    here.store.cancel(videos[0])
    here.store.purge(videos[0])
    assert ids(here, only_videos=True, key_id="a") == videos[:0:-1]
