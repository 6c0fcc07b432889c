"""Bodies that cost far more than their size suggests, and invalid texts.

Each maker takes a size in bytes and returns a body of at most that size. ``BODIES`` lists them by name.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass

JSON = "application/json"
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=cut"


@dataclass(frozen=True)
class Body:
    """A body and its media type."""

    media_type: str
    content: bytes

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Type": self.media_type}


def _filled(head: bytes, item: bytes, tail: bytes, size: int) -> bytes:
    """Return ``head``, as many items as fit, and ``tail``, without the comma after the last item."""
    number = (size - len(head) - len(tail)) // len(item)
    return head + (item * number).rstrip(b",&") + tail


def empty_lists(size: int) -> Body:
    """``{"x":[[],[],…]}``: at least 20 bytes of memory for each byte sent."""
    return Body(JSON, _filled(b'{"x":[', b"[],", b"]}", size))


def empty_objects(size: int) -> Body:
    """``{"x":[{},{},…]}``: the most memory for each byte sent."""
    return Body(JSON, _filled(b'{"x":[', b"{},", b"]}", size))


def many_keys(size: int) -> Body:
    """``{"a0":1,"a1":1,…}``: an object with millions of names."""
    entries = b",".join(b'"a%d":1' % number for number in range(size // 16))
    return Body(JSON, b"{" + entries + b"}")


def many_numbers(size: int) -> Body:
    """``{"x":[0,0,…]}``."""
    return Body(JSON, _filled(b'{"x":[', b"0,", b"]}", size))


def many_texts(size: int) -> Body:
    """``{"x":["","",…]}``."""
    return Body(JSON, _filled(b'{"x":[', b'"",', b"]}", size))


def deep_lists(size: int) -> Body:
    """``[[[[…]]]]``."""
    return Body(JSON, b'{"x":' + b"[" * ((size - 6) // 2) + b"]" * ((size - 6) // 2) + b"}")


def open_lists(size: int) -> Body:
    """``[[[[…`` without an end."""
    return Body(JSON, b"[" * size)


def one_text(size: int) -> Body:
    """One prompt of letters and blanks."""
    return Body(JSON, _filled(b'{"prompt":"', b"a red circle and ", b'"}', size))


def escaped_quotes(size: int) -> Body:
    r"""One text of ``\"\"\"…``."""
    return Body(JSON, _filled(b'{"prompt":"', b'\\"', b'"}', size))


def escaped_letters(size: int) -> Body:
    r"""One text of ``\u0041\u0041…``."""
    return Body(JSON, _filled(b'{"prompt":"', b"\\u0041", b'"}', size))


def open_text(size: int) -> Body:
    """A text without an end."""
    return Body(JSON, b'{"prompt":"' + b"a" * (size - 11))


def long_number(size: int) -> Body:
    """A whole number with millions of digits."""
    return Body(JSON, b'{"seed":' + b"9" * (size - 9) + b"}")


def blanks(size: int) -> Body:
    """Only white space."""
    return Body(JSON, b"{" + b" " * (size - 2) + b"}")


def picture_in_json(size: int) -> Body:
    """Base64 that is no picture: the largest body that may be large."""
    return Body(JSON, b'{"image":"' + base64.b64encode(bytes((size - 20) * 3 // 4)) + b'"}')


def many_pictures(size: int) -> Body:
    """A list of small pictures."""
    picture = b'"' + base64.b64encode(bytes(3000)) + b'",'
    return Body(JSON, _filled(b'{"init_images":[', picture, b"]}", size))


def form_fields(size: int) -> Body:
    """``a=&a=&…``."""
    return Body(URLENCODED, _filled(b"", b"a=&", b"", size))


def form_escapes(size: int) -> Body:
    """``prompt=%41%41…``."""
    return Body(URLENCODED, _filled(b"prompt=", b"%41", b"", size))


def form_parts(size: int) -> Body:
    """A form of empty parts."""
    part = b'--cut\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    return Body(MULTIPART, _filled(b"", part, b"--cut--\r\n", size))


def form_text(size: int) -> Body:
    """A form with one large text."""
    head = b'--cut\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'
    return Body(MULTIPART, _filled(head, b"a red circle and ", b"\r\n--cut--\r\n", size))


def form_header(size: int) -> Body:
    """A part whose header does not end."""
    head = b'--cut\r\nContent-Disposition: form-data; name="a"\r\nX-A: '
    return Body(MULTIPART, head + b"a" * (size - len(head)))


def form_headers(size: int) -> Body:
    """A part with many headers."""
    head = b'--cut\r\nContent-Disposition: form-data; name="a"\r\n'
    return Body(MULTIPART, _filled(head, b"X: a\r\n", b"\r\n\r\n--cut--\r\n", size))


def form_dashes(size: int) -> Body:
    """A file full of possible beginnings of a boundary."""
    head = b'--cut\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    return Body(MULTIPART, _filled(head, b"\r\n--cu", b"\r\n--cut--\r\n", size))


#: Name → maker.
BODIES: dict[str, Callable[[int], Body]] = {
    maker.__name__: maker
    for maker in (
        empty_lists, empty_objects, many_keys, many_numbers, many_texts, deep_lists, open_lists, one_text,
        escaped_quotes, escaped_letters, open_text, long_number, blanks, picture_in_json, many_pictures, form_fields,
        form_escapes, form_parts, form_header, form_headers, form_text, form_dashes,
    )
}  # fmt: skip
#: Bodies that a server may accept, because they cost no more than their size.
HONEST = frozenset({"picture_in_json", "many_pictures", "form_dashes"})


def lora_prompt(chars: int) -> str:
    """Return a prompt with an unterminated LoRA: quadratic for a pattern that backtracks."""
    return "<lora:" + "a" * (chars - 6)


def progress_list(number: int, job_id: str = "0#1") -> Body:
    """Return the progress that a worker could report for this many jobs."""
    item = json.dumps({"job_id": job_id, "progress": 1}).encode()
    return Body(JSON, b"[" + b",".join([item] * number) + b"]")


#: JSON texts with strings that no UTF-8 text can contain, or that end C strings.
NO_TEXTS = {
    "lone high surrogate": r'"\ud800"', "lone low surrogate": r'"a\udfffb"', "swapped surrogates": r'"\udc00\ud800"',
    "NUL": r'"a\u0000b"',
}  # fmt: skip
#: JSON texts that Python's parser accepts as numbers, and that no client can read.
NO_NUMBERS = {
    "NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity", "too large": "1e999", "too small": "-1e999",
    "10,000 digits": "9" * 10_000, "5,000 digits": "-" + "1" * 5_000,
}  # fmt: skip
#: Bodies that are not JSON, or not an object.
MALFORMED = {
    "empty list": b"[]", "text": b'"x"', "open": b'{"a":', "two values": b"{} {}", "comma": b'{"a":1,}',
    "single quotes": b"{'a':1}", "invalid UTF-8": b'{"prompt":"\xff\xfe"}', "UTF-16": '{"a":1}'.encode("utf-16"),
    "raw NUL": b'{"a":"\0"}', "raw newline": b'{"a":"\n"}', "surrogate bytes": b'{"prompt":"\xed\xa0\x80"}',
    "half an escape": b'{"a":"\\u12', "bad escape": b'{"a":"\\x41"}',
}  # fmt: skip
