"""The charset that a body declares, and its text as UTF-8."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from jobs.errors import MalformedBody, Problem

UTF_8 = "utf-8"
#: Codecs of charsets on the web, as Python calls them. Others decompress, or are no charsets.
_KNOWN = re.compile(
    r"utf-(?:8|16|32)(?:-[lb]e)?|ascii|iso8859-[0-9]{1,2}|cp125[0-8]|koi8-[ru]|mac-roman|shift_jis|cp932|euc_jp"
    r"|iso2022_jp|gb2312|gbk|gb18030|big5|euc_kr|cp949"
)


def codec_of(declared: str | None) -> str:
    """Return Python's codec of a declared charset; UTF-8 if there is none. Raises: MalformedBody."""
    if not declared:
        return UTF_8
    try:
        name = codecs.lookup(declared.strip("\"' ")).name
    except (LookupError, ValueError):  # unknown, or with NUL
        name = ""
    if not _KNOWN.fullmatch(name):
        raise MalformedBody(Problem("body", f"must be in UTF-8 or another known charset, not {declared[:40]!r}"))
    return UTF_8 if name == "ascii" else name


def to_utf_8(codec: str) -> Callable[[bytes, bool], bytes]:
    """Return a function that recodes a text piece by piece; its second argument says whether the piece is the last.

    It raises MalformedBody for bytes that are no text in this charset.
    """
    decoder = codecs.getincrementaldecoder(codec)()

    def recode(data: bytes, is_last: bool) -> bytes:
        try:
            return decoder.decode(data, is_last).encode()
        except UnicodeError:
            raise MalformedBody(Problem("body", f"must be text in {codec}, as its Content-Type says")) from None

    return recode
