"""The fields of a client's request. A key in the header or the query is checked before the body is read."""

from __future__ import annotations

from typing import Any

from flask import request

from app.access import auth
from app.bodies.body_stream import Digest
from app.bodies.fields_body import read_fields
from app.bodies.form_body import URLENCODED
from app.extensions import settings
from app.fields import query_of
from app.protocols.aime.clients.access import authenticate
from app.protocols.aime.endpoints.served import endpoints
from app.protocols.aime.endpoints.spec import Endpoint
from app.protocols.aime.inputs.checking import BadInputs

#: Fields by which callers are known.
CREDENTIALS = ("key", "client_session_auth_key")


def request_fields(endpoint: Endpoint, digest: Digest | None = None) -> tuple[dict[str, Any], bool]:
    """Return the fields of the current request, and whether all of them are texts.

    Credentials of the query count unless the body has its own. ``digest`` is updated with the bytes of the body.

    Raises:
        AccessDenied: the key of the header or the query is wrong; the body was not read.
        BadInputs, MalformedBody: the body is not a JSON object or a form.
    """
    query = query_of(request)
    presented = {name: query[name] for name in CREDENTIALS if query.get(name)}
    if presented or auth.secret():
        authenticate(endpoints(), endpoint, presented, request.remote_addr or "")
    if request.method == "GET" and request.mimetype != URLENCODED:
        return query, True
    body, is_form = read_fields(request, settings().web.body_limits, digest)
    if is_form:
        return {**query, **body}, True
    wrong = [name for name in CREDENTIALS if not isinstance(body.get(name, ""), str | None)]
    if wrong:
        raise BadInputs([f"{name}: must be a string" for name in wrong])
    return {**presented, **body}, False
