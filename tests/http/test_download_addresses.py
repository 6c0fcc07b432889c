"""Downloads of clients' links never reach the private network."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from jobs.errors import InvalidRequest
from tests.support.web import get, refused, site


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with site() as server:
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost.", "LOCALHOST", "2130706433", "0x7f.1", "0x7f000001", "017700000001", "127.1", "0",
     "0.0.0.0", "127.0.0.1", "127.0.0.1.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
     "[64:ff9b::7f00:1]", "[0:0:0:0:0:0:0:1]", "[fe80::1%25lo]", "１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1",
     "169.254.169.254"],
)  # fmt: skip
def test_no_spelling_of_a_local_address_is_reached(host: str) -> None:
    with site() as server:
        refused(f"http://{host}:{server.server_port}/ok", allow_hosts=frozenset())
        assert server.asked == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "url",
    ["http://user@127.0.0.1:{}/ok", "http://user:secret@127.0.0.1:{}/ok", "http://example.com@127.0.0.1:{}/ok",
     "http://127.0.0.1:{}\\@example.com/ok", "http://127.0.0.1:{}/o\tk", " http://127.0.0.1:{}/ok",
     "http://127.0.0.1:{}/ok\r\nX-Header: 1", "http://127.0.0.1:{}:80/ok", "http://127.0.0.1:0/ok", "http://:{}/ok",
     "http:///ok", "http:127.0.0.1:{}/ok", "http://127.0.0.1:99999/ok", "http://[::1/ok", "http://[127.0.0.1]:{}/ok",
     "http://a%2eb:{}/ok", "http://127.0.0.1:{}/" + "x" * 9000, "file:///etc/passwd", "file://127.0.0.1/etc/passwd",
     "gopher://127.0.0.1:{}/_x", "ftp://127.0.0.1:{}/ok", "//127.0.0.1:{}/ok", "javascript:alert(1)", "http://", ""],
)  # fmt: skip
def test_refuses_other_schemes_and_doubtful_links(url: str) -> None:
    with site() as server:
        assert refused(url.format(server.server_port)).startswith("could not be downloaded: a link must")
        assert server.asked == []  # type: ignore[attr-defined]


def test_a_password_in_the_link_is_not_repeated() -> None:
    with pytest.raises(InvalidRequest) as caught:
        get("http://user:secret@example.com/")
    assert "secret" not in str(caught.value.problems)


@pytest.mark.parametrize(
    "where",
    ["http://localhost:{}/ok", "http://[::1]:{}/ok", "http://169.254.169.254/latest", "//localhost:{}/ok",
     "file:///etc/passwd", "http://user@127.0.0.1:{}/ok"],
)  # fmt: skip
def test_a_redirect_is_checked_like_the_link(where: str) -> None:
    with site() as server:
        refused(f"http://127.0.0.1:{server.server_port}/to/{where.format(server.server_port)}")
        assert len(server.asked) == 1  # type: ignore[attr-defined]


def test_a_redirect_without_location_ends(web: str) -> None:
    refused(f"{web}/nowhere")


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    with site() as server:
        url = f"http://pictures.example:{server.server_port}/ok"
        refused(url, resolve=lambda host, port: ["93.184.216.34", "127.0.0.1"])
        refused(url, resolve=lambda host, port: [])
        assert server.asked == []  # type: ignore[attr-defined]


def test_a_private_name_is_refused_in_the_words_of_an_unknown_one() -> None:
    assert refused("http://nothing.invalid/") == refused("http://localhost/")


def test_connects_to_the_checked_address_though_dns_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: a public address at the check, loopback in every later lookup."""
    answers = [["93.184.216.34", "8.8.8.8"], ["127.0.0.1"], ["127.0.0.1"]]
    asked: list[str] = []
    connected: list[object] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    def connect(address: object, timeout: float, **options: object) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kw: pytest.fail("the name was asked for again"))
    refused("http://rebinding.example:8080/", resolve=resolve)
    assert asked == ["rebinding.example"]
    assert connected == [("93.184.216.34", 8080), ("8.8.8.8", 8080)]
