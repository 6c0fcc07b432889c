"""The page of the console, and its files below ``/console/static/``."""

from __future__ import annotations

import gzip
import hashlib
import time
from functools import lru_cache
from pathlib import Path

from flask import Blueprint, Response, abort, current_app, render_template_string, request

blueprint = Blueprint("console", __name__)

FOLDER = Path(__file__).parent / "static"
#: Media types of the files; no others are sent.
MEDIA_TYPES = {
    ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain",
    ".webmanifest": "application/manifest+json",
}  # fmt: skip
#: The page has no inline script, style or handler. Pictures are shown from memory while they are drawn or chosen.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Files under the address of their version never change.
_YEAR_S = 31_536_000
_PAGE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")


def page() -> Response:
    """Return the page. Its modules are named in it, so that a browser asks for all of them at once."""
    version, names = _version()
    files = f"{request.script_root}/console/static/{version}"
    text = render_template_string(
        _PAGE,
        base=request.script_root,
        files=files,
        modules=[name for name in names if name.endswith(".js") and name != "theme.js"],
        version=current_app.config["API_VERSION"],
    )
    response = Response(text, mimetype="text/html")
    response.headers["Content-Security-Policy"] = POLICY
    response.cache_control.no_cache = True
    response.add_etag()
    response.make_conditional(request)
    return response


@blueprint.get("/console/static/<version>/<path:name>")
def file(version: str, name: str) -> Response:
    """Return a file of the page. It may be kept for ever if it is of the version that the address names."""
    current, names = _version()
    if name not in names:
        abort(404)
    packs = request.accept_encodings.quality("gzip") > 0
    response = Response(_content(current, name, packed=packs), mimetype=MEDIA_TYPES[Path(name).suffix])
    response.vary.add("Accept-Encoding")
    if packs:
        response.content_encoding = "gzip"
    if version == current:
        response.cache_control.max_age = _YEAR_S
        response.cache_control.immutable = True
    else:
        response.cache_control.no_cache = True
    response.headers["Content-Security-Policy"] = POLICY
    response.add_etag()
    response.make_conditional(request)
    return response


@lru_cache(maxsize=256)
def _content(version: str, name: str, *, packed: bool) -> bytes:
    """Return a file as it was when the folder had this ``version``, compressed if so wished."""
    content = (FOLDER / name).read_bytes()
    return gzip.compress(content, mtime=0) if packed else content


def _version() -> tuple[str, list[str]]:
    return _version_at(int(time.monotonic()))


@lru_cache(maxsize=1)
def _version_at(second: int) -> tuple[str, list[str]]:
    """Return a digest of the files as they are now, and their names; looked up once per ``second``."""
    paths = sorted(path for path in FOLDER.rglob("*") if path.suffix in MEDIA_TYPES and path.is_file())
    names = [path.relative_to(FOLDER).as_posix() for path in paths]
    stats = [path.stat() for path in paths]
    facts = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in zip(names, stats, strict=True)])
    return hashlib.sha256(facts.encode()).hexdigest()[:12], names
