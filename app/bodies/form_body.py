"""Reads the forms of requests: url-encoded and multipart. The number of fields and the size of texts are bounded."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from app.bodies.json_body import BodyStream, Digest
from jobs.errors import InvalidRequest, MalformedBody, Problem, TooLarge
from jobs.strict_json import LONG_BYTES, PIECE_BYTES, Limits, is_base64, is_picture, is_text

URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
#: Most fields and files of a form.
MAX_FIELDS = 200
#: Longest url-encoded form: it has to be complete before it can be decoded.
MAX_URLENCODED_BYTES = 32 * 1024 * 1024
#: Most bytes of a multipart form that are held back, such as the headers of a part.
MAX_BUFFER_BYTES = 4 * PIECE_BYTES


def is_form(request: Request) -> bool:
    """Return whether the body of a request is a form."""
    return request.mimetype in (URLENCODED, MULTIPART)


def form_of(request: Request, limits: Limits, *, digest: Digest | None = None) -> dict[str, Any]:
    """Return the fields of a form: texts, the contents of files as bytes, and None for a file that was not chosen.

    Of equal names, the first field counts.

    Raises:
        TooLarge: it exceeds a limit in bytes.
        MalformedBody: it is no form, or has too many fields.
        InvalidRequest: a value is no text; names its field.
    """
    is_multipart = request.mimetype == MULTIPART
    max_bytes = limits.total_bytes if is_multipart else min(limits.total_bytes, MAX_URLENCODED_BYTES)
    stream = BodyStream(request, max_bytes, digest)
    read = _multipart if is_multipart else _urlencoded
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
        # A file takes precedence over a text.
        if name not in fields or (isinstance(value, bytes) and isinstance(fields[name], str)):
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
                    yield part.name, str(content.getbuffer(), "utf-8", "replace")
                elif not event.more_data:  # getvalue() does not copy
                    yield part.name, content.getvalue() if isinstance(part, File) and part.filename else None
    except RequestEntityTooLarge:
        rule = f"must not have more than {MAX_FIELDS} fields, or fields with long headers"
        raise MalformedBody(Problem("body", rule)) from None
    except ValueError:
        raise MalformedBody(Problem("body", "must be a form with the boundary that its header names")) from None


def _events(decoder: MultipartDecoder, stream: BodyStream) -> Iterator[Event]:
    while True:
        data = stream.read()
        decoder.receive_data(data or None)
        while not isinstance(event := decoder.next_event(), NeedData):
            if isinstance(event, Epilogue):
                return
            yield event


def _urlencoded(request: Request, stream: BodyStream, limits: Limits) -> Iterator[tuple[str, str | bytes | None]]:
    body = bytearray()
    number = 1
    while data := stream.read():
        number += data.count(b"&")
        if number > MAX_FIELDS:
            raise MalformedBody(Problem("body", f"must not have more than {MAX_FIELDS} fields"))
        body += data
    start = 0
    while start < len(body):
        end = body.find(b"&", start)
        end = len(body) if end < 0 else end
        equals = body.find(b"=", start, end)
        middle = end if equals < 0 else equals
        if end > start:
            yield _unquoted(body, start, middle), _unquoted(body, middle + 1, end)
        start = end + 1


def _unquoted(body: bytearray, start: int, end: int) -> str:
    """Return a name or value of a url-encoded form as text. Other requests are served meanwhile."""
    parts = []
    while start < end:
        stop = min(end, start + PIECE_BYTES)
        if stop < end:  # an escape is not divided
            percent = body.rfind(b"%", stop - 2, stop)
            stop = percent if percent > start else stop
        parts.append(unquote_to_bytes(bytes(body[start:stop]).replace(b"+", b" ")))
        time.sleep(0)
        start = stop
    return b"".join(parts).decode(errors="replace")
