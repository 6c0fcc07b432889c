"""The line that a message about the models file names."""

from __future__ import annotations

import pytest

from jobs.process.toml_lines import line_of

TEXT = """\
# first

[a]
kinds = [
    "one",   # limits = { steps = 3 }
    "two",
]
limits = { steps = [1, 2], width = [3, 4] }
text = '''
[b]
kinds = 1
'''

["b c".deep]
"odd key" = 1
[b]
a.b.c = 1

[a.arguments]
x = 1
  [a.arguments.img2img]
  y = 2
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("a",), 3),
        (("a", "kinds"), 4),
        (("a", "limits"), 8),
        (("a", "limits", "width"), 8),
        (("a", "text"), 9),
        (("b c",), 14),
        (("b c", "deep", "odd key"), 15),
        (("b",), 16),
        (("b", "a", "b", "c"), 17),
        (("a", "arguments", "x"), 20),
        (("a", "arguments", "img2img", "y"), 22),
        (("a", "absent"), 3),
        (("a", "limits", "absent"), 8),
        (("absent", "kinds"), 1),
    ],
)
def test_the_statement_that_makes_a_key(path: tuple[str, ...], line: int) -> None:
    assert line_of(TEXT, path) == line
    assert line_of(TEXT.replace("\n", "\r\n"), path) == line
