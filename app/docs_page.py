"""The page ``/docs``: Swagger UI from an installed package; the browser loads nothing from other servers.

flask-smorest can serve Swagger UI as well, but its page has an inline script, which the Content-Security-Policy below
forbids. Its ``OPENAPI_SWAGGER_UI_PATH`` is therefore not set, and it serves ``/openapi.json`` only.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from flask import Blueprint, Flask, Response, abort, render_template_string, request, send_from_directory

from app.access import browser

#: The files of the package that the page needs.
FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
SPEC_PATH = "/openapi.json"

#: Swagger UI has pictures in its style sheet (``data:``) and shows pictures of responses from memory (``blob:``). It
#: sets styles by script, so styles do not need ``unsafe-inline``.
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Framemill API</title>
<link rel="icon" type="image/png" href="{{ base }}/docs/static/favicon-32x32.png">
<link rel="stylesheet" href="{{ base }}/docs/static/swagger-ui.css">
</head>
<body>
<div id="api" data-spec="{{ base }}{{ spec }}"></div>
<noscript>This page needs JavaScript. The OpenAPI description: <a href="{{ base }}{{ spec }}">{{ spec }}</a></noscript>
<script src="{{ base }}/docs/static/swagger-ui-bundle.js"></script>
<script src="{{ base }}/docs/static/start.js"></script>
</body>
</html>
"""

#: Without ``validatorUrl: null`` the page would send the address of the OpenAPI description to swagger.io.
_START = """"use strict";
SwaggerUIBundle({
  url: document.getElementById("api").dataset.spec,
  domNode: document.getElementById("api"),
  validatorUrl: null,
  queryConfigEnabled: false,
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
});
"""


def register_docs(app: Flask) -> None:
    """Serve the page at ``/docs`` and ``/docs/``, and its files below ``/docs/static/``.

    Raises:
        RuntimeError: the package flask-swagger-ui is not installed.
    """
    folder = _files()
    docs = Blueprint("docs", __name__)

    @docs.get("/docs", strict_slashes=False)
    @browser.page
    def page() -> str:
        return render_template_string(_PAGE, base=request.script_root, spec=SPEC_PATH)

    @docs.get("/docs/static/start.js")
    def start() -> Response:
        return Response(_START, mimetype="text/javascript")

    @docs.get("/docs/static/<name>")
    def file(name: str) -> Response:
        if name not in FILES:
            abort(404)
        return send_from_directory(folder, name, max_age=3600)

    @docs.after_request
    def secure(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    app.register_blueprint(docs)


def _files() -> Path:
    """Return the folder of Swagger UI. The package is located without an import, which would load a Flask extension."""
    spec = find_spec("flask_swagger_ui")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package flask-swagger-ui is missing; it has the files of the page /docs")
    return Path(spec.origin).parent / "dist"
