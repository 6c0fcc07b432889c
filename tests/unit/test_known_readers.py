"""The worker's event loop is not told again of the sockets that it knows."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from kombu.asynchronous.hub import Hub

from tasks.transport import KnownReaders


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def registered(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sockets of which the kernel is told."""
    told: list[int] = []
    register = hub.poller.register

    def note(fd: int, events: int) -> Any:
        told.append(fd)
        return register(fd, events)

    monkeypatch.setattr(hub.poller, "register", note)
    return told


def next_reader(hub: Hub) -> Any:
    """Return what the loop would call for the one socket that can be read now."""
    ((fd, _),) = hub.poller.poll(1)
    return hub.readers[fd]


def test_a_reader_is_added_again_only_after_it_was_removed(hub: Hub, registered: list[int]) -> None:
    loop, seen = KnownReaders(hub), list[int]()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        for _ in range(3):
            loop.add_reader(ours.fileno(), seen.append, ours.fileno())
        assert registered == [ours.fileno()]
        assert next_reader(hub) == (seen.append, (ours.fileno(),))
        loop.remove_reader(ours.fileno())
        loop.add_reader(ours.fileno(), seen.append, ours.fileno())
        assert registered == [ours.fileno()] * 2
        assert next_reader(hub) == (seen.append, (ours.fileno(),))
        loop.remove(ours.fileno())


def test_another_callback_replaces_the_first_one(hub: Hub) -> None:
    loop, first, second = KnownReaders(hub), list[int](), list[int]()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        loop.add_reader(ours.fileno(), first.append, 1)
        loop.add_reader(ours.fileno(), second.append, 2)
        assert next_reader(hub) == (second.append, (2,))
        loop.remove(ours.fileno())
