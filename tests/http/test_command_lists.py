"""``framemill list`` against the application: its filters, and lists of several pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from framemill.cli import main
from jobs.store import listing
from tests.support.live_server import served
from tests.support.service import Service

#: Runs ``framemill list`` with these words; returns the exit code, standard output and standard error.
List = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(service: Service, capfd: pytest.CaptureFixture[str]) -> Iterator[List]:
    with served(service.app) as url:

        def run(*words: str) -> tuple[int, str, str]:
            capfd.readouterr()
            code = main(["--url", url, "list", *words])
            return code, *capfd.readouterr()

        yield run


@pytest.fixture
def ids(run: List) -> Callable[..., list[str]]:
    def ids(*words: str) -> list[str]:
        code, out, err = run("--json", *words)
        assert code == 0, err
        return [job["id"] for job in json.loads(out)["jobs"]]

    return ids


def test_filters(service: Service, run: List, ids: Callable[..., list[str]]) -> None:
    square, film = service.submit(prompt="a red square"), service.submit(model="tiny-video", prompt="a film")
    service.open()
    service.start()
    assert ids("--state", "running") == [square]
    assert ids("--state", "running,queued") == ids("--state", "queued", "--state", "running") == [film, square]
    assert ids("--model", "tiny-video") == ids("--text", "FILM") == [film]
    assert ids("--since", "1h", "--text", "a") == ids("--since", "2020-01-01T10:00") == [film, square]
    assert ids("--until", "1d") == ids("--until", "2020-01-01") == ids("--key", "nobody") == []
    assert run("--text", "moon")[2] == "no job matches\n"
    assert run("--state", "failed,expired")[2] == "no job is failed or expired\n"


@pytest.mark.parametrize(
    ("words", "rule"), [(("--state", "queued,asleep"), "'asleep' must be one of queued"),
                        (("--since", "yesterday"), "must be an age such as 30m"), (("--limit", "0"), "--limit")]
)  # fmt: skip
def test_wrong_filters_name_their_rule(run: List, words: tuple[str, ...], rule: str) -> None:
    code, _, err = run(*words)
    assert (code, rule in err) == (2, True), err


def test_a_list_is_read_page_by_page_until_it_has_its_jobs(
    service: Service, run: List, ids: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [service.submit(model=model) for model in ("tiny-video", *["tiny-image"] * 4) * 3]
    monkeypatch.setattr(listing, "MAX_EXAMINED", 2)
    assert ids("--model", "tiny-video") == jobs[10::-5]
    _, _, err = run("--model", "tiny-video", "--limit", "2")
    place = err.split()[-1]
    assert err == f"2 jobs; more with --after {place}\n"
    assert ids("--model", "tiny-video", "--after", place) == jobs[:1]
    monkeypatch.setattr("framemill.cli.commands.jobs.lists.MAX_PAGE", 4)
    assert ids("--limit", "9") == jobs[:5:-1]
