"""The budget of memory and threads for decoding, and base64 in steps."""

from __future__ import annotations

import base64
import binascii
import random
import threading
from collections.abc import Callable, Iterator

import pytest

from app.media import decoding
from app.media.decoding import DecodingBudget
from jobs.errors import DecodingBusy

PATIENCE_S = 30.0


class Crowd:
    """Pieces of work in threads; each ends when the test says so."""

    def __init__(self, budget: DecodingBudget) -> None:
        self._budget = budget
        self._begun, self._ends, self._threads = {}, {}, {}  # type: ignore[var-annotated]

    def begin(self, name: str, need_bytes: int) -> None:
        self._begun[name], self._ends[name] = threading.Event(), threading.Event()

        def work() -> None:
            with self._budget.reserved(need_bytes):
                self._begun[name].set()
                assert self._ends[name].wait(PATIENCE_S)

        waiting = len(self._budget._waiting)
        self._threads[name] = threading.Thread(target=work)
        self._threads[name].start()
        while not self._begun[name].is_set() and len(self._budget._waiting) == waiting:
            pass

    def runs(self, name: str) -> bool:
        return bool(self._begun[name].is_set())

    def end(self, name: str) -> None:
        self._ends[name].set()
        self._threads[name].join(PATIENCE_S)

    def close(self) -> None:
        for name in self._threads:
            self.end(name)


@pytest.fixture
def crowd() -> Iterator[Callable[[DecodingBudget], Crowd]]:
    crowds: list[Crowd] = []

    def make(budget: DecodingBudget) -> Crowd:
        crowds.append(Crowd(budget))
        return crowds[-1]

    yield make
    for one in crowds:
        one.close()


def test_work_waits_for_memory_and_nobody_overtakes(crowd: Callable[[DecodingBudget], Crowd]) -> None:
    here = crowd(DecodingBudget(100, threads=8, wait_s=PATIENCE_S))
    here.begin("a", 60)
    here.begin("b", 60)
    here.begin("c", 10)  # there is budget for it, but it came later
    assert [here.runs(name) for name in "abc"] == [True, False, False]
    here.end("a")
    for name in "bc":
        assert here._begun[name].wait(PATIENCE_S)


def test_threads_are_limited_too(crowd: Callable[[DecodingBudget], Crowd]) -> None:
    here = crowd(DecodingBudget(100, threads=2, wait_s=PATIENCE_S))
    for name in "abc":
        here.begin(name, 1)
    assert [here.runs(name) for name in "abc"] == [True, True, False]
    here.end("b")
    assert here._begun["c"].wait(PATIENCE_S)


def test_what_needs_more_than_there_is_runs_alone(crowd: Callable[[DecodingBudget], Crowd]) -> None:
    here = crowd(DecodingBudget(100, threads=8, wait_s=PATIENCE_S))
    here.begin("small", 1)
    here.begin("huge", 10**9)
    assert not here.runs("huge")
    here.end("small")
    assert here._begun["huge"].wait(PATIENCE_S)
    here.begin("next", 1)
    assert not here.runs("next")


def test_who_waits_too_long_is_refused_and_blocks_nobody() -> None:
    budget = DecodingBudget(100, threads=1, wait_s=0)
    with budget.reserved(1), pytest.raises(DecodingBusy), budget.reserved(1):
        raise AssertionError
    with pytest.raises(ZeroDivisionError), budget.reserved(100):  # an error returns the whole budget
        raise ZeroDivisionError
    with budget.reserved(100):
        pass


def test_only_so_many_wait(monkeypatch: pytest.MonkeyPatch, crowd: Callable[[DecodingBudget], Crowd]) -> None:
    monkeypatch.setattr(decoding, "MAX_WAITING", 1)
    budget = DecodingBudget(100, threads=1, wait_s=PATIENCE_S)
    here = crowd(budget)
    here.begin("a", 1)
    here.begin("b", 1)
    with pytest.raises(DecodingBusy), budget.reserved(1):
        raise AssertionError


@pytest.mark.parametrize("size", [0, 1, 2, 3, 3 * 4 * 64 * 1024 - 1, 3 * 4 * 64 * 1024, 2_000_003])
def test_base64_in_steps_is_base64(size: int) -> None:
    data = random.Random(size).randbytes(size)
    text = base64.b64encode(data).decode()
    assert decoding.to_base64(data) == text
    assert decoding.from_base64(text) == data


@pytest.mark.parametrize("at", [-4, 3 * 4 * 64 * 1024 - 1, 5])
def test_base64_with_padding_within_is_refused(at: int) -> None:
    text = "A" * 2_000_000
    with pytest.raises(binascii.Error):
        decoding.from_base64(text[:at] + "=" + text[at + 1 :])
    with pytest.raises(ValueError, match="ASCII"):
        decoding.from_base64(text + "äää=")
