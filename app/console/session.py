"""``/v1/session``: log in with a key, so that the browser's own requests (pictures, events) need none; log out."""

from __future__ import annotations

from importlib.metadata import version

from flask import Response, jsonify, request
from marshmallow import INCLUDE, Schema, fields

from app.access import auth, sessions
from app.fields import Text, body_of, load
from app.openapi.answers import Answer, doc, texts
from app.openapi.blueprint import OF_PAGES, OF_REDIS, Blueprint
from jobs.callers import Caller, Role
from jobs.errors import Forbidden, InvalidRequest, Problem, Unauthorized
from jobs.settings import CLASSES

blueprint = Blueprint(
    "session", __name__, url_prefix="/v1/session", tag="Framemill: console", security=(),
    common={**OF_PAGES, **OF_REDIS},
)  # fmt: skip

#: Paths without which the console shows nothing.
NEEDED = ("/v1/jobs", "/v1/models", "/v1/queue", "/v1/fleet", "/v1/events")


class LoginSchema(Schema):
    """A key."""

    key = Text(required=True, metadata={"description": "An API key."})


class CallerAnswer(Answer):
    """Who is logged in."""

    service = fields.String(**doc("Name of the key's owner; `-` on a server without keys."))
    role = fields.String(**doc(enum=[*Role]))
    job_class = fields.String(**doc(enum=[*CLASSES]), data_key="class")
    models = texts("Models that the key may use; empty: all.")


class SessionAnswer(Answer):
    """The session of a browser."""

    has_keys = fields.Boolean(**doc("Whether the server has keys; without them nobody needs to log in."))
    caller = fields.Nested(CallerAnswer, **doc("Null: nobody is logged in.", null=True))
    version = fields.String(**doc("Version of the server."))


_LOGIN = LoginSchema(unknown=INCLUDE)


def _view(caller: Caller | None) -> Response:
    shown = None
    if caller:
        shown = {
            "service": caller.key_id, "role": caller.role, "class": caller.job_class, "models": list(caller.models),
        }  # fmt: skip
    return jsonify({"has_keys": not auth.is_open(), "caller": shown, "version": version("framemill")})


@blueprint.route("", methods=["GET"])
@blueprint.response(200, SessionAnswer, description="Who is logged in. A session older than a day is renewed.")
def get_session() -> Response:
    """Show the session of this browser."""
    try:
        caller = auth.identify(None) if auth.is_open() else sessions.caller_of_session()
    except Unauthorized:
        caller = None
    response = _view(caller)
    if caller and not auth.is_open():
        sessions.renew(response)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.route("", methods=["POST"])
@blueprint.body(LoginSchema, {"key": "fm_a-key-of-this-server"})
@blueprint.response(200, SessionAnswer, description="Logged in: the cookie stands for the key.")
@blueprint.error(401, "The server has keys, and this is not one of them.")
@blueprint.error(403, "The key may not use the console, or a page of another origin sent the request.")
def log_in() -> Response:
    """Log in with a key. The cookie of the response counts for requests of this server's own pages only."""
    _check_page()
    values, unknown = load(_LOGIN, body_of(request))
    if unknown:
        raise InvalidRequest(*(Problem(name, "is unknown") for name in unknown))
    key = values["key"].strip()
    caller = auth.identify(key or "-")
    if not caller.is_client:
        raise Forbidden(f"a key with the role {caller.role} cannot use the console")
    if not all(caller.may_call(path) for path in NEEDED):
        raise Forbidden("this key may not use the routes that the console needs")
    response = _view(caller)
    if not auth.is_open():
        sessions.start(response, key)
    return response


@blueprint.route("", methods=["DELETE"])
@blueprint.response(200, SessionAnswer, description="Logged out.")
def log_out() -> Response:
    """Log out: delete the cookie of this browser."""
    _check_page()
    response = _view(None)
    sessions.end(response)
    return response


def _check_page() -> None:
    """Refuse pages of other origins, which could log the user in with a key of their own. Raises: Forbidden."""
    if not sessions.is_own_page(changes=False):
        raise Forbidden("only pages of this server log in and out")
