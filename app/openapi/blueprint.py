"""A blueprint that describes its operations completely: ids, tags, security, and the errors of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cache
from typing import Any

import flask_smorest
from marshmallow import Schema

from app.openapi.answers import ErrorAnswer
from app.openapi.parameters import IF_NONE_MATCH, IF_RANGE, RANGE
from jobs.formats import UNKNOWN_MEDIA_TYPE

#: Status → when an operation responds with it: any operation,
OF_PAGES = {
    403: "A page of another origin sent the request.",
    421: "A server without keys is not served under this host name.",
}
#: one that checks the caller's key,
OF_KEYS = {
    401: "The server has keys, and the request has none or an unknown one.",
    403: "The key may not do this: another role, model, path or class. Or a page of another origin sent the request.",
    421: OF_PAGES[421],
}
#: one with a request body,
OF_BODIES = {
    400: "The body is not a JSON object.",
    413: "The body is too large.",
    422: "Fields are wrong; the error names each. Nothing was changed.",
}
#: and one that needs Redis.
OF_REDIS = {503: "Redis or the object store does not respond; `Retry-After` says when to try again."}
#: Media types of files: workers of endpoints also send sound, and others are downloads.
MEDIA = ("image/*", "video/*", "audio/*")
JSON, FORM = "application/json", "multipart/form-data"
#: Content that no schema describes.
_BINARY = {"type": "string", "format": "binary"}

View = Callable[..., Any]


@cache
def form_of(schema: type[Schema]) -> Schema:
    """Return the schema of the same fields in a form, where no value is null."""
    source = schema()
    fields = {}
    for name, declared in source.declared_fields.items():
        fields[name] = copy(declared)
        fields[name].allow_none = False
        if None in declared.metadata.get("enum", ()):
            fields[name].metadata = {**declared.metadata, "enum": declared.metadata["enum"][:-1]}
    name = schema.__name__.removesuffix("Schema").removesuffix("Form")
    return Schema.from_dict(fields, name=f"{name}Form")(unknown=source.unknown)


class Blueprint(flask_smorest.Blueprint):
    """The operations of one topic of a protocol.

    Args:
        name: name of the blueprint.
        import_name: its module.
        tag: heading of its operations in the document.
        prefix: put before the names of view functions, to get the ids of their operations.
        error: schema of its errors.
        security: names of the security schemes, each of which is sufficient; empty for operations without keys.
        common: status → description of the errors that each of its operations can respond with.
        of_bodies: the same for those with a request body.
        options: as in Flask.
    """

    def __init__(
        self,
        name: str,
        import_name: str,
        *,
        tag: str,
        prefix: str = "",
        error: type[Schema] = ErrorAnswer,
        security: Sequence[str] = ("bearer",),
        common: Mapping[int, str] = {**OF_KEYS, **OF_REDIS},
        of_bodies: Mapping[int, str] = OF_BODIES,
        **options: Any,
    ) -> None:
        super().__init__(name, import_name, **options)
        self.tag, self._prefix, self._error, self._common, self._of_bodies = tag, prefix, error, common, of_bodies
        self._security: list[dict[str, list[str]]] = [{scheme: []} for scheme in security]

    def error(self, status: int, text: str) -> Callable[[View], View]:
        """Document an error in the protocol's shape."""
        decorator: Callable[[View], View] = self.alt_response(status, schema=self._error, description=text)
        return decorator

    def body(
        self, schema: type[Schema] | Schema, example: Mapping[str, Any] | None, *media_types: str
    ) -> Callable[[View], View]:
        """Document the request body.

        Args:
            schema: its fields.
            example: a body that is accepted; None: it needs a file.
            media_types: JSON unless others are given.
        """
        content = {}
        for name in media_types or (JSON,):
            described = form_of(schema) if name == FORM and isinstance(schema, type) else schema
            content[name] = {"schema": described, **({} if example is None else {"example": dict(example)})}
        decorator: Callable[[View], View] = self.doc(requestBody={"content": content, "required": False})
        return decorator

    def file(
        self, status: int, text: str, *media_types: str, or_json: type[Schema] | None = None, **headers: str
    ) -> Callable[[View], View]:  # fmt: skip
        """Document a response with a file.

        Args:
            status: the HTTP status.
            text: description.
            media_types: of the file; those of images and videos unless others are given.
            or_json: schema of the JSON that may be sent instead.
            headers: name (with ``_`` for ``-``) → description of the response's headers.
        """
        described = {
            name.replace("_", "-"): {"description": words, "schema": {"type": "string"}}
            for name, words in headers.items()
        }
        # Generated clients read a file as bytes if it may have the media type of any file.
        content: dict[str, Any] = {
            name: {"schema": _BINARY} for name in (*(media_types or MEDIA), UNKNOWN_MEDIA_TYPE)
        }  # fmt: skip
        if or_json is not None:
            content[JSON] = {"schema": or_json}
        response = {"description": text, "content": content, "headers": described, "content_type": None}
        decorator: Callable[[View], View] = self.alt_response(status, response)
        return decorator

    def download(self, text: str, *parameters: Mapping[str, Any]) -> Callable[[View], View]:
        """Document a route that sends a stored file, whole or in parts.

        Args:
            text: description of the file.
            parameters: those of the route besides the headers of HTTP.
        """

        def document(view: View) -> View:
            for decorator in (
                self.doc(parameters=[*parameters, RANGE, IF_RANGE, IF_NONE_MATCH]),
                self.file(200, text),
                self.file(206, "The range that `Range` names."),
                self.alt_response(304, description="The client has this file, as `If-None-Match` says."),
                self.error(416, "The range begins after the end; `Content-Range` has the size."),
            ):
                view = decorator(view)
            return view

        return document

    def register_views_in_doc(self, api: Any, app: Any, spec: Any, **options: Any) -> None:
        """Describe the operations when the document is requested first."""
        describe = super().register_views_in_doc
        api.describe(lambda: describe(api, app, spec, **options))

    def _store_endpoint_docs(
        self, endpoint: str, obj: Any, parameters: Any, tags: Any, **options: Any
    ) -> None:  # fmt: skip
        super()._store_endpoint_docs(endpoint, obj, parameters, tags or [self.tag], **options)
        for method, operation in self._docs[endpoint].items():
            if method != "parameters":
                self._complete(operation, self._prefix + endpoint)

    def _complete(self, operation: dict[str, Any], operation_id: str) -> None:
        """Add what all operations have in common."""
        manual = operation.setdefault("manual_doc", {})
        manual.setdefault("operationId", operation_id)
        manual.setdefault("security", self._security)
        responses = operation.setdefault("response", {}).setdefault("responses", {})
        errors = {**self._common, **(self._of_bodies if "requestBody" in manual else {})}
        for status, text in errors.items():
            described = {"schema": self._error(), "description": text, "content_type": None}
            responses.setdefault(status, [described])
