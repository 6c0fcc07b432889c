"""A server without keys serves this machine only."""

from __future__ import annotations

import pytest

from tests.support.harness import Stack


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "framemill.example"])
def test_an_open_address_is_refused_while_there_are_no_keys(stack: Stack, host: str) -> None:
    process = stack.run("open", "gunicorn", "app:create_app()", HOST=host, PORT="1")
    assert process.wait(150) != 0
    assert "loopback" in stack.log("open")
    del stack.processes["open"]
