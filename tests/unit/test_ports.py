"""Ports in use are reported, with their owner and the variable to change."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from stack import ports
from stack.ports import Required


@pytest.fixture
def taken() -> Iterator[int]:
    """Yield a port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_free_ports_are_no_problem() -> None:
    assert ports.problems([Required("PORT", "127.0.0.1", _free(), "the web server")]) == []


def test_a_taken_port_is_named_with_owner_and_variable(taken: int) -> None:
    (problem,) = ports.problems([Required("PORT", "127.0.0.1", taken, "the web server")])
    assert f"the web server cannot use port {taken}" in problem
    assert f"(pid {os.getpid()})" in problem
    assert "Set PORT" in problem


def test_every_taken_port_is_named(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        second = other.getsockname()[1]
        found = ports.problems(
            [
                Required("PORT", "127.0.0.1", taken, "the web server"),
                Required("FLOWER_PORT", "127.0.0.1", second, "Flower"),
            ]
        )
    assert ["Set PORT" in found[0], "Set FLOWER_PORT" in found[1], len(found)] == [True, True, 2]


def test_the_same_port_twice() -> None:
    port = _free()
    (problem,) = ports.problems(
        [Required("PORT", "127.0.0.1", port, "the web server"), Required("FLOWER_PORT", "127.0.0.1", port, "Flower")]
    )
    assert "FLOWER_PORT and PORT are both" in problem


@pytest.mark.parametrize("port", [0, 65536])
def test_numbers_that_are_no_ports(port: int) -> None:
    (problem,) = ports.problems([Required("PORT", "127.0.0.1", port, "the web server")])
    assert "1 to 65535" in problem


def test_a_listener_on_all_addresses_takes_the_port_as_well() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert ports.refusal("127.0.0.1", server.getsockname()[1]) is not None


def test_an_address_of_another_machine() -> None:
    (problem,) = ports.problems([Required("PORT", "192.0.2.1", _free(), "the web server")])
    assert "192.0.2.1" in problem


def test_next_free_passes_over_taken_and_given_ports(taken: int) -> None:
    assert ports.next_free("127.0.0.1", taken) > taken
    port = _free()
    assert ports.next_free("127.0.0.1", port, avoid=[port]) > port


def test_closed_connections_do_not_take_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()  # the side that closes first keeps the port in TIME_WAIT
    assert ports.refusal("127.0.0.1", port) is None


def test_owner_of_a_free_port_is_none() -> None:
    assert ports.owner(_free()) is None
