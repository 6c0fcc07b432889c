"""Outputs of the caller's own jobs as inputs: ``job:<id>``, or a link that a response has shown.

They are read from the object store. Nothing is downloaded, so the rules for addresses do not apply, and neither a
signature nor its age matters: the job decides, which must be one that the caller may see.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from flask import request

from app.access import addresses, auth
from app.extensions import objects, settings, store
from app.media import inputs
from app.media.decoding import off_the_hub
from jobs.errors import InvalidRequest, JobNotFound, ObjectNotFound, Problem
from jobs.job_view import JOBS_PATH, iso
from jobs.outbound.links import MAX_URL_CHARS
from jobs.record import Job, Output
from jobs.states import JobState
from jobs.store import queries

#: Names an output by its job: the first one, or the one with an index.
SCHEME = "job:"
_ID = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_NAMED = re.compile(rf"{SCHEME}({_ID})(?:/([0-9]{{1,4}}))?")
#: Routes that send an output.
_BY_ID = re.compile(rf"(?:{JOBS_PATH}|/v1/tasks)/({_ID})/(result|thumbnail|poster)/?|/img/({_ID})\.jpg")
_BY_PATH = re.compile(r"/v1/files/download/(.+)")
#: Names of stored outputs.
_OBJECT = re.compile(rf"outputs/({_ID})/")
_PORTS = {"http": 80, "https": 443}
_SHOWN_CHARS = 80


class OutputNotUsable(InvalidRequest):
    """An output of a job that a request names as its input cannot be used."""


@dataclass(frozen=True)
class _Reference:
    """An output that a text names."""

    job_id: str | None
    index: int = 0
    #: ``result``, ``thumbnail`` or ``poster``.
    part: str = "result"
    #: The stored file, if the text is a link of the object store.
    key: str = ""


def is_reference(text: str) -> bool:
    """Return whether a text names an output of a job; nothing is looked up."""
    return _reference_of(text) is not None


def is_video(text: str) -> bool:
    """Return whether a text names an output of a job of the caller's that is a video."""
    reference = _reference_of(text)
    if reference is None or reference.job_id is None:
        return False
    try:
        output = _output_of(auth.visible_job(reference.job_id), reference)
    except JobNotFound:
        return False
    return output is not None and (output.frames > 1 or output.media_type.startswith("video/"))


def content_of(text: str, field: str, kind: str = "image") -> str | bytes:
    """Return the file that a text names, or the text itself if it names no output of a job.

    Args:
        text: what the caller sent.
        field: name of the field for errors.
        kind: ``image``, ``video`` or ``audio``.

    Raises: as :func:`file_of`.
    """
    found = file_of(text, field, kind)
    return text if found is None else found[0]


def picture_bytes(text: str) -> bytes:
    """Return the picture of a text: an output of a job, a link, a data URL or base64.

    Raises:
        InvalidRequest: names the field ``image``.
        Unavailable: the object store or Redis does not answer.
    """
    picture = content_of(text, "image")
    return picture if isinstance(picture, bytes) else inputs.bytes_of(picture, settings())


