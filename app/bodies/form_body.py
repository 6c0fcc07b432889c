"""Reads the forms of requests: url-encoded and multipart. The number of fields and the size of texts are bounded."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from app.bodies.body_stream import BodyStream
from app.bodies.charsets import codec_of
from jobs.errors import InvalidRequest, MalformedBody, Problem, TooLarge
from jobs.process.turns import take_turns
from jobs.strict_json import LONG_BYTES, PIECE_BYTES, Limits, is_base64, is_picture, is_text

URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
#: Most fields and files of a form.
MAX_FIELDS = 200
#: Longest url-encoded form: it has to be complete before it can be decoded.
MAX_URLENCODED_BYTES = 32 * 1024 * 1024
#: Most bytes of a multipart form that are held back, such as the headers of a part.
MAX_BUFFER_BYTES = 4 * PIECE_BYTES
#: The beginning of a file in base64: of any data URL, or of a PNG, JPEG, WebP or GIF. Colon, semicolon, comma and slash
#: may be escaped.
_FILE = re.compile(
    rb"data(?::|%3A)[^,&]{0,200}?base64(?:,|%2C)|iVBORw0KGgo|(?:/|%2F)9j(?:/|%2F)|UklGR|R0lGOD", re.IGNORECASE
)


def is_form(request: Request) -> bool:
    """Return whether the body of a request is a form, as its header says."""
    return request.mimetype in (URLENCODED, MULTIPART)


def read_form(
    request: Request, stream: BodyStream, limits: Limits, repeated: Collection[str] = ()
) -> dict[str, Any]:  # fmt: skip
    """Return the fields of a form: texts, the contents of files as bytes, and None for a file that was not chosen.

    Of equal names, the first field counts, but for names that may be repeated. A blank text counts as left out.

    Args:
        request: its headers tell the kind of form.
        stream: its body.
        limits: how large the form may be.
        repeated: names of which all fields count: their values are lists.

    Raises:
        TooLarge: it exceeds a limit in bytes.
        MalformedBody: it is no form, or has too many fields.
        InvalidRequest: a value is no text; names its field.
    """
    read = _multipart if request.mimetype == MULTIPART else _urlencoded
    fields: dict[str, Any] = {}
    text_bytes = 0
    for name, value in read(request, stream, limits):
        if name is None:
            raise MalformedBody(Problem("body", "must be a form whose parts have names"))
        text_bytes += len(name)
        if isinstance(value, str):
            text_bytes += 0 if len(value) > LONG_BYTES and is_picture(value) else len(value)
            _check_text(name, value)
        if text_bytes > limits.text_bytes:
            raise _too_much_text(limits)
        if isinstance(value, str) and not value.strip():
            continue
        if name in repeated:
            if value is not None:
                fields.setdefault(name, []).append(value)
        # A file takes precedence over a text.
        elif name not in fields or (isinstance(value, bytes) and isinstance(fields[name], str)):
            fields[name] = value
    return fields


def _too_much_text(limits: Limits) -> TooLarge:
    return TooLarge(Problem("body", f"must not have more than {limits.text_bytes} bytes beside pictures and files"))


def _check_text(name: str, value: str) -> None:
    if not is_text(name):
        raise MalformedBody(Problem("body", "must not have names of fields with NUL"))
    if not is_text(value):
        raise InvalidRequest(Problem(name[:80], "must not contain NUL or lone surrogates"))


def _multipart(request: Request, stream: BodyStream, limits: Limits) -> Iterator[tuple[str, str | bytes | None]]:
    """Yield the fields and files. werkzeug's own loop has no bound for the headers of a part."""
    _, options = parse_options_header(request.headers.get("Content-Type"))
    try:
        decoder = MultipartDecoder(options.get("boundary", "").encode("ascii"), MAX_BUFFER_BYTES, max_parts=MAX_FIELDS)
        part: Field | File | None = None
        content, is_bounded = io.BytesIO(), False
        for event in _events(decoder, stream):
            if isinstance(event, Field | File):
                part, content, is_bounded = event, io.BytesIO(), False
            elif isinstance(event, Data) and part is not None:
                is_bounded |= isinstance(part, Field) and not is_base64(event.data, is_start=not content.tell())
                content.write(event.data)
                if is_bounded and content.tell() > limits.text_bytes:
                    raise _too_much_text(limits)
                if not event.more_data and isinstance(part, Field):
                    yield part.name, _text(part.name, content.getbuffer(), _codec_of_part(part))
                elif not event.more_data:  # getvalue() does not copy
                    yield part.name, content.getvalue() if isinstance(part, File) and part.filename else None
    except RequestEntityTooLarge:
        rule = f"must not have more than {MAX_FIELDS} fields, or fields with long headers"
        raise MalformedBody(Problem("body", rule)) from None
    except ValueError:
        raise MalformedBody(Problem("body", "must be a form with the boundary that its header names")) from None


def _codec_of_part(part: Field) -> str:
    """Return the codec of the charset that a part declares. Raises: MalformedBody."""
    _, options = parse_options_header(part.headers.get("Content-Type"))
    return codec_of(options.get("charset"))


def _text(name: str | None, data: bytes | memoryview, codec: str) -> str:
    """Return a value as text. Raises: InvalidRequest."""
    try:
        return str(data, codec)
    except UnicodeError:
        raise InvalidRequest(Problem((name or "body")[:80], f"must be text in {codec.upper()}")) from None


def _events(decoder: MultipartDecoder, stream: BodyStream) -> Iterator[Event]:
    while True:
        data = stream.read()
        decoder.receive_data(data or None)
        while not isinstance(event := decoder.next_event(), NeedData):
            if isinstance(event, Epilogue):
                return
            yield event


def _urlencoded(request: Request, stream: BodyStream, limits: Limits) -> Iterator[tuple[str, str | bytes | None]]:
    codec = codec_of(request.mimetype_params.get("charset"))
    body = bytearray()
    number = 1
    while data := stream.read():
        number += data.count(b"&")
        if number > MAX_FIELDS:
            raise MalformedBody(Problem("body", f"must not have more than {MAX_FIELDS} fields"))
        body += data
        if len(body) > MAX_URLENCODED_BYTES:
            raise TooLarge(Problem("body", f"must not exceed {MAX_URLENCODED_BYTES} bytes as a url-encoded form"))
    start = 0
    while start < len(body):
        end = body.find(b"&", start)
        end = len(body) if end < 0 else end
        equals = body.find(b"=", start, end)
        middle = end if equals < 0 else equals
        if end > start:
            name = _text(None, _unquoted(body, start, middle), codec)
            # Clients that do not escape a file in base64 send its plus signs, which mean spaces elsewhere.
            is_file = _FILE.match(body, middle + 1, end) is not None
            yield name, _text(name, _unquoted(body, middle + 1, end, plus=b"+" if is_file else b" "), codec)
        start = end + 1


def _unquoted(body: bytearray, start: int, end: int, *, plus: bytes = b" ") -> bytes:
    """Return a name or value of a url-encoded form without escapes. Other requests are served meanwhile."""
    parts = []
    while start < end:
        stop = min(end, start + PIECE_BYTES)
        if stop < end:  # an escape is not divided
            percent = body.rfind(b"%", stop - 2, stop)
            stop = percent if percent > start else stop
        parts.append(unquote_to_bytes(bytes(body[start:stop]).replace(b"+", plus)))
        take_turns()
        start = stop
    return b"".join(parts)
