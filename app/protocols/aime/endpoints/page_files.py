"""Load ``[STATIC]``, ``[HTML]`` and ``[JINJA]``: the files and folders that a configuration file publishes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.protocols.aime.endpoints import templates
from app.protocols.aime.endpoints.spec import Page
from app.protocols.aime.endpoints.tables import Table

#: Value of ``compile`` → what the original makes of the named file or folder.
_COMPILED = {"scss": "style sheets", "md": "a page"}


def load_pages(
    section: Table, template_folders: tuple[Path, ...] | None = None, context: Mapping[str, str] | None = None
) -> dict[str, Page]:
    """Return the pages of a section by their addresses, without slashes at the ends. A missing file is a warning.

    Args:
        section: the section.
        template_folders: where templates look for others besides their own folder; None: the files are no templates.
        context: what templates may show.

    Raises:
        BadSetting: names file, line and key.
    """
    pages = {}
    for address in section.names():
        entry = section.table(address)
        path = _path(section, entry)
        if template_folders is not None:
            entry.one_of("type", ("jinja2",), "jinja2")
        entry.done()
        is_there = path.is_file() or (path.is_dir() and template_folders is None)
        if not is_there:
            section.warn(address, f"there is no {'file' if path.suffix else 'file or folder'} {path}")
        elif template_folders is None:
            pages[address.strip("/")] = Page(path)
        else:
            folders = (path.parent, section.folder, *template_folders)
            page = Page(path, tuple(dict.fromkeys(folders)), context or {})
            try:
                templates.render(page)
            except Exception as exc:
                section.warn(address, f"the template cannot be shown: {type(exc).__name__}: {exc}")
            else:
                pages[address.strip("/")] = page
    return pages


def _path(section: Table, entry: Table) -> Path:
    """Return the file or folder of an entry, as the original has compiled it."""
    named = [entry.text(key) for key in ("path", "file")]
    compiled = entry.text("compiled_path")
    entry.any("css_file")
    kind = entry.text("compile", "None").lower()
    source = section.folder / next(filter(None, named), "")
    if kind in _COMPILED:
        source = section.folder / (compiled or source) / (f"{source.stem}.html" if kind == "md" else "")
    elif kind != "none":
        raise entry.bad("compile", f"must be one of None, {', '.join(_COMPILED)}")
    return source.resolve()
