"""Load the endpoints of a server: the ``aime_api_endpoint.cfg`` files below ``ENDPOINTS_DIR``, checked at startup."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.protocols.aime.endpoints.parameters import load_inputs, load_outputs
from app.protocols.aime.endpoints.spec import Endpoint, Endpoints, Input, LocalModel
from app.protocols.aime.endpoints.tables import Table
from jobs.callers import Caller, digest_of
from jobs.errors import BadSetting, InvalidRequest
from jobs.models.registry import ModelRegistry
from jobs.settings import PROJECT_ROOT, Settings
from jobs.suggestions import did_you_mean

logger = logging.getLogger(__name__)

#: The shipped examples name a model that a custom models file may not have.
SHIPPED_DIR = PROJECT_ROOT / "endpoints"
ENDPOINT_FILE = "aime_api_endpoint.cfg"
SERVER_FILE = "aime_api_server.cfg"

#: First parts of the paths that other routes of the server use.
RESERVED = frozenset(
    {"api", "v1", "docs", "openapi.json", "healthz", "readyz", "stream_progress", "metrics", "favicon.ico",
     "ws", "img", "health", "sdapi", "a1111", "internal",
     "worker_login", "worker_check_server_status", "worker_job_request", "worker_job_progress", "worker_job_result"}
)  # fmt: skip
#: Fields of a generation request that an input can set.
FIELDS = (
    "prompt", "negative_prompt", "seed", "steps", "guidance_scale", "width", "height", "frames", "fps", "strength",
    "image", "mask", "num_images", "scheduler",
)  # fmt: skip
#: Input names of widespread endpoints → the field that they set.
COMMON_FIELDS = {
    "num_inference_steps": "steps", "guidance": "guidance_scale", "cfg_scale": "guidance_scale", "num_frames": "frames",
    "denoise": "strength",
}  # fmt: skip
#: Sections of the server's file that configure the AIME server itself; this server has its own settings for them.
_IGNORED_SECTIONS = ("SERVER", "SANIC", "ADMIN", "OPENAI", "STATIC")
#: Keys of older files; the keys themselves decide now whether authentication is needed.
_OLD_CLIENT_KEYS = ("authentication", "authentification", "authorization")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

#: Section of an endpoint's file → key → default value.
Defaults = dict[str, dict[str, Any]]


def load_endpoints(settings: Settings, models: ModelRegistry) -> Endpoints:
    """Load and check every file.

    Raises:
        BadSetting: names the file, line and key.
    """
    folder = settings.paths.endpoints_dir
    server = folder / SERVER_FILE
    defaults, formats = _load_server(Table.from_file(server)) if server.is_file() else ({}, {})
    endpoints: dict[str, Endpoint] = {}
    for path in sorted(folder.rglob(ENDPOINT_FILE)):
        table = Table.from_file(path)
        if folder == SHIPPED_DIR and _lacks_model(table, models):
            logger.warning("endpoint is not served: its model is not configured", extra={"file": str(path)})
            continue
        endpoint = _load_endpoint(table, defaults, models)
        if endpoint.name in endpoints:
            raise BadSetting(f"{path}: ENDPOINT.name: another file has an endpoint {endpoint.name!r}")
        endpoints[endpoint.name] = endpoint
    return Endpoints(endpoints, formats)


def _lacks_model(table: Table, models: ModelRegistry) -> bool:
    model = table.values.get("MODEL")
    return isinstance(model, dict) and model.get("name") not in models.names()


def _load_server(table: Table) -> tuple[Defaults, dict[str, tuple[str, ...]]]:
    """Return the defaults of endpoints, and the formats that the server accepts by media type."""
    defaults: Defaults = {}
    for plural, section in (("CLIENTS", "CLIENTS"), ("WORKERS", "WORKER"), ("ENDPOINTS", "ENDPOINT")):
        values = table.table(plural)
        for key in values.names():
            if not key.startswith("default_"):
                raise values.bad(key, "unknown key; keys here begin with default_")
            defaults.setdefault(section, {})[key.removeprefix("default_")] = values.any(key)
    formats = _load_formats(table.table("INPUTS"))
    ignored = [section for section in _IGNORED_SECTIONS if table.any(section) is not None]
    if ignored:
        logger.info("sections are ignored", extra={"file": SERVER_FILE, "sections": ", ".join(ignored)})
    table.done()
    return defaults, formats


def _load_formats(inputs: Table) -> dict[str, tuple[str, ...]]:
    formats = {}
    for media_type in ("image", "audio", "video"):
        media = inputs.table(media_type)
        format_table = media.table("format")
        if allowed := format_table.texts("allowed"):
            formats[media_type] = tuple(name.lower() for name in allowed)
        format_table.done()
        media.done()
    inputs.done()
    return formats


def _load_endpoint(table: Table, defaults: Defaults, models: ModelRegistry) -> Endpoint:
    head, worker, clients = (_section(table, name, defaults) for name in ("ENDPOINT", "WORKER", "CLIENTS"))
    session, progress = table.table("SESSION"), table.table("PROGRESS")
    inputs = load_inputs(table.table("INPUTS"))
    local_model = _load_local_model(table.table("MODEL"), inputs, models)
    endpoint = Endpoint(
        **_head_values(head),
        **_worker_values(worker, local_model),
        **_client_values(clients),
        inputs=inputs,
        outputs=load_outputs(table.table("OUTPUTS")),
        progress_outputs=load_outputs(progress.table("OUTPUTS")),
        session_vars=load_inputs(session.table("VARS"), implicit=False),
        local_model=local_model,
        pages=_load_pages(table),
    )
    for section in (head, worker, clients, session, progress, table):
        section.done()
    return endpoint


def _section(table: Table, name: str, defaults: Defaults) -> Table:
    section = table.table(name)
    for key, value in defaults.get(name, {}).items():
        section.fill(key, value)
    return section


def _head_values(head: Table) -> dict[str, Any]:
    name = head.text("name")
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise head.bad("name", "must be letters, digits, '.', '_' or '-', at most 64, and no path of the server")
    methods = tuple(method.upper() for method in head.texts("methods", ("GET", "POST")))
    if not methods or set(methods) - {"GET", "POST"}:
        raise head.bad("methods", "must be out of GET, POST")
    title = head.text("title", name)
    return {
        "name": name,
        "title": title,
        "description": head.text("description", title),
        "methods": methods,
        "version": head.whole("version"),
        "category": head.text("category", None),
        "demo_url": head.text("demo_url", None),
        "input_metering": head.texts("input_metering"),
        "output_metering": head.texts("output_metering"),
        "max_queue_length": head.whole("max_queue_length", 1000),
        "max_time_in_queue": float(head.number("max_time_in_queue", 3600)),
        "job_inactivity_timeout": float(head.number("job_inactivity_timeout", 360, least=1)),
        "result_lifetime": float(head.number("result_lifetime", 900, least=1)),
    }


def _worker_values(worker: Table, local_model: LocalModel | None) -> dict[str, Any]:
    job_type, key = worker.text("job_type"), worker.text("auth_key")
    if bool(job_type) == bool(local_model):
        raise worker.bad("job_type", "name either a job_type here, or a model of this server in [MODEL]")
    if job_type and not _NAME.fullmatch(job_type):
        raise worker.bad("job_type", "must be letters, digits, '.', '_' or '-', at most 64")
    return {
        "job_type": job_type,
        "worker_key": digest_of(key) if key else "",
        "request_timeout": float(worker.number("request_timeout", worker.number("job_timeout", 60), least=1)),
    }


def _client_values(clients: Table) -> dict[str, Any]:
    for name in _OLD_CLIENT_KEYS:
        clients.any(name)
    keys = clients.take("authorization_keys", dict, "must be a table of user = key", {})
    for user, key in keys.items():
        try:
            Caller(key_id=user).check()
        except InvalidRequest as exc:
            raise clients.bad("authorization_keys", f"user {user!r}: {exc.problems[0].rule}") from exc
        if not isinstance(key, str) or not key:
            raise clients.bad("authorization_keys", f"the key of {user!r} must be a text")
    return {
        "client_keys": dict(keys),
        "worker_meta": clients.flag("provide_worker_meta_data", True),
        "request_limit": clients.whole("client_request_limit", 0),
    }


def _load_local_model(table: Table, inputs: Mapping[str, Input], models: ModelRegistry) -> LocalModel | None:
    if not table:
        return None
    name, kind, field_names = table.text("name"), table.text("kind", None), table.table("fields")
    if name not in models.names():
        hint, known = did_you_mean(name, models.names()), ", ".join(models.names()) or "none"
        raise table.bad("name", f"there is no such model{hint or ';'} known: {known}")
    kinds = [str(offered) for offered in models.get(name).kinds]
    if kind is not None and kind not in kinds:
        raise table.bad("kind", f"the model offers {', '.join(kinds)}")
    fields: dict[str, str] = {}
    for input_name in inputs:
        fields[input_name] = field_names.text(input_name, COMMON_FIELDS.get(input_name, input_name))
        if fields[input_name] not in FIELDS:
            rule = f"input {input_name} must stand for one of {', '.join(FIELDS)}, not {fields[input_name]}"
            raise field_names.bad(input_name, rule)
    field_names.done()
    table.done()
    return LocalModel(name, kind, fields)


def _load_pages(table: Table) -> dict[str, tuple[Path, bool]]:
    """Return the files of ``[STATIC]`` and ``[JINJA]``, which are served below the endpoint, by URL path."""
    pages = {}
    for section in ("STATIC", "JINJA"):
        listed = table.table(section)
        for slug in listed.names():
            page = listed.table(slug)
            path = listed.folder / page.text("file", page.text("path", ""))
            page.any("type")
            if page.any("compile") is not None:
                raise page.bad("compile", "is not supported: name the compiled file")
            if not path.is_file():
                raise page.bad("file", f"there is no file {path}")
            page.done()
            pages[slug.strip("/")] = (path, section == "JINJA")
    return pages
