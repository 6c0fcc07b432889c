"""The opening handshake of a WebSocket: what a client may ask for, and the upgrade of its connection."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from flask import Response, request
from simple_websocket import ConnectionClosed
from werkzeug.exceptions import BadRequest, HTTPException

from app.protocols.devoid.wire import ReadingServer
from jobs.errors import Unavailable

logger = logging.getLogger(__name__)

#: The only version of the protocol (RFC 6455).
VERSION = "13"
#: Close codes (IANA's registry of WebSocket close codes).
INTERNAL_ERROR, TRY_AGAIN_LATER = 1011, 1013

_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_TOKENS = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
#: An offer of compression with the parameters that zlib supports. Other offers are declined.
_COMPRESSION = re.compile(
    r"permessage-deflate(?:\s*;\s*(?:(?:client|server)_no_context_takeover"
    r"|(?:client|server)_max_window_bits=(?:9|1[0-5])|client_max_window_bits))*"
)
#: Keys of the environment under which servers offer the connection.
_SOCKETS = ("werkzeug.socket", "gunicorn.socket")


class UpgradeRequired(HTTPException):
    """The client speaks another version of the protocol."""

    code = 426
    description = f"Sec-WebSocket-Version must be {VERSION}"

    def get_headers(self, *_: Any) -> list[tuple[str, str]]:
        return [("Sec-WebSocket-Version", VERSION)]


def check() -> None:
    """Check the headers of the current request. Raises: UpgradeRequired, BadRequest: names the header."""
    if request.headers.get("Sec-WebSocket-Version", "").strip() != VERSION:
        raise UpgradeRequired
    if not _KEY.fullmatch(request.headers.get("Sec-WebSocket-Key", "").strip()):
        raise BadRequest("Sec-WebSocket-Key must be 16 bytes in base64")
    protocols = request.headers.get("Sec-WebSocket-Protocol")
    if protocols is not None and not _TOKENS.fullmatch(protocols.strip()):
        raise BadRequest("Sec-WebSocket-Protocol must be names separated by commas")
    if not request.headers.get("Sec-WebSocket-Extensions", "").isascii():
        raise BadRequest("Sec-WebSocket-Extensions must be ASCII")


def serve(session: Callable[[ReadingServer], None], **options: Any) -> Response:
    """Upgrade the connection of the current request, whose headers were checked, and serve it until it is closed.

    Args:
        session: serves the socket; ConnectionClosed and OSError mean that the client has left.
        options: of :class:`ReadingServer`.
    """
    ws = ReadingServer(_checked_environ(), **options)
    code = None
    try:
        session(ws)
    except (ConnectionClosed, OSError):
        pass
    except Unavailable:
        code = TRY_AGAIN_LATER
    except Exception:
        logger.exception("a socket is closed after an error")
        code = INTERNAL_ERROR
    with suppress(ConnectionClosed, OSError):
        ws.close(code)
    return _Upgraded(ws.mode)


def _checked_environ() -> dict[str, Any]:
    """Return what the handshake needs of the request, so that nothing else in it can spoil the handshake."""
    offers = (offer.strip() for offer in request.headers.get("Sec-WebSocket-Extensions", "").split(","))
    return {
        **{name: request.environ[name] for name in _SOCKETS if name in request.environ},
        "HTTP_HOST": "localhost",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_VERSION": VERSION,
        "HTTP_SEC_WEBSOCKET_KEY": request.headers["Sec-WebSocket-Key"].strip(),
        "HTTP_SEC_WEBSOCKET_EXTENSIONS": ", ".join(filter(_COMPRESSION.fullmatch, offers)),
    }


class _Upgraded(Response):
    """Stands for the response of a request whose connection is no longer HTTP."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        if self._mode == "gunicorn":
            raise StopIteration  # how gunicorn is told to write nothing and to close the connection
        return super().__call__(environ, start_response)
