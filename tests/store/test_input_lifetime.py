"""How long input images are kept; an upload and a removal at the same moment lose nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.errors import Unavailable
from jobs.requests.generation import GenerationRequest
from jobs.store import keys
from jobs.submission import Submission
from tests.support.files_driver import FilesDriver
from tests.support.input_case import Case
from tests.support.pictures import PNG
from tests.support.store_driver import request


def test_an_input_stays_as_long_as_a_job_names_it(files_driver: FilesDriver) -> None:
    name = files_driver.upload()
    first, second = files_driver.with_input(name), files_driver.with_input(name)
    files_driver.pass_time()
    assert files_driver.sweep() == []
    for job_id in (first, second):
        assert files_driver.files("inputs/") == [name]
        files_driver.store.cancel(job_id)
        files_driver.sweep()
        assert files_driver.files("inputs/") == [name]  # it could be submitted again
        files_driver.store.purge(job_id)
        files_driver.sweep()
    assert files_driver.files("inputs/") == []
    assert not files_driver.redis.exists(keys.INPUTS, keys.INPUT_USES, keys.DUE)


def test_the_inputs_of_a_job_that_succeeded_go_with_its_outputs(files_driver: FilesDriver) -> None:
    name = files_driver.upload()
    job_id = files_driver.with_input(name)
    files_driver.publish()
    files_driver.pass_time(f"outputs/{job_id}/", name)
    files_driver.sweep(), files_driver.sweep()
    assert files_driver.files("inputs/") == files_driver.files() == []


def test_an_input_that_no_job_came_for_goes_after_its_grace(files_driver: FilesDriver) -> None:
    name = files_driver.upload()
    assert files_driver.sweep() == []
    files_driver.pass_time()
    assert files_driver.sweep() == [name]
    with pytest.raises(Unavailable, match="no longer stored"):
        files_driver.with_input(name)
    assert files_driver.redis.keys(keys.JOB + "*") == []


def test_an_upload_keeps_an_input_whose_last_job_is_deleted_meanwhile(files_driver: FilesDriver) -> None:
    name = files_driver.upload()
    job_id = files_driver.with_input(name)
    files_driver.pass_time()
    files_driver.sweep()
    assert files_driver.upload() == name  # a client sends it again …
    files_driver.store.cancel(job_id)
    files_driver.store.purge(job_id)  # … and before the new job is submitted, the only other job is deleted
    assert files_driver.sweep() == []
    files_driver.with_input(name)
    assert files_driver.files("inputs/") == [name]


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
