"""The file of an AIME server: defaults of its endpoints, formats of media, and pages."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from app.protocols.aime.endpoints.page_files import load_pages
from app.protocols.aime.endpoints.parameters import word_of
from app.protocols.aime.endpoints.spec import Page
from app.protocols.aime.endpoints.tables import Table

logger = logging.getLogger(__name__)

SERVER_FILE = "aime_api_server.cfg"
#: Section → the section of an endpoint's file for which it has defaults.
_SECTIONS = {"CLIENTS": "CLIENTS", "WORKERS": "WORKER", "ENDPOINTS": "ENDPOINT"}
#: Keys of older files that are defaults without being called so.
_OLD_DEFAULTS = ("job_timeout",)
#: Sections that configure the AIME server itself; this server has its own settings for them.
_IGNORED_SECTIONS = ("SERVER", "SANIC", "ADMIN", "OPENAI")


class ServerFile:
    """What the file says; nothing without a file.

    Args:
        path: the file.

    Raises:
        BadSetting: names file, line and key.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._sections: dict[str, Table] = {}
        #: Media type → the formats that are accepted.
        self.formats: Mapping[str, tuple[str, ...]] = {}
        self.pages: Mapping[str, Page] = {}
        if path is not None:
            self._load(Table.from_file(path))

    def fill(self, name: str, section: Table) -> Table:
        """Complete a section of an endpoint's file, and return it."""
        defaults = self._sections.get(name)
        for key in defaults.values if defaults else ():
            if defaults and (key.startswith("default_") or key in _OLD_DEFAULTS):
                section.fill(key.removeprefix("default_"), defaults, key)
        return section

    def _load(self, table: Table) -> None:
        for plural, section in _SECTIONS.items():
            defaults = self._sections[section] = table.table(plural)
            for key in defaults.names():
                if key.startswith("default_") or key in _OLD_DEFAULTS:
                    defaults.any(key)
            defaults.done()
        self.formats = _load_formats(table.table("INPUTS"))
        self.pages = load_pages(table.table("STATIC"))
        ignored = [section for section in _IGNORED_SECTIONS if table.any(section) is not None]
        if ignored:
            logger.info("sections are ignored", extra={"file": SERVER_FILE, "sections": ", ".join(ignored)})
        table.done()


def _load_formats(inputs: Table) -> dict[str, tuple[str, ...]]:
    formats = {}
    for media_type in ("image", "audio", "video"):
        media = inputs.table(media_type)
        format_table = media.table("format")
        if allowed := format_table.texts("allowed"):
            formats[media_type] = tuple(word_of(name) for name in allowed)
        format_table.done()
        media.done()
    inputs.done()
    return formats
