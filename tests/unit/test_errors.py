"""Messages about refused fields."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.errors import InvalidRequest, Problem


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (Problem("steps", "must be between 1 and 100", 500), "`steps` must be between 1 and 100 (got 500)"),
        (
            Problem("output_format", "must be one of png, webp", "tiff"),
            '`output_format` must be one of png, webp (got "tiff")',
        ),
        (Problem("moderate", "is not supported", True), "`moderate` is not supported (got true)"),
        (
            Problem("image", "is required: img2img needs an input image"),
            "`image` is required: img2img needs an input image",
        ),
        (Problem("id", "must not be empty", ""), "`id` must not be empty"),
        (Problem("mix", "must be a list", {"a": 1}), "`mix` must be a list"),
        (Problem("x", "Not a valid integer", "y"), '`x`: Not a valid integer (got "y")'),
    ],
)
def test_a_problem_is_a_sentence_with_field_rule_and_value(problem: Problem, message: str) -> None:
    assert problem.message == message


def test_a_long_text_is_not_repeated_in_the_message_and_cut_in_the_fields() -> None:
    problem = Problem("prompt", "must have between 0 and 200 characters", "private " * 100)
    assert InvalidRequest(problem).message == "`prompt` must have between 0 and 200 characters"
    shown: Any = problem.to_dict()["value"]
    assert len(shown) == 80


def test_a_request_with_several_problems_names_all() -> None:
    error = InvalidRequest(Problem("steps", "must be between 1 and 100", 0), Problem("image", "is required"))
    assert error.message == "`steps` must be between 1 and 100 (got 0); `image` is required"
