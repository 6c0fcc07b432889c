"""Paths that clients choose: of an input file inside ``INPUT_DIR``, and of an output below the outputs."""

from __future__ import annotations

import re

from app import own_outputs
from jobs.errors import InvalidRequest, Problem
from jobs.settings import PROJECT_ROOT, Settings

MAX_PATH_CHARS = 255

#: First characters of PNG, JPEG, WebP (and WAV) and GIF in base64, and of videos and sounds.
_BASE64_IMAGE = ("iVBORw0KGgo", "/9j/", "UklGR", "R0lGOD")
_BASE64 = (*_BASE64_IMAGE, "SUQz", "//", "T2dnUw", "AAAA", "GkXfo")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")
#: A comma before another image; the comma within a data URL follows its encoding.
_NEXT = re.compile(r"(?<!;base64),\s*(?=https?://|data:|job:|iVBORw0KGgo|/9j/|UklGR|R0lGOD)", re.IGNORECASE)


def listed(text: str) -> list[str]:
    """Return the images of a text that may be a list of them with commas. Links may have commas themselves."""
    parts: list[str] = []
    for part in _NEXT.split(text.strip()):
        parts += [part] if _is_text(part) else part.split(",")
    return [part.strip() for part in parts if part.strip()]


def _is_text(text: str) -> bool:
    """Return whether a text is a link, a reference or an image itself, and no path."""
    is_link = re.match(r"(?:https?://|data:)", text, re.IGNORECASE) is not None
    return is_link or text.startswith(_BASE64) or own_outputs.is_reference(text)


def read_file(text: str, settings: Settings, field: str = "image_path") -> str | bytes:
    """Return the file of ``image_path`` or the like: ``job:<id>``, a link or base64 unchanged, or what the path names.

    Raises:
        InvalidRequest: a path that may not be read. The message does not say whether a file outside of the folder
            exists.
    """
    text = text.strip()
    if _is_text(text):
        return text
    rule = "must be job:<id>, a link, a data URL, base64 of the file, or a path inside the server's input folder"
    if not settings.inputs.dir:
        raise InvalidRequest(Problem(field, rule + ", but INPUT_DIR is not set", text))
    folder = (PROJECT_ROOT / settings.inputs.dir).resolve()
    if not _UNSAFE.search(text) and len(text) <= MAX_PATH_CHARS:
        path = (folder / text).resolve()
        if path.is_relative_to(folder) and path.is_file():
            with path.open("rb") as file:
                return file.read(settings.inputs.max_bytes + 1)
    raise InvalidRequest(Problem(field, rule, text))


def is_content(text: str) -> bool:
    """Return whether a text is an image itself, and no link or path."""
    text = text.lstrip()
    return text.startswith(_BASE64) or text[:5].lower() == "data:"


def output_path(text: str, suffix: str) -> tuple[str, str | None]:
    """Return a client's path for its output as a relative path with the right suffix; '' for none.

    Returns:
        The path, and a warning if an absolute path was made relative.

    Raises:
        InvalidRequest: the path leads outside of the outputs.
    """
    requested = text.strip().replace("\\", "/")
    parts = [part for part in re.sub(r"^[A-Za-z]:", "", requested).split("/") if part not in ("", ".")]
    if not parts:
        return "", None
    path = "/".join(parts)
    if ".." in parts or _UNSAFE.search(path) or len(path) > MAX_PATH_CHARS or requested.endswith("/"):
        rule = f"must be the name of a file inside the outputs, at most {MAX_PATH_CHARS} characters"
        raise InvalidRequest(Problem("save_result_path", rule, text))
    if not path.lower().endswith(suffix):
        path += suffix
    absolute = requested.startswith("/") or re.match(r"[A-Za-z]:", requested)
    return path, f"save_result_path was taken as {path!r} inside the outputs" if absolute else None
