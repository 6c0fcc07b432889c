"""A POST whose answer is the result, minutes later: it waits in a thread of its own, on a connection of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from jobs.errors import BackendFailed
from workers.remote import HandBack, RemoteFile
from workers.remote.answers import ENDINGS, json_of, media_type_of, reason

#: Most that is read of a result, bytes.
MAX_RESULT_BYTES = 512 * 1024 * 1024
#: A host that vanishes without a word is noticed after half a minute.
KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]
#: Refusals that say something of us or of the moment, not of the job.
_NOT_THE_JOBS = (401, 403, 407, 408, 429)


@dataclass(frozen=True)
class Answer:
    """What a POST was answered with."""

    status: int
    content: bytes


class Posting:
    """One POST, under way from the start.

    Args:
        client: for this call alone; closed at its end.
        path: what is called.
        body: sent as JSON.
        name: the back end's, for texts.
    """

    def __init__(self, client: httpx2.Client, path: str, body: Mapping[str, Any], name: str) -> None:
        self._client, self._path, self._body, self._name = client, path, body, name
        self._over = threading.Event()
        self._answer: Answer | None = None
        self._error: HandBack | None = None
        self._socket: socket.socket | None = None
        threading.Thread(target=self._run, name="posting", daemon=True).start()

    def answer(self) -> Answer | None:
        """None while it is under way. Raises: HandBack: there is none, and will be none."""
        if not self._over.is_set():
            return None
        if self._error is not None:
            raise self._error
        return self._answer

    def wait(self, seconds: float) -> bool:
        """Whether it is over, at the latest after so long."""
        return self._over.wait(seconds)

    def abandon(self) -> None:
        """Break the connection off, unless it is over."""
        if self._socket is not None and not self._over.is_set():
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            with self._client:
                self._answer = self._call()
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as exc:
            self._error = HandBack(f"{self._name} does not answer: {type(exc).__name__}", counted=False)
        except (httpx2.HTTPError, OSError) as exc:
            why = f"{self._name} broke off in the middle of the job: {type(exc).__name__}"
            self._error = HandBack(why, counted=True)
        except HandBack as exc:
            self._error = exc
        finally:
            self._over.set()

    def _call(self) -> Answer:
        content = bytearray()
        extensions = {"trace": self._note_socket}
        with self._client.stream("POST", self._path, json=self._body, extensions=extensions) as response:
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_RESULT_BYTES:
                    raise HandBack(f"{self._name} sent an answer that is too long", counted=True)
        return Answer(response.status_code, bytes(content))

    def _note_socket(self, event: str, info: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")


def picture(content: bytes, folder: Path, index: int, name: str) -> RemoteFile:
    """A result as a file in ``folder``. Raises: HandBack: it is no picture."""
    media_type = media_type_of(content[:12])
    if not media_type.startswith("image/"):
        raise HandBack(f"{name} sent something that is no picture as its result", counted=True)
    path = folder / f"{index}.{ENDINGS[media_type]}"
    path.write_bytes(content)
    return RemoteFile(path, media_type)


def check(answer: Answer, name: str) -> None:
    """Whether it is a result.

    Raises:
        BackendFailed: the job was refused, with the back end's own text.
        HandBack: it can be run elsewhere.
    """
    if answer.status == 200:
        return
    said = reason(json_of(answer.content))
    if 400 <= answer.status < 500 and said and answer.status not in _NOT_THE_JOBS:
        raise BackendFailed(f"the back end refuses the job ({answer.status}): {said}")
    hint = ": check credentials_env" if answer.status in (401, 403) else f": {said}" if said else ""
    raise HandBack(f"{name} answers {answer.status} to the job{hint}", counted=True)
