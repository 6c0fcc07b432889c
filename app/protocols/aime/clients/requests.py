"""From the inputs of a request to an accepted job."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from flask import g, request

from app import auth, submit
from app.attachments import UNSTORED, Pictures
from app.extensions import objects, settings, store
from app.protocols.aime.clients.access import Client
from app.protocols.aime.endpoints.served import endpoints
from app.protocols.aime.endpoints.spec import Endpoint
from app.protocols.aime.inputs.checking import Checked, check_inputs, data_uri, keep
from app.submit import Prepared
from jobs.record import Job, new_job_id
from jobs.requests.custom import EndpointRequest
from jobs.store.client_state import SessionVariables
from jobs.submission import Submission

#: A browser's session: what it holds goes to the worker with each job, and comes back changed.
COOKIE = "session"


def prepare(endpoint: Endpoint, sent: Mapping[str, Any], client: Client, *, as_text: bool) -> Prepared:
    """Check a request, and store its files.

    Raises:
        BadInputs, InvalidRequest: with every problem; nothing was stored.
        Forbidden, Unavailable.
    """
    checked = check_inputs(endpoint, endpoints(), sent, settings(), as_text=as_text)
    g.caller = client.caller
    queueing: dict[str, Any] = {
        "protocol": endpoint.protocol,
        "model_max_waiting": endpoint.max_queue_length,
    }
    if endpoint.own:
        return _of_own(endpoint, checked, queueing)
    auth.check_model(endpoint.model)
    media = keep(checked, objects(), store())
    wanted = EndpointRequest.of(
        model=endpoint.model,
        endpoint=endpoint.name,
        params={**_session_values(endpoint), **checked.params},
        media=media,
    )
    submission = Submission(
        request=wanted,
        caller=client.caller,
        start_within_s=endpoint.max_time_in_queue,
        max_silence_s=endpoint.job_inactivity_timeout,
        **queueing,
    )
    return Prepared(submission, new_job_id(), False)


def _of_own(endpoint: Endpoint, checked: Checked, queueing: dict[str, Any]) -> Prepared:
    assert endpoint.own is not None
    values: dict[str, Any] = {endpoint.own.fields[name]: value for name, value in checked.params.items()}
    seed = values.get("seed")
    if isinstance(seed, int) and seed < 0:
        del values["seed"]  # these clients mean "any" by it
    pictures = Pictures({endpoint.own.fields[name]: data_uri(*sent) for name, sent in checked.media.items()})
    values |= {"model": endpoint.own.model, "kind": endpoint.own.kind, "start_within_s": endpoint.max_time_in_queue}
    values |= dict.fromkeys(pictures.contents, UNSTORED)
    return submit.prepare(values, pictures, [], **queueing)


def _session_values(endpoint: Endpoint) -> dict[str, Any]:
    """What the browser's session holds, or begins with."""
    if not endpoint.session_vars:
        return {}
    cookie = request.cookies.get(COOKIE)
    kept = SessionVariables(store(), cookie).read() if cookie else {}
    values = {name: one.default for name, one in endpoint.session_vars.items() if one.default is not None}
    return values | {name: kept[name] for name in endpoint.session_vars if name in kept}


def keep_session(endpoint: Endpoint, job: Job) -> str | None:
    """Keep what the worker gave back for the browser's session. Returns a new cookie for one that has none."""
    if not endpoint.session_vars:
        return None
    cookie = request.cookies.get(COOKIE)
    returned = job.result.get("_session", {})
    if cookie and returned:
        SessionVariables(store(), cookie).update(returned)
    return None if cookie else secrets.token_urlsafe(24)
