"""The API's documentation in the browser: Swagger UI from an installed package, nothing from the network.

flask-smorest can show Swagger UI too, but its page holds a script inline, which the Content-Security-Policy here
refuses; so its ``OPENAPI_SWAGGER_UI_PATH`` stays unset, and it only serves ``/openapi.json``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from flask import Blueprint, Flask, Response, abort, render_template_string, request, send_from_directory

#: The only files of the package that the page needs.
FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
SPEC_PATH = "/openapi.json"

#: Swagger UI has pictures in its style sheet (``data:``) and shows pictures of answers from memory (``blob:``). It sets
#: styles by script only, so that not even styles need ``unsafe-inline``.
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
<noscript>This page needs JavaScript. The description itself: <a href="{{ base }}{{ spec }}">{{ spec }}</a></noscript>
<script src="{{ base }}/docs/static/swagger-ui-bundle.js"></script>
<script src="{{ base }}/docs/static/start.js"></script>
</body>
</html>
"""

#: Without ``validatorUrl: null`` the page would send the address of the description to swagger.io.
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
    """Serve the page at ``/docs`` and ``/docs/``, and what it loads below ``/docs/static/``.

    Raises:
        RuntimeError: the package flask-swagger-ui is not installed.
    """
    folder = _files()
    docs = Blueprint("docs", __name__)

    @docs.get("/docs", strict_slashes=False)
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
    """Where the package keeps Swagger UI; it is looked up, not imported (its import brings a Flask extension)."""
    found = find_spec("flask_swagger_ui")
    if found is None or found.origin is None:
        raise RuntimeError("the package flask-swagger-ui is missing; it holds the files of the page /docs")
    return Path(found.origin).parent / "dist"
