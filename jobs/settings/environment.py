"""The environment of the process, completed by ``.env`` and by the variable names of a Devoid Generator."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from dotenv import dotenv_values

from jobs.settings.option import PROJECT_ROOT

#: A file of settings in the project's root. Variables of the environment take precedence.
ENV_FILE = PROJECT_ROOT / ".env"

#: Variable of a Devoid Generator → the variable that means the same here.
ALIASES = {
    "API_HOST": "HOST",
    "API_PORT": "PORT",
    "LOGGING_LEVEL": "LOG_LEVEL",
    "S3_ENDPOINT": "S3_ENDPOINT_URL",
    "S3_BUCKET_NAME": "S3_BUCKET",
    # boto3 reads these itself.
    "S3_ACCESS_KEY": "AWS_ACCESS_KEY_ID",
    "S3_SECRET_KEY": "AWS_SECRET_ACCESS_KEY",
}
_LOG_LEVELS = {"WARN": "WARNING", "FATAL": "ERROR"}


def with_aliases(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` with this project's names added beside the aliases; a name that is set itself takes precedence."""
    completed = dict(environ)
    for alias, name in ALIASES.items():
        value = environ.get(alias, "").strip()
        if value and not environ.get(name, "").strip():
            completed[name] = _LOG_LEVELS.get(value, value) if name == "LOG_LEVEL" else value
    return completed


def of_process(environ: MutableMapping[str, str] = os.environ, file: Path = ENV_FILE) -> dict[str, str]:
    """The environment of this process; ``.env`` supplies what it leaves unset.

    Libraries such as boto3 read the process environment themselves, so their variables are added to it.
    """
    from_file = {name: value for name, value in dotenv_values(file, interpolate=False).items() if value is not None}
    given = {**from_file, **{name: value for name, value in environ.items() if value.strip()}}
    completed = with_aliases(given)
    for name, value in completed.items():
        if value and not environ.get(name, "").strip() and (name in given or name.startswith("AWS_")):
            environ[name] = value
    return completed
