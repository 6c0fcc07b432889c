"""schemathesis with all its checks, in a short form of ``python -m bench.fuzz``."""

from __future__ import annotations

import pytest

from bench.fuzz import run
from tests.support.fuzzed_app import fuzzed_app


@pytest.mark.parametrize("with_keys", [True, False], ids=["keys", "open"])
def test_schemathesis_finds_nothing(with_keys: bool) -> None:
    with fuzzed_app(with_keys=with_keys) as (app, errors):
        cases, report = run(app, seed=1, max_examples=1, phases="examples,fuzzing")
    assert not report, report
    assert cases > 100
    assert errors.take() == []
