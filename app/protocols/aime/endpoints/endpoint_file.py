"""Load one endpoint from its file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.protocols.aime.endpoints.own_paths import OwnPaths
from app.protocols.aime.endpoints.parameters import load_inputs, load_outputs
from app.protocols.aime.endpoints.server_file import ServerFile
from app.protocols.aime.endpoints.spec import Endpoint, Input, LocalModel
from app.protocols.aime.endpoints.tables import Table
from jobs.callers import Caller, digest_of
from jobs.errors import InvalidRequest
from jobs.models.registry import ModelRegistry
from jobs.suggestions import did_you_mean

#: Fields of a generation request that an input can set.
FIELDS = (
    "prompt", "negative_prompt", "seed", "steps", "guidance_scale", "width", "height", "frames", "fps", "strength",
    "image", "images", "mask", "last_image", "video", "audio", "num_images", "scheduler",
)  # fmt: skip
#: Input names of widespread endpoints → the field that they set.
COMMON_FIELDS = {
    "num_inference_steps": "steps", "guidance": "guidance_scale", "cfg_scale": "guidance_scale", "num_frames": "frames",
    "denoise": "strength",
}  # fmt: skip
#: Sections and keys without meaning here. The keys of older files say how clients authenticate: keys themselves decide.
_IGNORED_SECTIONS = ("USER",)
_OLD_CLIENT_KEYS = ("authentication", "authentification", "authorization")
#: Keys that were in ``[CLIENTS]`` before they moved to ``[ENDPOINT]``, with their defaults.
_LIFETIMES = {"max_time_in_queue": 3600, "job_inactivity_timeout": 360, "result_lifetime": 900}
#: What follows the name of an endpoint in the paths of its routes.
ROUTES = ("", "progress", "cancel", "login", "client_login", "demo")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def load_endpoint(table: Table, server: ServerFile, models: ModelRegistry, own: OwnPaths) -> Endpoint:
    """Return the endpoint of a file; the sections of its pages are left over. Raises: BadSetting."""
    for name in _IGNORED_SECTIONS:
        table.any(name)
    head, worker, clients = (server.fill(name, table.table(name)) for name in ("ENDPOINT", "WORKER", "CLIENTS"))
    session, progress = table.table("SESSION"), table.table("PROGRESS")
    inputs = load_inputs(table.table("INPUTS"))
    local_model = _load_local_model(table.table("MODEL"), inputs, models)
    endpoint = Endpoint(
        **_head_values(head, clients, own),
        **_worker_values(worker, local_model),
        **_client_values(clients, head),
        inputs=inputs,
        outputs=load_outputs(table.table("OUTPUTS")),
        progress_outputs=load_outputs(progress.table("OUTPUTS")),
        session_vars=load_inputs(session.table("VARS"), implicit=False),
        local_model=local_model,
    )
    for section in (head, worker, clients, session, progress):
        section.done()
    return endpoint


def _head_values(head: Table, clients: Table, own: OwnPaths) -> dict[str, Any]:
    name = head.text("name")
    if not _NAME.fullmatch(name):
        raise head.bad("name", "must be letters, digits, '.', '_' or '-', at most 64")
    if any(own.has(f"{name}/{route}".rstrip("/")) for route in ROUTES):
        raise head.bad("name", f"is a path of this server, as are: {', '.join(own.names(ROUTES))}")
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
        **_lifetimes(head, clients),
    }


def _lifetimes(head: Table, clients: Table) -> dict[str, float]:
    """Return the times in seconds, which older files have in ``[CLIENTS]``."""
    lifetimes = {}
    for key, default in _LIFETIMES.items():
        old, new = (table.number(key, least=0 if key == "max_time_in_queue" else 1) for table in (clients, head))
        written = [value for table, value in ((head, new), (clients, old)) if key in table.values]
        lifetimes[key] = float(next((value for value in (*written, new, old) if value is not None), default))
    return lifetimes


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


def _client_values(clients: Table, head: Table) -> dict[str, Any]:
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
        # The example of the original has it in [ENDPOINT] as well.
        "worker_meta": clients.flag("provide_worker_meta_data", head.flag("provide_worker_meta_data")),
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
