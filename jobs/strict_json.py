"""Reads JSON that others wrote: within limits that are checked before anything is built, and without texts and numbers
that cannot be passed on.

A JSON text arrives in pieces. Pictures (long strings in base64) are taken out of it at once, so only the small rest is
ever parsed. Its length, depth and number of values are counted by linear scans. :mod:`json` accepts more than RFC 8259
and more than others can read: NaN, numbers that no float holds, lone surrogates. All of them are refused by the name
of their field, or repaired where the sender is a worker whose job must not be lost.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from jobs.errors import InvalidRequest, MalformedBody, Problem, TooLarge

#: Strings from this length on may be pictures, bytes. Shorter ones count as text.
LONG_BYTES = 2048
#: Most bytes that are scanned at once: a few milliseconds at worst.
PIECE_BYTES = 64 * 1024
#: Digits of the longest whole number. No field takes as many, and each reports its own limit.
MAX_DIGITS = 40

#: A string and its closing quote, or a string that has none yet. It matches at every quote, so no scan begins twice.
_STRING = re.compile(rb'("(?:[^"\\]++|\\.)*+)("|\\?\Z)', re.DOTALL)
#: The rest of a string up to its closing quote, or up to an escape that is not complete yet.
_REST = re.compile(rb'(?:[^"\\]++|\\(?:u[0-9A-Fa-f]{4}|[^u]))*+', re.DOTALL)
_DATA_URL = re.compile(rb"\s*data:[\x20-\x2b\x2d-\x7e]{0,200},", re.IGNORECASE)
#: Both alphabets of RFC 4648, padding and the ends of lines.
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\r\n"
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_NO_TEXT = "must not contain NUL or lone surrogates"
_NO_NUMBER = "must be a finite number"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Limits:
    """How large a JSON text may be."""

    #: Everything, bytes.
    total_bytes: int
    #: What remains without the pictures, bytes.
    text_bytes: int
    #: Values: members of objects and lists together.
    values: int = 20_000
    #: Lists and objects inside each other.
    depth: int = 32


class FileSink(Protocol):
    """Takes the content of one data URL, which then stands in the value instead of its text."""

    def add(self, digits: bytes) -> None:
        """Take a part of its base64."""

    def spoil(self) -> None:
        """Something that is no base64 follows."""

    def finish(self) -> None:
        """The data URL is complete."""


class JsonReader:
    """Reads one JSON text that arrives in pieces.

    Args:
        limits: how large it may be.
        repair: replace numbers that are not finite by null, as JavaScript writes them, and what is no text by U+FFFD,
            instead of refusing them.
        keep_texts: keep lone surrogates and NUL, for texts that are only sent back.
        files: returns what takes the content of a long data URL with this head, so that it is never in memory.
    """

    def __init__(
        self, limits: Limits, *, repair: bool = False, keep_texts: bool = False,
        files: Callable[[str], FileSink] | None = None,
    ) -> None:  # fmt: skip
        self._limits, self._repair, self._keep_texts, self._files = limits, repair, keep_texts, files
        self._total_bytes = self._values = self._depth = 0
        #: The text without pictures. Each picture is replaced by a name that nobody can guess.
        self._text = bytearray()
        self._pictures: list[str | FileSink] = []
        self._mark = secrets.token_hex(8) + ":"
        #: The beginning of a string that is not complete.
        self._open = b""
        self._long: _LongString | None = None

    def feed(self, data: bytes) -> None:
        """Scan a part of the text. Raises: TooLarge, MalformedBody."""
        for start in range(0, len(data), PIECE_BYTES):
            self._scan(data[start : start + PIECE_BYTES])

    @property
    def is_empty(self) -> bool:
        """Whether nothing has arrived."""
        return not self._total_bytes

    def finish(self) -> Any:
        """Return the value of the text.

        Raises:
            MalformedBody: it is not JSON.
            InvalidRequest: a value is no text or no number; names its field.
        """
        if self._open or self._long or self._depth:
            raise _malformed("must be JSON")
        try:
            text = self._text.decode("utf-8-sig")
            self._text = bytearray()
            value = json.loads(text, parse_int=_whole)
        except UnicodeDecodeError:
            raise _malformed("must be JSON in UTF-8") from None
        except (ValueError, RecursionError):
            is_wide = "\0" in text  # UTF-16 or UTF-32
            raise _malformed("must be JSON in UTF-8" if is_wide else "must be JSON") from None
        try:
            return self._checked(value)
        except _BadValue as exc:
            raise InvalidRequest(Problem(exc.name.lstrip(".") or "body", exc.rule)) from None

    # ---- scanning

    def _scan(self, piece: bytes) -> None:
        self._total_bytes += len(piece)
        if self._total_bytes > self._limits.total_bytes:
            raise TooLarge(Problem("body", f"must not exceed {self._limits.total_bytes} bytes"))
        if self._long is not None:
            piece = self._continue(self._open + piece)
            self._open = b""
            if self._long is not None:
                self._open = piece
                return
        # What is outside, a string without its closing quote, that quote, what is outside, …
        parts = _STRING.split(self._open + piece)
        self._open = b""
        if len(parts) > 1 and parts[-2] != b'"':
            self._open = parts[-3] + parts[-2]
            del parts[-3:]
        self._count(b"".join(parts[::3]))
        for index in range(1, len(parts), 3):
            if len(parts[index]) > LONG_BYTES:
                long = _LongString(self._files)
                long.add(parts[index][1:])
                parts[index], parts[index + 1] = self._literal(long), b""
        self._text += b"".join(parts)
        if len(self._open) > LONG_BYTES:
            self._long = _LongString(self._files)
            self._open = self._continue(self._open[1:])
        self._check_length()

    def _continue(self, piece: bytes) -> bytes:
        """Add to the long string; return what is not scanned yet: what follows the string, or half an escape."""
        assert self._long is not None
        # Most pieces are nothing but a part of a picture, and searches for a byte are fast.
        is_inner = b'"' not in piece and b"\\" not in piece
        match = None if is_inner else _REST.match(piece)
        end = match.end() if match else len(piece)
        self._long.add(piece[:end])
        if piece[end : end + 1] == b'"':
            self._text += self._literal(self._long)
            self._long = None
            return piece[end + 1 :]
        if len(piece) - end > len(rb"\u000"):
            raise _malformed("must be JSON: a text has an invalid escape")
        self._check_length()
        return piece[end:]

    def _literal(self, long: _LongString) -> bytes:
        """Return the literal that stands for a long string in the text."""
        if not long.is_picture:
            return b'"' + b"".join(long.raw) + b'"'
        if long.file is not None:
            long.file.finish()
        self._pictures.append("".join(long.plain) if long.file is None else long.file)
        return f'"{self._mark}{len(self._pictures) - 1}"'.encode()

    def _check_length(self) -> None:
        length = len(self._text) + (self._long.length_bytes if self._long else 0)
        if length > self._limits.text_bytes:
            rule = f"must not have more than {self._limits.text_bytes} bytes beside pictures in base64"
            raise TooLarge(Problem("body", rule))

    def _count(self, outside: bytes) -> None:
        """Count values and depth in what is outside of strings."""
        self._values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        if self._values > self._limits.values:
            raise _malformed(f"must not have more than {self._limits.values} values")
        for bracket in outside.translate(None, _NO_BRACKETS):
            self._depth += 1 if bracket in b"[{" else -1
            if self._depth > self._limits.depth:
                raise _malformed(f"must not be nested deeper than {self._limits.depth} levels")
            if self._depth < 0:
                raise _malformed("must be JSON")

    # ---- checking the values

    def _checked(self, value: Any) -> Any:
        """Return the value with its pictures. Raises: _BadValue."""
        kind = type(value)
        if kind is str:
            return self._checked_text(value)
        if kind is dict:
            return self._checked_object(value)
        if kind is list:
            for index, item in enumerate(value):
                try:
                    value[index] = self._checked(item)
                except _BadValue as exc:
                    raise exc.inside(f"[{index}]") from None
        elif kind is float and not math.isfinite(value):
            if self._repair:
                return None
            raise _BadValue(_NO_NUMBER)
        return value

    def _checked_object(self, value: dict[str, Any]) -> dict[str, Any]:
        checked = {}
        for name, member in value.items():
            if name.startswith(self._mark):
                raise _BadValue(f"must not have names longer than {LONG_BYTES} bytes")
            try:
                checked[self._checked_text(name)] = self._checked(member)
            except _BadValue as exc:
                raise exc.inside("." + _repaired(name)[:80]) from None
        return checked

    def _checked_text(self, text: str) -> Any:
        if text.startswith(self._mark):
            return self._pictures[int(text[len(self._mark) :])]
        if self._keep_texts or is_text(text):
            return text
        if self._repair:
            return _repaired(text)
        raise _BadValue(_NO_TEXT)


class _LongString:
    """A long string literal: a picture, whose content is kept without escapes, or a text, which is kept as it came."""

    def __init__(self, files: Callable[[str], FileSink] | None) -> None:
        self.is_picture, self._is_start, self._files = True, True, files
        #: Takes the content of a data URL.
        self.file: FileSink | None = None
        #: The parts of a picture, and those of a text.
        self.plain: list[str] = []
        self.raw: list[bytes] = []
        self.length_bytes = 0

    def add(self, part: bytes) -> None:
        if self.is_picture:
            plain = _unescaped(part)
            if is_base64(plain, is_start=self._is_start):
                self._add_picture(plain)
                return
            if self.file is not None:
                self.file.spoil()
                return
            self.is_picture = False
            self.raw = [json.dumps(earlier)[1:-1].encode() for earlier in self.plain]
            self.length_bytes = sum(map(len, self.raw))
        self.raw.append(part)
        self.length_bytes += len(part)

    def _add_picture(self, plain: bytes) -> None:
        head = _DATA_URL.match(plain) if self._is_start and self._files else None
        self._is_start = False
        if self._files and head and head[0].endswith(b";base64,"):
            self.file, plain = self._files(head[0].decode()), plain[head.end() :]
        if self.file is not None:
            self.file.add(plain)
        else:
            self.plain.append(plain.decode("ascii"))


class _BadValue(Exception):
    """A value is refused; collects the name of its field on the way out."""

    def __init__(self, rule: str) -> None:
        self.rule, self.name = rule, ""

    def inside(self, name: str) -> _BadValue:
        self.name = name + self.name
        return self


def loads(text: str | bytes, limits: Limits, *, repair: bool = False) -> Any:
    """Return the value of a JSON text that is in memory; see :class:`JsonReader`. Raises: InvalidRequest."""
    reader = JsonReader(limits, repair=repair)
    reader.feed(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    return reader.finish()


def dumps(value: Any, **options: Any) -> str:
    """Return a value as JSON that every client can read: numbers that are not finite become null."""
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(finite(value), allow_nan=False, **options)


def is_text(text: str) -> bool:
    """Return whether a string can be stored and sent: without NUL and lone surrogates."""
    return "\0" not in text and (text.isascii() or not _LONE_SURROGATE.search(text))


def is_picture(text: str) -> bool:
    """Return whether a text is base64, or a data URL with base64."""
    pieces = range(0, len(text), PIECE_BYTES)
    return text.isascii() and all(is_base64(text[at : at + PIECE_BYTES].encode(), is_start=not at) for at in pieces)


def is_base64(data: bytes, *, is_start: bool) -> bool:
    """Return whether a part of a text is base64; at its start, the head of a data URL may come first."""
    head = _DATA_URL.match(data) if is_start else None
    return not data[head.end() if head else 0 :].translate(None, _BASE64)


def _repaired(text: str) -> str:
    return _LONE_SURROGATE.sub("\ufffd", text).replace("\0", "\ufffd")


def finite(value: Any) -> Any:
    """Return a value of JSON with null for every number that is not finite."""
    if isinstance(value, dict):
        return {name: finite(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else math.inf


def _unescaped(raw: bytes) -> bytes:
    """Return the content of a literal in UTF-8; something that is no base64 if it is not valid."""
    if b"\\" not in raw:
        return raw
    try:
        return str(json.loads(b'"' + raw + b'"')).encode()
    except ValueError:
        return b"\\"


def _malformed(rule: str) -> MalformedBody:
    return MalformedBody(Problem("body", rule))
