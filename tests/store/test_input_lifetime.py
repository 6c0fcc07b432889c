"""How long input images are kept; an upload and a removal at the same moment lose nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.errors import Unavailable
from jobs.requests.generation import GenerationRequest
from jobs.store import keys
from jobs.submission import Submission
from tests.support.files_room import House
from tests.support.input_case import Case
from tests.support.pictures import PNG
from tests.support.room import request


def test_an_input_stays_as_long_as_a_job_names_it(house: House) -> None:
    name = house.upload()
    first, second = house.with_input(name), house.with_input(name)
    house.pass_time()
    assert house.sweep() == []
    for job_id in (first, second):
        assert house.files("inputs/") == [name]
        house.store.cancel(job_id)
        house.sweep()
        assert house.files("inputs/") == [name]  # it could be submitted again
        house.store.purge(job_id)
        house.sweep()
    assert house.files("inputs/") == []
    assert not house.redis.exists(keys.INPUTS, keys.INPUT_USES, keys.DUE)


def test_the_inputs_of_a_job_that_succeeded_go_with_its_outputs(house: House) -> None:
    name = house.upload()
    job_id = house.with_input(name)
    house.publish()
    house.pass_time(f"outputs/{job_id}/", name)
    house.sweep(), house.sweep()
    assert house.files("inputs/") == house.files() == []


def test_an_input_that_no_job_came_for_goes_after_its_grace(house: House) -> None:
    name = house.upload()
    assert house.sweep() == []
    house.pass_time()
    assert house.sweep() == [name]
    with pytest.raises(Unavailable, match="no longer stored"):
        house.with_input(name)
    assert house.redis.keys(keys.JOB + "*") == []


def test_an_upload_keeps_an_input_whose_last_job_is_deleted_meanwhile(house: House) -> None:
    name = house.upload()
    job_id = house.with_input(name)
    house.pass_time()
    house.sweep()
    assert house.upload() == name  # a client sends it again …
    house.store.cancel(job_id)
    house.store.purge(job_id)  # … and before the new job is submitted, the only other job is deleted
    assert house.sweep() == []
    house.with_input(name)
    assert house.files("inputs/") == [name]


def test_a_removal_under_way_cannot_hit_the_same_image_sent_again(case: Case) -> None:
    """Interleave the steps of upload and removal in every order."""
    for taken_at in range(4):
        for removed_at in range(taken_at, 4):
            case.records.client.flushall()
            old = case.store(PNG)
            case.records.client.zadd(keys.DUE, {old: 1})
            taken: list[str] = []
            new = ""
            for step in range(4):
                if step == taken_at:
                    taken = case.records.take_due_files(9, 60)
                if step == removed_at:
                    for name in taken:
                        case.objects.delete(name)
                if step == 1:
                    new = case.store(PNG)
                if step == 2:
                    case.records.submit("job", Submission(request=_with(new)))
            for name in case.records.take_due_files(9, 0):
                case.objects.delete(name)
            assert case.content(new) == PNG, (taken_at, removed_at)
            assert (new == old) == (taken_at > 1)


def _with(name: str) -> GenerationRequest:
    return replace(request("m", 1), image=name)
