"""The socket of each service, and the two HTTP routes that need no key."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace

from flask import Blueprint as PlainBlueprint
from flask import Flask, Response, g, jsonify, request, send_file
from marshmallow import fields

from app import extensions, waiting
from app.access import addresses, auth, browser
from app.downloads import send_object, set_file_headers
from app.extensions import objects, settings, store
from app.openapi.answers import Answer, doc
from app.openapi.blueprint import OF_PAGES, OF_REDIS, Blueprint
from app.openapi.document import Api
from app.protocols.devoid import handshake
from app.protocols.devoid.connections import CONNECTIONS, Connections, connections
from app.protocols.devoid.session import Session
from app.protocols.devoid.submitting import PROTOCOL
from app.protocols.devoid.wire import ReadingServer
from jobs.callers import ANYBODY, UNCHECKED, Caller, identity_of
from jobs.errors import Forbidden, InvalidRequest, JobNotFound, ObjectNotFound, Unauthorized
from jobs.states import JobState
from jobs.store import queries

#: Interval of pings, seconds: they keep proxies from closing a silent socket, and detect lost clients.
PING_INTERVAL_S = 20
#: Longest wait for an image that is being stored, seconds.
DELIVERY_WAIT_S = 30.0
_IDENTITY = '{"RestAPI":"Devoid Image Generator","website":"https://web.devoid.pics/"}'


class DevoidErrorAnswer(Answer):
    """An error of Devoid Generator."""

    content = fields.String(**doc())


http_blueprint = Blueprint(
    "devoid", __name__, tag="Devoid Generator", prefix="devoid_", security=(), common={**OF_PAGES, **OF_REDIS}
)  # fmt: skip
browser.share(http_blueprint)  # pages of services show the images, which have ids that cannot be guessed
socket_blueprint = PlainBlueprint("devoid-sockets", __name__)

_FILE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,63})\.jpg")


def register(app: Flask, api: Api) -> None:
    """Add the routes to the app."""
    parts = extensions.of(app)
    parts.adapters[CONNECTIONS] = Connections(parts.settings, parts.store, parts.hub)
    api.register_blueprint(http_blueprint)
    app.register_blueprint(socket_blueprint)


@http_blueprint.before_app_request
def _identify() -> Response | None:
    """Answer ``/`` as a Devoid Generator to its own clients, whose requests name a service."""
    if request.path != "/" or request.method not in ("GET", "HEAD") or "service" not in request.headers:
        return None
    response = Response(_IDENTITY, mimetype="application/json")
    response.vary.update(["Accept", "service"])
    return response


@http_blueprint.route("/img/<file_name>", methods=["GET"])
@http_blueprint.download("The image.")
@http_blueprint.alt_response(
    404, schema=DevoidErrorAnswer, description="The image does not exist or has expired."
)  # fmt: skip
def image(file_name: str) -> Response:
    """Return an image of the socket's protocol by its name; one that is being stored, when that is done."""
    match = _FILE.fullmatch(file_name)
    job = queries.find(store(), match[1]) if match else None
    if job and job.protocol == PROTOCOL and job.state is JobState.DELIVERING:
        with suppress(JobNotFound):  # deleted meanwhile
            # With sync_with_s3 0, clients have the link before the image is stored.
            job = waiting.wait(job, DELIVERY_WAIT_S)
    if match and job and job.protocol == PROTOCOL and job.outputs:
        try:
            return send_object(objects(), job.outputs[0], name=match[1], expires_at_ms=job.expires_at_ms)
        except ObjectNotFound:
            pass
    folder = settings().devoid.images_path
    if match and folder and (folder / file_name).is_file():
        response = send_file(folder / file_name)
        set_file_headers(response, "image/jpeg", file_name)
        return response
    missing = jsonify({"content": "Image not found"})
    missing.status_code = 404
    return missing


@socket_blueprint.before_request
def _authenticate() -> None:
    """Refuse malformed handshakes and unknown services before the upgrade. Raises: Forbidden."""
    if request.endpoint is not None:
        handshake.check()
    service = (request.view_args or {}).get("service") or request.headers.get("service", "")
    caller = _authenticated_caller(service)
    if caller == ANYBODY:
        try:
            replace(ANYBODY, key_id=service).check()
        except InvalidRequest:
            raise Forbidden("the path must name the service: /ws/<service>") from None
        # A name that nobody checked is not that of a key, which may exist later.
        caller = replace(ANYBODY, key_id=identity_of(UNCHECKED, service))
    elif caller.key_id != service:
        raise Forbidden("service or key is wrong")
    if not caller.is_client:
        raise Forbidden("service or key is wrong")
    auth.check_path(caller)
    g.caller, g.service = caller, service


@socket_blueprint.route("/ws/<service>", websocket=True)
@socket_blueprint.route("/ws", websocket=True)  # the header ``service`` names the service
def socket(service: str = "") -> Response:
    """Receive requests, and send messages about their jobs."""
    return handshake.serve(_serve, ping_interval=PING_INTERVAL_S, limits=settings().web.body_limits)


def _serve(ws: ReadingServer) -> None:
    prefix = settings().devoid.image_endpoint or f"{addresses.base_url()}/img/"
    Session(ws, g.service, auth.caller().key_id, g.secret, prefix, connections(), store()).run()


def _authenticated_caller(service: str) -> Caller:
    """Return the owner of the key; a key of ``SERVICES`` includes the service's name. Raises: Forbidden."""
    for secret in (f"{service}:{_key()}", _key()):
        try:
            caller = auth.identify(secret if _key() else None)
        except Unauthorized:
            continue
        g.secret = secret if _key() else ""
        return caller
    raise Forbidden("service or key is wrong")


def _key() -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
