"""Uploaded files, whose addresses can be inputs. They are stored like other input images."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from typing import Any

from flask import request

from app.access import auth
from app.extensions import objects, settings, store
from app.fields import body_of, load, parsed
from app.media import inputs
from app.media.decoding import off_the_hub
from app.media.pictures import MEDIA_TYPES
from app.protocols.replicate.schemas import FILE
from jobs.errors import InvalidRequest, ObjectNotFound, Problem
from jobs.job_view import iso
from jobs.store.client_state import UploadedFiles

PATH = "/v1/files"
#: The address of a file, on any server: ids are random, and only the caller's own files are looked up.
_ADDRESS = re.compile(rf"(?:https?://[^/]+)?(?:/.*)?{PATH}/([0-9a-f]{{32}})/?")
#: Longest metadata, characters of JSON.
_MAX_METADATA_CHARS = 10_000


def upload() -> tuple[str, dict[str, Any]]:
    """Store the file of the current request; return its id and what is kept of it. Raises: InvalidRequest."""
    body = body_of(request)
    fields, _ = load(FILE, body)
    content = fields.get("content")
    if not isinstance(content, bytes):
        raise InvalidRequest(Problem("content", "is required: a file in a multipart form"))
    image = inputs.store_image(
        content, settings=settings(), objects=objects(), records=store(), field="content", may_be_animated=True
    )
    sha256, md5 = off_the_hub(lambda: (hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()))  # noqa: S324
    file_id, now_ms = secrets.token_hex(16), int(time.time() * 1000)
    kept_s = settings().retention.unused_files_grace_s
    record = {
        "key": image.key, "size": len(content), "sha256": sha256, "md5": md5, "metadata": _metadata(body),
        "name": fields.get("filename") or "file", "created_at_ms": now_ms,
        "expires_at_ms": now_ms + int(kept_s * 1000),
    }  # fmt: skip
    UploadedFiles(store(), auth.caller().key_id).add(file_id, record, kept_s)
    return file_id, record


def _metadata(body: dict[str, Any]) -> dict[str, Any]:
    sent = body.get("metadata") or "{}"
    text = sent.decode("utf-8", "replace") if isinstance(sent, bytes) else str(sent)
    try:
        metadata = parsed(text) if len(text) <= _MAX_METADATA_CHARS else None
    except InvalidRequest:
        metadata = None
    if not isinstance(metadata, dict):
        raise InvalidRequest(Problem("metadata", f"must be a JSON object of at most {_MAX_METADATA_CHARS} characters"))
    return metadata


def get(file_id: str) -> dict[str, Any]:
    """Return what is kept of a file. Raises: ObjectNotFound."""
    record = UploadedFiles(store(), auth.caller().key_id).get(file_id)
    if record is None:
        raise ObjectNotFound(f"file {file_id[:40]!r} does not exist, or has expired")
    return record


def content_of(text: str) -> bytes | str:
    """Return the content of the uploaded file whose address a text is, or the text itself. Raises: InvalidRequest."""
    found = _ADDRESS.fullmatch(text.strip()) if len(text) < 2000 else None
    record = UploadedFiles(store(), auth.caller().key_id).get(found[1]) if found else None
    if record is None:
        return text
    return b"".join(objects().read(record["key"]))


def view(file_id: str, record: dict[str, Any], base_url: str) -> dict[str, Any]:
    """Return a file as JSON."""
    return {
        "id": file_id,
        "name": record["name"],
        "content_type": MEDIA_TYPES[record["key"].rpartition(".")[2]],
        "size": record["size"],
        "etag": record["md5"],
        "checksums": {"sha256": record["sha256"], "md5": record["md5"]},
        "metadata": record["metadata"],
        "created_at": iso(record["created_at_ms"]),
        "expires_at": iso(record["expires_at_ms"]),
        "urls": {"get": f"{base_url}{PATH}/{file_id}"},
    }
