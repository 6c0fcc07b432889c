"""Paths that clients name: an input image inside one folder, an output inside the space of outputs."""

from __future__ import annotations

import re

from jobs.errors import InvalidRequest, Problem
from jobs.settings import PROJECT_ROOT, Settings

MAX_PATH_CHARS = 255

#: How base64 of PNG, JPEG, WebP and GIF begins.
_BASE64_IMAGE = ("iVBORw0KGgo", "/9j/", "UklGR", "R0lGOD")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")
_MANY = re.compile(r",\s*(?:https?://|data:)")


def read_image(text: str, settings: Settings, field: str = "image_path") -> str | bytes:
    """What ``image_path`` stands for: a link, data URL or base64 as it is, or the file of that path.

    Raises:
        InvalidRequest: several images, or a path that may not be read. Whether a file exists outside is not told.
    """
    text = text.strip()
    if _MANY.search(text):
        raise InvalidRequest(Problem(field, "must be one image, not a list"))
    if re.match(r"(?:https?://|data:)", text, re.IGNORECASE) or text.startswith(_BASE64_IMAGE):
        return text
    rule = "must be a link, a data URL, base64 of an image, or a path inside the server's input folder"
    if not settings.inputs.dir:
        raise InvalidRequest(Problem(field, rule + ", of which there is none here (INPUT_DIR)", text))
    folder = (PROJECT_ROOT / settings.inputs.dir).resolve()
    if not _UNSAFE.search(text) and len(text) <= MAX_PATH_CHARS:
        path = (folder / text).resolve()
        if path.is_relative_to(folder) and path.is_file():
            with path.open("rb") as file:
                return file.read(settings.inputs.max_bytes + 1)
    raise InvalidRequest(Problem(field, rule, text))


def output_path(sent: str, ending: str) -> tuple[str, str | None]:
    """A client's name for its output as a relative path with the right ending; '' for none.

    Returns:
        The path, and a warning if it is not what was sent.

    Raises:
        InvalidRequest: it leads outside.
    """
    wanted = sent.strip().replace("\\", "/")
    parts = [part for part in re.sub(r"^[A-Za-z]:", "", wanted).split("/") if part not in ("", ".")]
    if not parts:
        return "", None
    path = "/".join(parts)
    if ".." in parts or _UNSAFE.search(path) or len(path) > MAX_PATH_CHARS or wanted.endswith("/"):
        rule = f"must be the name of a file inside the outputs, at most {MAX_PATH_CHARS} characters"
        raise InvalidRequest(Problem("save_result_path", rule, sent))
    if not path.lower().endswith(ending):
        path += ending
    absolute = wanted.startswith("/") or re.match(r"[A-Za-z]:", wanted)
    return path, f"save_result_path was taken as {path!r} inside the outputs" if absolute else None
