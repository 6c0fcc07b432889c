"""Deleting jobs by command and by client, and whose jobs a key may delete."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import framemill
from framemill.cli import main
from framemill.errors import ApiError
from jobs.objects.local import LocalStore
from jobs.store import keys
from tests.support.harness import Stack, running, wait_for
from tests.support.pictures import PNG

TINY = {"model": "tiny-image", "steps": 1}


@pytest.fixture(scope="module")
def server_alone(models_file: Path) -> Iterator[Stack]:
    """A server without GPU workers: jobs wait; files are looked after."""
    with TemporaryDirectory(prefix="fm-") as folder, running(Path(folder), models_file, "io") as stack:
        yield stack


@pytest.fixture(scope="module")
def clients(server_alone: Stack) -> Iterator[dict[str, framemill.Client]]:
    """By service, each with a key of its own; files of alice's jobs are kept for hours."""
    url = server_alone.url("")
    with framemill.Client(url) as nobody:
        found = {"ops": framemill.Client(url, nobody.create_key("ops", role="admin").secret)}
    for service, options in (("alice", {"retention": "hours"}), ("bob", {})):
        found[service] = framemill.Client(url, found["ops"].create_key(service, **options).secret)  # type: ignore[arg-type]
    yield found
    for client in found.values():
        client.close()


def refused(call: Callable[[], object]) -> tuple[int | None, str]:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value.status, caught.value.code


def test_the_key_gives_the_class(clients: dict[str, framemill.Client]) -> None:
    given = [clients[name].submit(**TINY) for name in ("alice", "bob")]
    given.append(clients["alice"].submit(**TINY, retention="keep"))
    assert [task.raw["retention"] for task in given] == ["hours", "days", "keep"]
    assert [clients["ops"].get(task.id).raw["retention"] for task in given] == ["hours", "days", "keep"]
    listed = clients["ops"].keys()
    assert {key.service: key.retention for key in listed} == {"ops": "", "alice": "hours", "bob": ""}
    for call in (
        lambda: clients["bob"].submit(**TINY, retention="for ever"),
        lambda: clients["ops"].create_key("eve", retention="for ever"),
    ):
        with pytest.raises(ApiError) as caught:
            call()
        (problem,) = caught.value.fields
        assert (caught.value.status, problem["field"]) == (422, "retention")
        assert "keep, days, hours" in str(problem["rule"])


def test_a_key_deletes_its_own_jobs_only(server_alone: Stack, clients: dict[str, framemill.Client]) -> None:
    alice, bob, ops = clients["alice"], clients["bob"], clients["ops"]
    job = alice.submit(**TINY).id
    assert refused(lambda: bob.delete(job)) == (404, "job_not_found")
    assert alice.get(job).state == "queued"
    gone = alice.delete(job)
    assert (gone.id, gone.deleted, gone.changed) == (job, True, True)
    for client in (alice, bob, ops):
        assert refused(lambda client=client: client.get(job)) == (404, "job_not_found")  # type: ignore[misc]
        assert refused(lambda client=client: client.retry(job)) == (404, "job_not_found")  # type: ignore[misc]
    assert not alice.delete(job).changed
    assert not ops.delete(job).changed
    assert refused(lambda: bob.delete(job)) == (404, "job_not_found")
    assert refused(lambda: alice.submit(**TINY, id=job)) == (409, "duplicate_job")
    assert job not in {one.id for one in ops.list(limit=500).jobs}
    assert ops.delete(alice.submit(**TINY).id).changed


def test_an_input_goes_with_the_last_job_that_needs_it(
    server_alone: Stack, clients: dict[str, framemill.Client]
) -> None:
    objects = LocalStore(server_alone.settings.paths.objects_dir)
    image = {"kind": "img2img", "strength": 1, "image": PNG}
    first, second = (clients[name].submit(**TINY, **image).id for name in ("alice", "bob"))  # type: ignore[arg-type]
    (key,) = [found.key for found in objects.list("inputs/")]
    clients["alice"].delete(first)
    assert clients["bob"].cancel(second).cancelled
    again = clients["bob"].retry(second).id
    clients["bob"].delete(second)
    redis = server_alone.store.client
    redis.zadd(keys.DUE, {key: 1}, xx=True)  # as if it had been sent long ago
    wait_for(lambda: redis.zscore(keys.DUE, key) is None, "a look at it")
    assert objects.stat(key)
    clients["bob"].delete(again)
    wait_for(lambda: not list(objects.list("inputs/")), "the input to go")


def test_the_command(
    server_alone: Stack, clients: dict[str, framemill.Client], capsys: pytest.CaptureFixture[str]
) -> None:
    secret = clients["ops"].create_key("carol").secret or ""
    with framemill.Client(server_alone.url(""), secret) as carol:
        ids = [carol.submit(**TINY).id for _ in range(2)]
    words = ["--url", server_alone.url(""), "--api-key", secret]
    assert main([*words, "delete", *ids]) == 0
    assert capsys.readouterr().out.splitlines() == [f"job {job_id} was deleted" for job_id in ids]
    assert main([*words, "--json", "delete", ids[0]]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    assert main([*words, "delete", "never-was"]) == 3
    assert "there is no job" in capsys.readouterr().err
    assert main([*words, "submit", "--model", "tiny-image", "--retention", "keep"]) == 0
    job_id = capsys.readouterr().out.strip()
    assert clients["ops"].get(job_id).raw["retention"] == "keep"


def test_the_async_client(server_alone: Stack, clients: dict[str, framemill.Client]) -> None:
    secret = clients["ops"].create_key("dave").secret

    async def use() -> list[bool]:
        async with framemill.AsyncClient(server_alone.url(""), secret) as client:
            job_id = (await client.submit(**TINY)).id  # type: ignore[arg-type]
            return [(await client.delete(job_id)).changed for _ in range(2)]

    assert asyncio.run(use()) == [True, False]