def file_of(text: str, field: str, kind: str) -> tuple[bytes, str] | None:
    """Return the content and media type of the output that a text names; None if it names none.

    Args:
        text: what the caller sent.
        field: name of the field for errors.
        kind: what the field takes: ``image``, ``video`` or ``audio``.

    Raises:
        OutputNotUsable: the job is not the caller's, has no such output, or the output is of another kind.
        Unavailable: the object store or Redis does not answer.
    """
    reference = _reference_of(text)
    if reference is None:
        return None
    shown = text.partition("?")[0][:_SHOWN_CHARS]  # without a signature

    def refused(rule: str) -> OutputNotUsable:
        return OutputNotUsable(Problem(field, rule, shown))

    try:
        if reference.job_id is None:
            raise JobNotFound
        job = auth.visible_job(reference.job_id)
    except JobNotFound:
        raise refused("names no job of yours") from None
    if job.removed_at_ms:
        raise refused(f"names a job whose files were removed at {iso(job.removed_at_ms)}")
    if job.state is not JobState.SUCCEEDED:
        raise refused(f"names a job that is {job.state}: it has no output{'' if job.state.is_terminal else ' yet'}")
    output = _output_of(job, reference)
    if output is None:
        raise refused(f"names a file that the job does not have; it has {len(job.outputs)} outputs, counted from 0")
    if output.media_type.partition("/")[0] != kind and (kind, output.frames > 1) != ("video", True):
        hint = "; its `poster_url` is a picture" if kind == "image" and output.poster else ""
        raise refused(f"names an output of type {output.media_type}{hint}")
    if output.bytes > settings().inputs.max_bytes:
        raise refused(f"must not exceed {settings().inputs.max_bytes} bytes")
    try:
        return read_whole(output.key), output.media_type
    except ObjectNotFound:
        raise refused("names an output that is no longer stored") from None


def read_whole(key: str) -> bytes:
    """Read a stored file; a disk, which gevent cannot wait for, is read in a thread."""
    stored = objects()
    if stored.is_local:
        return off_the_hub(lambda: b"".join(stored.read(key)))
    return b"".join(stored.read(key))


def _output_of(job: Job, reference: _Reference) -> Output | None:
    if reference.key:
        files = [file for output in job.outputs for file in (output, output.thumbnail, output.poster)]
        return next((file for file in files if file and file.key == reference.key), None)
    if reference.index >= len(job.outputs):
        return None
    output = job.outputs[reference.index]
    return {"result": output, "thumbnail": output.thumbnail, "poster": output.poster}[reference.part]


def _reference_of(text: str) -> _Reference | None:
    # Base64 of a picture is long; links and ids are not.
    if len(text) > MAX_URL_CHARS:
        return None
    text = text.strip()
    if text.startswith(SCHEME):
        named = _NAMED.fullmatch(text)
        return _Reference(named[1], int(named[2] or 0)) if named else _Reference(None)
    if not text.startswith(("/", "http:", "https:", "HTTP:", "HTTPS:")):
        return None
    try:
        link = urlsplit(text)
        path = unquote(_own_path(link) or "")
    except ValueError:
        return None
    return (_of_route(path, link.query) if path else None) or _of_object(text)


def _own_path(link: SplitResult) -> str | None:
    """Return the path of a link on this server, without the prefix of a proxy; None for other servers."""
    if not link.scheme:
        return None if link.netloc else _below(addresses.prefix(), link.path) or link.path
    public = urlsplit(settings().web.public_url)
    if public.netloc and _place(link) == _place(public):
        return _below(public.path.rstrip("/"), link.path)
    # The scheme is not compared: a proxy that adds TLS may be invisible here.
    here = urlsplit(f"{link.scheme}://{request.host}")
    return _below(addresses.prefix(), link.path) if _place(link) == _place(here) else None


def _below(prefix: str, path: str) -> str | None:
    """Return the rest of a path after a prefix; None if the path is not below it."""
    return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else None


def _place(link: SplitResult) -> tuple[str | None, int | None]:
    return link.hostname, link.port or _PORTS.get(link.scheme)


def _of_route(path: str, query: str) -> _Reference | None:
    if match := _BY_ID.fullmatch(path):
        index = parse_qs(query).get("index", ["0"])[0]
        is_valid = index.isascii() and index.isdecimal() and len(index) <= 4
        return _Reference(match[1] or match[3], int(index) if is_valid else 10_000, match[2] or "result")
    if match := _BY_PATH.fullmatch(path):
        job_id = queries.job_id_of_path(store(), auth.caller().key_id, match[1])
        return _Reference(job_id or match[1].rpartition(".")[0])
    return None


def _of_object(text: str) -> _Reference | None:
    key = objects().key_of(text)
    match = _OBJECT.match(key) if key else None
    return _Reference(match[1], key=match.string) if match else None
