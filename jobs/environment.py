"""The process environment, with the names that a Devoid Generator's ``.env`` uses for what we call differently."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

#: A file of settings in the project's root. Variables of the environment win over it.
ENV_FILE = Path(__file__).resolve().parent.parent / ".env"

#: Their name → ours.
ALIASES = {
    "API_HOST": "HOST",
    "API_PORT": "PORT",
    "LOGGING_LEVEL": "LOG_LEVEL",
    "S3_ENDPOINT": "S3_ENDPOINT_URL",
    "S3_BUCKET_NAME": "S3_BUCKET",
    # boto3's own.
    "S3_ACCESS_KEY": "AWS_ACCESS_KEY_ID",
    "S3_SECRET_KEY": "AWS_SECRET_ACCESS_KEY",
}
_LEVELS = {"WARN": "WARNING", "FATAL": "ERROR"}
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")


def translated(environ: Mapping[str, str]) -> dict[str, str]:
    """The same with our names beside theirs; a variable of ours that is set wins."""
    found = dict(environ)
    for theirs, ours in ALIASES.items():
        value = environ.get(theirs, "").strip()
        if value and not environ.get(ours, "").strip():
            found[ours] = _LEVELS.get(value, value) if ours == "LOG_LEVEL" else value
    return found


def of_process(environ: MutableMapping[str, str] = os.environ, file: Path = ENV_FILE) -> dict[str, str]:
    """What this process was given: its environment, and for what that does not say, ``.env``.

    Libraries read the environment themselves, so what they need is put there.
    """
    given = {**read(file), **{name: value for name, value in environ.items() if value.strip()}}
    found = translated(given)
    for name, value in found.items():
        if value and not environ.get(name, "").strip() and (name in given or name.startswith("AWS_")):
            environ[name] = value
    return found


def read(file: Path) -> dict[str, str]:
    """Variables of a file with lines ``NAME=value`` (blanks around ``=`` and quotes around the value are fine)."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    matches = (_LINE.fullmatch(line) for line in lines)
    return {match[1]: _value(match[2]) for match in matches if match}


def _value(text: str) -> str:
    if len(text) > 1 and text[0] in "'\"" and text.endswith(text[0]):
        return text[1:-1]
    return re.sub(r"\s+#.*", "", text)
