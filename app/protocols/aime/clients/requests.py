"""Turn the inputs of a request into a job that is ready to be accepted."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from flask import g, request

from app import submit as submitting
from app.access import auth
from app.attachments import Pictures
from app.extensions import objects, settings, store
from app.protocols.aime.clients.access import Client
from app.protocols.aime.endpoints.served import endpoints
from app.protocols.aime.endpoints.spec import Endpoint, LocalModel
from app.protocols.aime.inputs.checking import CheckedInputs, check_inputs
from app.protocols.aime.inputs.media import data_uri, store_media
from app.submit import Prepared
from jobs.record import Job, new_job_id
from jobs.requests.custom import EndpointRequest
from jobs.store.client_state import SessionVariables
from jobs.submission import Submission

#: Cookie of a browser session, whose variables are sent to the worker with each job and updated by its result.
COOKIE = "session"


def prepare(endpoint: Endpoint, fields: Mapping[str, Any], client: Client, *, as_text: bool) -> Prepared:
    """Check a request and store its files.

    Raises:
        BadInputs, InvalidRequest: names every problem; nothing was stored.
        Forbidden, Unavailable: as in :func:`app.submit.prepare`.
    """
    g.caller = client.caller
    checked = check_inputs(endpoint, endpoints(), fields, settings(), as_text=as_text)
    queueing: dict[str, Any] = {"protocol": endpoint.protocol, "model_max_waiting": endpoint.max_queue_length}
    if endpoint.local_model:
        return _prepare_local(endpoint, endpoint.local_model, checked, queueing)
    auth.check_model(endpoint.model)
    job_request = EndpointRequest.of(
        model=endpoint.model,
        endpoint=endpoint.name,
        params={**_session_variables(endpoint), **checked.params},
        media=store_media(checked.media, objects(), store()),
    )
    submission = Submission(
        request=job_request,
        caller=client.caller,
        start_within_s=endpoint.max_time_in_queue,
        max_silence_s=endpoint.job_inactivity_timeout,
        **queueing,
    )
    return Prepared(submission, new_job_id(), False)


def _prepare_local(
    endpoint: Endpoint, model: LocalModel, checked: CheckedInputs, queueing: dict[str, Any]
) -> Prepared:  # fmt: skip
    values: dict[str, Any] = {model.fields[name]: value for name, value in checked.params.items()}
    pictures = Pictures()
    for name, media in checked.media.items():
        pictures.add(values, model.fields[name], data_uri(*media))
    values |= {"model": model.name, "kind": model.kind, "start_within_s": endpoint.max_time_in_queue}
    return submitting.prepare(values, pictures, [], **queueing)


def _session_variables(endpoint: Endpoint) -> dict[str, Any]:
    """Return the variables of the browser's session, with the initial values of those that are not set."""
    if not endpoint.session_vars:
        return {}
    cookie = request.cookies.get(COOKIE)
    stored = SessionVariables(store(), cookie).read() if cookie else {}
    initial = {name: spec.default for name, spec in endpoint.session_vars.items() if spec.default is not None}
    return initial | {name: stored[name] for name in endpoint.session_vars if name in stored}


def update_session(endpoint: Endpoint, job: Job) -> str | None:
    """Store the session variables that the worker returned; return a new cookie for a browser without one."""
    if not endpoint.session_vars:
        return None
    cookie = request.cookies.get(COOKIE)
    new_cookie = None if cookie else secrets.token_urlsafe(24)
    if variables := job.result.get("_session"):
        SessionVariables(store(), cookie or str(new_cookie)).update(variables, job.job_id, endpoint.result_lifetime)
    return new_cookie
