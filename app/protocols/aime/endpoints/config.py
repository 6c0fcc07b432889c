"""The endpoints of a server: ``aime_api_endpoint.cfg`` files below ``ENDPOINTS_DIR``, checked when it starts."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from app.protocols.aime.endpoints.parameters import read_inputs, read_outputs, read_session_vars
from app.protocols.aime.endpoints.spec import Endpoint, Endpoints, OwnModel
from app.protocols.aime.endpoints.tables import Table
from jobs.callers import Caller, digest_of
from jobs.errors import BadSetting, InvalidRequest
from jobs.models.registry import ModelRegistry
from jobs.settings import PROJECT_ROOT, Settings

logger = logging.getLogger(__name__)

#: The examples that come along name a model that another models file need not have.
SHIPPED_DIR = PROJECT_ROOT / "endpoints"
ENDPOINT_FILE = "aime_api_endpoint.cfg"
SERVER_FILE = "aime_api_server.cfg"

#: First parts of paths that are the server's own.
RESERVED = frozenset(
    {"api", "v1", "docs", "openapi.json", "healthz", "readyz", "stream_progress", "metrics", "favicon.ico",
     "ws", "img", "health", "sdapi", "a1111", "internal",
     "worker_login", "worker_check_server_status", "worker_job_request", "worker_job_progress", "worker_job_result"}
)  # fmt: skip
#: Fields of a request that an endpoint's inputs may stand for.
FIELDS = (
    "prompt", "negative_prompt", "seed", "steps", "guidance_scale", "width", "height", "frames", "fps", "strength",
    "image", "mask", "num_images", "scheduler",
)  # fmt: skip
#: Inputs of known endpoints that mean a field by another name.
USUAL_FIELDS = {
    "num_inference_steps": "steps", "guidance": "guidance_scale", "cfg_scale": "guidance_scale", "num_frames": "frames",
    "denoise": "strength",
}  # fmt: skip
#: Sections of the server's file that say how that server itself runs; here the settings do.
_OTHERS = ("SERVER", "SANIC", "ADMIN", "OPENAI", "STATIC")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def read_endpoints(settings: Settings, models: ModelRegistry) -> Endpoints:
    """Read and check every file.

    Raises:
        BadSetting: names file, line and key.
    """
    folder = settings.paths.endpoints_dir
    server = folder / SERVER_FILE
    defaults, formats = _server(Table.from_file(server)) if server.is_file() else ({}, {})
    found: dict[str, Endpoint] = {}
    for path in sorted(folder.rglob(ENDPOINT_FILE)):
        table = Table.from_file(path)
        if folder == SHIPPED_DIR and _lacks_model(table, models):
            logger.warning("endpoint without its model is not served", extra={"file": str(path)})
            continue
        endpoint = _endpoint(table, defaults, models)
        if endpoint.name in found:
            raise BadSetting(f"{path}: ENDPOINT.name: another file has an endpoint {endpoint.name!r}")
        found[endpoint.name] = endpoint
    return Endpoints(found, formats)


def _lacks_model(table: Table, models: ModelRegistry) -> bool:
    own = table.values.get("MODEL")
    return isinstance(own, dict) and own.get("name") not in models.names()


def _server(table: Table) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[str, ...]]]:
    """The defaults by section, and the formats that are allowed at all."""
    defaults: dict[str, dict[str, Any]] = {}
    for plural, section in (("CLIENTS", "CLIENTS"), ("WORKERS", "WORKER"), ("ENDPOINTS", "ENDPOINT")):
        own = table.table(plural)
        for key in own.names():
            if not key.startswith("default_"):
                raise own.bad(key, "unknown key; keys here begin with default_")
            defaults.setdefault(section, {})[key.removeprefix("default_")] = own.any(key)
    inputs = table.table("INPUTS")
    formats = {}
    for kind in ("image", "audio", "video"):
        own = inputs.table(kind)
        form = own.table("format")
        if allowed := form.texts("allowed"):
            formats[kind] = tuple(one.lower() for one in allowed)
        form.done()
        own.done()
    inputs.done()
    ignored = [section for section in _OTHERS if table.any(section) is not None]
    if ignored:
        logger.info("sections without effect here", extra={"file": SERVER_FILE, "sections": ", ".join(ignored)})
    table.done()
    return defaults, formats


def _endpoint(table: Table, defaults: dict[str, dict[str, Any]], models: ModelRegistry) -> Endpoint:
    def section(name: str) -> Table:
        own = table.table(name)
        for key, value in defaults.get(name, {}).items():
            own.fill(key, value)
        return own

    head, worker, clients = section("ENDPOINT"), section("WORKER"), section("CLIENTS")
    name = head.text("name")
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise head.bad("name", "must be letters, digits, '.', '_' or '-', at most 64, and no path of the server")
    title = head.text("title", name)
    methods = tuple(one.upper() for one in head.texts("methods", ("GET", "POST")))
    if not methods or set(methods) - {"GET", "POST"}:
        raise head.bad("methods", "must be out of GET, POST")
    inputs = read_inputs(table.table("INPUTS"))
    job_type = worker.text("job_type")
    own = _own_model(table.table("MODEL"), inputs, models)
    if bool(job_type) == bool(own):
        raise worker.bad("job_type", "name either a job_type here, or a model of this server in [MODEL]")
    if job_type and not _NAME.fullmatch(job_type):
        raise worker.bad("job_type", "must be letters, digits, '.', '_' or '-', at most 64")
    key = worker.text("auth_key")
    request_timeout = float(worker.number("request_timeout", worker.number("job_timeout", 60), least=1))
    session, progress = table.table("SESSION"), table.table("PROGRESS")
    for name_ in ("authentication", "authentification", "authorization"):
        clients.any(name_)  # of older files; keys say it now
    endpoint = Endpoint(
        name=name,
        title=title,
        description=head.text("description", title),
        methods=methods,
        version=head.whole("version"),
        category=head.text("category", None),
        demo_url=head.text("demo_url", None),
        input_metering=head.texts("input_metering"),
        output_metering=head.texts("output_metering"),
        max_queue_length=head.whole("max_queue_length", 1000),
        max_time_in_queue=float(head.number("max_time_in_queue", 3600)),
        job_inactivity_timeout=float(head.number("job_inactivity_timeout", 360, least=1)),
        result_lifetime=float(head.number("result_lifetime", 900, least=1)),
        job_type=job_type,
        worker_key=digest_of(key) if key else "",
        request_timeout=request_timeout,
        client_keys=_client_keys(clients),
        worker_meta=clients.flag("provide_worker_meta_data", True),
        request_limit=clients.whole("client_request_limit", 0),
        inputs=inputs,
        outputs=read_outputs(table.table("OUTPUTS")),
        progress_outputs=read_outputs(progress.table("OUTPUTS")),
        session_vars=read_session_vars(session.table("VARS")),
        own=own,
        pages=_pages(table, head.bad),
    )
    for one in (head, worker, clients, session, progress, table):
        one.done()
    return endpoint


def _client_keys(clients: Table) -> dict[str, str]:
    keys = clients.take("authorization_keys", dict, "must be a table of user = key", {})
    for user, key in keys.items():
        try:
            Caller(key_id=user).check()
        except InvalidRequest as exc:
            raise clients.bad("authorization_keys", f"user {user!r}: {exc.problems[0].rule}") from exc
        if not isinstance(key, str) or not key:
            raise clients.bad("authorization_keys", f"the key of {user!r} must be a text")
    return dict(keys)


def _own_model(table: Table, inputs: Any, models: ModelRegistry) -> OwnModel | None:
    if not table:
        return None
    name, kind, mapped = table.text("name"), table.text("kind", None), table.table("fields")
    if name not in models.names():
        raise table.bad("name", f"there is no such model; known: {', '.join(models.names()) or 'none'}")
    kinds = [str(one) for one in models.get(name).kinds]
    if kind is not None and kind not in kinds:
        raise table.bad("kind", f"the model offers {', '.join(kinds)}")
    fields: dict[str, str] = {}
    for own in inputs:
        fields[own] = mapped.text(own, USUAL_FIELDS.get(own, own))
        if fields[own] not in FIELDS:
            raise mapped.bad(own, f"input {own} must stand for one of {', '.join(FIELDS)}, not {fields[own]}")
    mapped.done()
    table.done()
    return OwnModel(name, kind, fields)


def _pages(table: Table, bad: Any) -> dict[str, tuple[Path, bool]]:
    """``[STATIC]`` and ``[JINJA]``: files served beside the endpoint, by address."""
    pages = {}
    for section in ("STATIC", "JINJA"):
        listed = table.table(section)
        for slug in listed.names():
            own = listed.table(slug)
            path = listed.folder / own.text("file", own.text("path", ""))
            own.any("type")
            if own.any("compile") is not None:
                raise own.bad("compile", "is not done here: name the compiled file")
            if not path.is_file():
                raise own.bad("file", f"there is no file {path}")
            own.done()
            pages[slug.strip("/")] = (path, section == "JINJA")
    return pages
