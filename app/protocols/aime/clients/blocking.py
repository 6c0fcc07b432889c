"""Requests that wait for their result, also across a repeat of a client whose connection was lost."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from flask import Response, jsonify, make_response, request

from app import waiting
from app.access import addresses
from app.bodies.body_stream import Digest
from app.extensions import objects, store
from app.held import ClientDisconnected, HeldConnection, exists, hold, unread_response
from app.protocols.aime.clients import requests, views
from app.protocols.aime.clients.access import Client, counted_request
from app.protocols.aime.clients.results import final_result
from app.protocols.aime.clients.states import STATES, reason_of
from app.protocols.aime.clients.stored_files import JsonBody
from app.protocols.aime.endpoints.spec import Endpoint
from app.submit import accept
from jobs.record import Job, new_job_id
from jobs.states import JobState
from jobs.store.client_state import SESSION_TTL_S
from jobs.store.held_requests import HeldRequest, HeldRequests, new_holder

#: A lost request may be repeated for this long, seconds. An equal request after that is another one.
REPEAT_S = 60.0


class Hash(Digest, Protocol):
    """A hash of :mod:`hashlib`."""

    def hexdigest(self) -> str: ...


def respond(endpoint: Endpoint, fields: Mapping[str, Any], client: Client, digest: Hash, *, as_text: bool) -> Response:
    """Return the response to the current request when its job has finished.

    Args:
        endpoint: the endpoint.
        fields: the fields of the request.
        client: its sender.
        digest: hash of its body.
        as_text: whether all fields are texts.

    Raises:
        BadInputs, FramemillError: it was not accepted, or its result cannot be read.
    """
    # Apart from the requests of other protocols, which show and stop those of a key.
    held_requests = HeldRequests(store(), f"{endpoint.protocol} {client.counter}", REPEAT_S)
    try:
        connection = hold(held_requests, lambda: _new_request(held_requests), _digest(endpoint, digest))
        with connection.let_go_on_error():
            job = _finished_job(connection, endpoint, fields, client, as_text=as_text)
            return _response(connection, endpoint, job)
    except ClientDisconnected:
        return unread_response()


def _digest(endpoint: Endpoint, digest: Hash) -> str:
    """Return the digest of all that makes two requests equal."""
    cookie = request.cookies.get(requests.COOKIE, "") if endpoint.session_vars else ""
    for part in (request.method.encode(), request.query_string, cookie.encode()):
        digest.update(b"\n" + part)
    return digest.hexdigest()


def _new_request(held_requests: HeldRequests) -> HeldRequest:
    return HeldRequest(held_requests.key_id, secrets.token_hex(8), (new_job_id(),), 0, new_holder())


def _finished_job(
    connection: HeldConnection, endpoint: Endpoint, fields: Mapping[str, Any], client: Client, *, as_text: bool
) -> Job:  # fmt: skip
    """Submit the job unless it exists, and return it when it has finished. Raises: ClientDisconnected."""
    job_ids = connection.request.job_ids
    if connection.request.is_repeat and exists(connection.request):
        return connection.wait(job_ids)[0]
    prepared = replace(requests.prepare(endpoint, fields, client, as_text=as_text), job_id=job_ids[0])
    with waiting.listening(prepared.job_id) as listener:  # before the job is accepted: it need not be read again
        connection.check()
        with counted_request(endpoint, client):
            job = accept(prepared).job
        if job.job_id == prepared.job_id:
            return connection.wait_for(job, listener)
    return connection.wait((job.job_id,))[0]  # an Idempotency-Key names another job


def _response(connection: HeldConnection, endpoint: Endpoint, job: Job) -> Response:
    """Return the result of a job. Raises: NotFound, Unavailable."""
    if job.state is not JobState.SUCCEEDED:
        connection.discard()
        error, status = views.ended(endpoint, job, reason_of(job), state=STATES[job.state])
        return make_response(jsonify(error), status)
    body = JsonBody(final_result(endpoint, job, objects()), objects())
    content = connection.deliver(body.parts(), body.size_bytes)
    response = with_cookie(Response(content, mimetype="application/json"), endpoint, job)
    response.content_length = body.size_bytes
    return response


def with_cookie(response: Response, endpoint: Endpoint, job: Job) -> Response:
    """Store the session variables of a job's result; a browser without a cookie gets one."""
    cookie = requests.update_session(endpoint, job)
    if cookie:
        path = f"{addresses.prefix()}/"
        response.set_cookie(requests.COOKIE, cookie, max_age=SESSION_TTL_S, path=path, httponly=True, samesite="Lax")
    return response
