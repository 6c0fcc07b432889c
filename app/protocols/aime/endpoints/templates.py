"""Render templates of configuration files. They extend others of their own folder, and of the folders of templates."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from jinja2 import FileSystemLoader
from jinja2.sandbox import SandboxedEnvironment

from app.protocols.aime.endpoints.spec import Page


def render(page: Page) -> str:
    """Return the text of a template, as its files are now. Raises: TemplateError."""
    return _environment(page.template_folders).get_template(page.path.name).render(page.context)


@lru_cache(maxsize=256)
def _environment(folders: tuple[Path, ...]) -> SandboxedEnvironment:
    """Return what looks templates up in these folders; it keeps those that have not changed."""
    return SandboxedEnvironment(loader=FileSystemLoader(folders), autoescape=True)
