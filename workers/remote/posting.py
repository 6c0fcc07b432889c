"""A POST whose response is the result, minutes later. It runs in its own thread, on its own connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx2

from jobs.errors import BackendFailed
from workers.remote.base import HandBack
from workers.remote.responses import error_text, json_of

#: Largest result that is read, bytes.
MAX_RESULT_BYTES = 512 * 1024 * 1024
#: TCP keep-alive: a host that disappears is noticed after half a minute.
KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]
#: Client errors that concern our credentials or the moment, not the job.
_NOT_ABOUT_THE_JOB = (401, 403, 407, 408, 429)


@dataclass(frozen=True)
class PostResponse:
    """The response to a POST."""

    status: int
    content: bytes


class PendingPost:
    """One POST, sent at once.

    Args:
        client: used for this call alone and closed at its end.
        path: path to call.
        content: the body and headers as httpx2 takes them: ``json`` or ``files``, ``headers``.
        name: name of the back end, for error texts.
    """

    def __init__(self, client: httpx2.Client, path: str, content: Mapping[str, Any], name: str) -> None:
        self._client, self._path, self._content, self._name = client, path, content, name
        self._over = threading.Event()
        self._response: PostResponse | None = None
        self._error: HandBack | None = None
        self._socket: socket.socket | None = None
        threading.Thread(target=self._run, name="posting", daemon=True).start()

    def response(self) -> PostResponse | None:
        """Return the response; None while the call is under way. Raises: HandBack: there is and will be none."""
        if not self._over.is_set():
            return None
        if self._error is not None:
            raise self._error
        return self._response

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the call, at most ``seconds``; return whether it has ended."""
        return self._over.wait(seconds)

    def abort(self) -> None:
        """Break the connection, unless the call has ended."""
        if self._socket is not None and not self._over.is_set():
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            with self._client:
                self._response = self._call()
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as exc:
            self._error = HandBack(f"{self._name} does not answer: {type(exc).__name__}", counted=False)
        except (httpx2.HTTPError, OSError) as exc:
            why = f"{self._name} broke off in the middle of the job: {type(exc).__name__}"
            self._error = HandBack(why, counted=True)
        except HandBack as exc:
            self._error = exc
        finally:
            self._over.set()

    def _call(self) -> PostResponse:
        content = bytearray()
        extensions = {"trace": self._note_socket}
        with self._client.stream("POST", self._path, **self._content, extensions=extensions) as response:
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_RESULT_BYTES:
                    raise HandBack(f"{self._name} sent a response that is too long", counted=True)
        return PostResponse(response.status_code, bytes(content))

    def _note_socket(self, event: str, info: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")


def check(response: PostResponse, name: str) -> None:
    """Raise unless the response is a result.

    Raises:
        BackendFailed: the job was refused; the text is the back end's.
        HandBack: the job can run elsewhere.
    """
    if response.status == 200:
        return
    text = error_text(json_of(response.content))
    if 400 <= response.status < 500 and text and response.status not in _NOT_ABOUT_THE_JOB:
        raise BackendFailed(f"the back end refuses the job ({response.status}): {text}")
    hint = ": check credentials_env" if response.status in (401, 403) else f": {text}" if text else ""
    raise HandBack(f"{name} answers {response.status} to the job{hint}", counted=True)
