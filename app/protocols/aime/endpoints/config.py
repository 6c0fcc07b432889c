"""Load the endpoints of a server: the ``aime_api_endpoint.cfg`` files below ``ENDPOINTS_DIR``, checked at startup."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.protocols.aime.endpoints.endpoint_file import ROUTES, load_endpoint
from app.protocols.aime.endpoints.own_paths import OwnPaths
from app.protocols.aime.endpoints.page_files import load_pages
from app.protocols.aime.endpoints.server_file import SERVER_FILE, ServerFile
from app.protocols.aime.endpoints.spec import Endpoint, Endpoints, Page
from app.protocols.aime.endpoints.tables import Table
from jobs.errors import BadSetting
from jobs.models.registry import ModelRegistry
from jobs.settings import PROJECT_ROOT, Settings

logger = logging.getLogger(__name__)

#: The shipped examples name a model that a custom models file may not have.
SHIPPED_DIR = PROJECT_ROOT / "endpoints"
ENDPOINT_FILE = "aime_api_endpoint.cfg"
#: Folder of templates that those of all endpoints extend.
TEMPLATES_DIR = "templates"


def load_endpoints(settings: Settings, models: ModelRegistry, own: OwnPaths | None = None) -> Endpoints:
    """Load and check every file. An error in one takes its own endpoint away, and is logged.

    Args:
        settings: name the folder.
        models: the models that endpoints may name.
        own: the paths of the server's own routes, which belong to no endpoint. None: there are none.

    Raises:
        BadSetting: the file of the server has an error: its keys protect all endpoints.
    """
    own = own or OwnPaths()
    folder = settings.paths.endpoints_dir
    folders = (folder, folder.parent)  # the original has its file and its templates above its endpoints
    server = next((ServerFile(above / SERVER_FILE) for above in folders if (above / SERVER_FILE).is_file()), None)
    server = server or ServerFile()
    templates = tuple(above / TEMPLATES_DIR for above in folders)
    by_name: dict[str, Endpoint] = {}
    pages = dict(server.pages)
    broken: dict[str, str] = {}
    for path in sorted(folder.rglob(ENDPOINT_FILE)):
        name = ""
        try:
            table = Table.from_file(path)
            name = _name_in(table)
            if folder == SHIPPED_DIR and _lacks_model(table, models):
                logger.warning("endpoint is not served: its model is not configured", extra={"file": str(path)})
                continue
            if name in by_name:
                raise BadSetting(f"{path}: [ENDPOINT] name: another file has an endpoint {name!r}")
            endpoint = load_endpoint(table, server, models, own)
            own_pages = _load_pages(table, endpoint, templates)
            table.done()
        except BadSetting as exc:
            logger.error("an endpoint is not served: %s", exc)
            broken[name] = str(exc)
        else:
            by_name[name] = endpoint
            pages |= own_pages
    free = dict(_free_pages(pages, by_name, own))
    return Endpoints(by_name, server.formats, free, {name: broken[name] for name in broken if name not in by_name})


def _name_in(table: Table) -> str:
    head = table.values.get("ENDPOINT")
    return str(head.get("name", "")) if isinstance(head, dict) else ""


def _lacks_model(table: Table, models: ModelRegistry) -> bool:
    model = table.values.get("MODEL")
    return isinstance(model, dict) and model.get("name") not in models.names()


def _load_pages(table: Table, endpoint: Endpoint, templates: tuple[Path, ...]) -> dict[str, Page]:
    context = {
        "endpoint_title": endpoint.title,
        "endpoint_name": endpoint.name,
        "endpoint_demo_url": (endpoint.demo_url or endpoint.name).strip("/"),
    }
    return {
        **load_pages(table.table("STATIC")),
        **load_pages(table.table("HTML")),
        **load_pages(table.table("JINJA"), templates, context),
    }


def _free_pages(
    pages: Mapping[str, Page], by_name: Mapping[str, Endpoint], own: OwnPaths
) -> Iterator[tuple[str, Page]]:
    """Yield the pages whose addresses belong to no route of the server or of an endpoint.

    A folder is served where it does not meet a route.
    """
    for address, page in pages.items():
        name, _, rest = address.partition("/")
        is_taken = own.has(address) or (name in by_name and rest in ROUTES)
        if not address or (is_taken and page.path.is_file()):
            logger.warning("a page is not served: its address belongs to this server", extra={"address": f"/{address}"})
        else:
            yield address, page
