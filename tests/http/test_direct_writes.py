"""Events that the reader of the event log writes to the connections of its listeners, without waking them."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from app.events import direct
from app.extensions import of
from app.protocols.native import streams
from tests.support.harness import wait_for
from tests.support.service import Service

STEPS = 5
LISTENERS = 10


class Connection:
    """A connection whose system takes ``room`` bytes at once; more is taken only while somebody waits."""

    def __init__(self, room: int) -> None:
        self.room, self.written, self.waits = room, b"", 0

    def send_now(self, data: bytes) -> int:
        sent = min(self.room, len(data))
        self.room -= sent
        self.written += data[:sent]
        return sent

    def sendall(self, data: bytes) -> None:
        self.written += data
        self.waits += 1

    @property
    def messages(self) -> list[tuple[str, Any]]:
        """Return name and data of the messages that were written, all of them in complete chunks."""
        text, rest = "", self.written
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            end = int(size, 16)
            assert rest[end : end + 2] == b"\r\n"
            text, rest = text + rest[:end].decode(), rest[end + 2 :]
        lines = [dict(line.split(": ", 1) for line in part.splitlines()) for part in text.split("\n\n") if part]
        return [(fields["event"], json.loads(fields["data"])) for fields in lines if "event" in fields]


class Client(threading.Thread):
    """Requests a stream as gunicorn does, and writes what the app yields to its connection."""

    def __init__(self, service: Service, path: str, room: int) -> None:
        super().__init__(daemon=True)
        self.connection, self.yielded = Connection(room), 0
        self._service, self._path = service, path
        wait_for(lambda: _has_read_all(service), "the reader to know the events so far")
        self.start()
        wait_for(lambda: self.yielded, "the stream to begin")

    def run(self) -> None:
        environ = {"gunicorn.socket": self.connection, "SERVER_PROTOCOL": "HTTP/1.1"}
        with self._service.app.test_client().get(self._path, environ_overrides=environ, buffered=False) as response:
            for part in response.iter_encoded():
                self.connection.written += direct.chunk_of(part.decode())
                self.yielded += 1


def _has_read_all(service: Service) -> bool:
    """Return whether the reader of events will tell a new listener nothing that its first state contains already."""
    hub = of(service.app).hub
    return hub._last_id in (None, hub._log.newest_id())


def _is_parked(service: Service, job_id: str, count: int) -> bool:
    """Return whether all listeners wait for events, with nothing left to read."""
    listeners = of(service.app).hub._by_job.get(job_id, set())
    return len(listeners) == count and all(one._is_waiting and one._queue.empty() for one in listeners)


def _run_all_steps(service: Service, job_id: str, count: int) -> None:
    wait_for(lambda: _is_parked(service, job_id, count), "the listeners to wait")
    service.start()
    for step in range(1, STEPS + 1):
        service.step(step, STEPS)
    service.finish()


@pytest.mark.parametrize("room", [10**9, 0, 100, 1000])
def test_a_client_gets_every_event_once_and_in_order(service: Service, room: int) -> None:
    job_id = service.submit(steps=STEPS)
    client = Client(service, f"/v1/jobs/{job_id}/events", room)
    _run_all_steps(service, job_id, 1)
    client.join(30)
    messages = client.connection.messages
    assert [data["progress"]["step"] for name, data in messages if name == "progress"][:STEPS] == [1, 2, 3, 4, 5]
    assert [name for name, _ in messages][-1] == "end"
    ids = [data["state"] for _, data in messages]
    assert ids == sorted(ids, key=["queued", "running", "delivering", "succeeded"].index)


def test_a_request_is_not_woken_for_events_that_its_client_was_sent(service: Service) -> None:
    job_id = service.submit(steps=STEPS)
    client = Client(service, f"/v1/jobs/{job_id}/events", 10**9)
    _run_all_steps(service, job_id, 1)
    client.join(30)
    assert (client.yielded, client.connection.waits) == (2, 0)  # the first state and the end


def test_a_chunk_that_was_begun_is_completed_first(service: Service) -> None:
    job_id = service.submit(steps=STEPS)
    client = Client(service, f"/v1/jobs/{job_id}/events", 500)
    _run_all_steps(service, job_id, 1)
    client.join(30)
    assert client.connection.waits == 1
    assert len(client.connection.messages) > STEPS


def test_an_event_is_rendered_once_for_all_listeners(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []
    render = streams._data

    def counting(event: Any, *reader: Any) -> dict[str, Any]:
        rendered.append(event.event_id)
        return render(event, *reader)

    monkeypatch.setattr(streams, "_data", counting)
    job_id = service.submit(steps=STEPS)
    path = f"/v1/jobs/{job_id}/events"
    clients = [Client(service, path, room) for room in [10**9] * (LISTENERS // 2) + [0] * (LISTENERS // 2)]
    _run_all_steps(service, job_id, LISTENERS)
    for client in clients:
        client.join(30)
        assert len(client.connection.messages) > STEPS
    assert len(rendered) == len(set(rendered)) >= STEPS


def test_http_1_0_clients_get_no_chunks(service: Service) -> None:
    with service.app.test_request_context(environ_overrides={"gunicorn.socket": Connection(1)}):
        assert direct.writer() is not None
    for environ in ({"gunicorn.socket": Connection(1), "SERVER_PROTOCOL": "HTTP/1.0"}, {"gunicorn.socket": object()}):
        with service.app.test_request_context(environ_overrides=environ):
            assert direct.writer() is None
