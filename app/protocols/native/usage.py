"""``GET /v1/usage``: what API keys used, by day, key and model; JSON or CSV."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from typing import Any

import marshmallow
from flask import Response, jsonify, request
from marshmallow import INCLUDE, validate

from app.access import auth
from app.extensions import store
from app.fields import Text, TextSchema, load, query_of
from app.openapi.answers import TEXT, Answer, doc
from app.openapi.blueprint import Blueprint
from app.openapi.parameters import query_parameter
from jobs.errors import Forbidden, InvalidRequest, Problem
from jobs.store.statistics import usage
from jobs.store.statistics.usage import Row, Used

blueprint = Blueprint("usage", __name__, url_prefix="/v1", tag="Framemill: fleet and queue")
auth.protect(blueprint)

#: Days before today with which the period begins that nobody names, and the longest period, days.
DEFAULT_DAYS, MAX_DAYS = 29, 3660
#: By what rows are grouped → the value of a row.
_GROUPS: dict[str, Callable[[Row], str]] = {
    "day": lambda row: row.day.isoformat(),
    "key": lambda row: row.key_id,
    "model": lambda row: row.model,
}
_NUMBERS = [one.name for one in fields(Used)]
#: Decimal places of seconds in responses.
_DECIMALS = 3


class Day(marshmallow.fields.Field[datetime.date]):
    """A day, such as 2026-01-31."""

    default_error_messages = {"invalid": "must be a day, such as 2026-01-31"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime.date:
        try:
            return datetime.date.fromisoformat(value.strip())
        except ValueError:
            raise self.make_error("invalid") from None


class Groups(marshmallow.fields.Field[tuple[str, ...]]):
    """Names of groups with commas between them."""

    default_error_messages = {"unknown": f"must be one or more of {', '.join(_GROUPS)}, each once"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:
        names = tuple(name.strip() for name in value.split(","))
        if not set(names) <= set(_GROUPS) or len(set(names)) < len(names):
            raise self.make_error("unknown")
        return names


class UsageSchema(TextSchema):
    """Query of the usage."""

    class Meta:
        unknown = INCLUDE

    since = Day()
    until = Day()
    key = Text()
    by = Groups(load_default=tuple(_GROUPS))
    format = Text(load_default="json", validate=validate.OneOf(("json", "csv"), error="must be json or csv"))


class UsedAnswer(Answer):
    """What was used."""

    gpu_s = marshmallow.fields.Float(**doc("Seconds of all runs on their slots, lost ones included."))
    lost_gpu_s = marshmallow.fields.Float(**doc("The part of them whose work was lost with a worker."))
    succeeded = marshmallow.fields.Integer(**doc("Jobs that succeeded."))
    failed = marshmallow.fields.Integer(**doc("Jobs that failed."))
    cancelled = marshmallow.fields.Integer(**doc("Jobs that were cancelled."))
    expired = marshmallow.fields.Integer(**doc("Jobs that did not start before their deadline."))
    images = marshmallow.fields.Integer(**doc("Images made."))
    videos = marshmallow.fields.Integer(**doc("Videos made."))
    video_s = marshmallow.fields.Float(**doc("Playing time of the videos, seconds."))
    output_bytes = marshmallow.fields.Integer(**doc("Size of the stored outputs with thumbnails and posters."))


class UsageRowAnswer(UsedAnswer):
    """What was used in a group."""

    day = marshmallow.fields.String(**doc("Day in UTC; with `by=day`.", optional=True, format="date"))
    key = marshmallow.fields.String(**doc("API key, `-` on a server without keys; with `by=key`.", optional=True))
    model = marshmallow.fields.String(**doc("With `by=model`.", optional=True))


class UsageAnswer(Answer):
    """What was used in a period."""

    since = marshmallow.fields.String(**doc("First day.", format="date"))
    until = marshmallow.fields.String(**doc("Last day.", format="date"))
    rows = marshmallow.fields.List(marshmallow.fields.Nested(UsageRowAnswer), **doc("In the order of the groups."))
    total = marshmallow.fields.Nested(UsedAnswer, **doc())


_QUERY = UsageSchema()
_DATE = {"type": "string", "format": "date"}
_PARAMETERS = [
    query_parameter("since", f"First day (UTC); otherwise {DEFAULT_DAYS} days before the last.", _DATE),
    query_parameter("until", "Last day, which is included; otherwise today.", _DATE),
    query_parameter("key", "Only this API key; needs an admin's key."),
    query_parameter(
        "by", "What each row stands for.",
        {"type": "array", "items": {"type": "string", "enum": [*_GROUPS]}, "default": [*_GROUPS]},
        style="form", explode=False,
    ),
    query_parameter("format", "`csv`: a table with a line of names.", {"type": "string", "enum": ["json", "csv"]}),
]  # fmt: skip


@blueprint.route("/usage", methods=["GET"])
@blueprint.doc(parameters=_PARAMETERS)
@blueprint.response(200, UsageAnswer, description="GPU time, jobs and files.")
@blueprint.alt_response(200, schema=TEXT, content_type="text/csv", description="The rows, with `format=csv`.")
@blueprint.error(403, "`key` is used without an admin's key.")
@blueprint.error(422, "A parameter is wrong; the error names it.")
def get_usage() -> Response:
    """Show what your key used (with an admin's key: all keys) by day, key and model."""
    sent = query_of(request)
    if groups := [name for name in request.args.getlist("by") if name.strip()]:
        sent["by"] = ",".join(groups)
    query, _ = load(_QUERY, sent)
    since, until = _period(query)
    groups, rows = query["by"], _grouped(usage.rows(store(), since, until, _keys(query)), query["by"])
    if query["format"] == "csv":
        return _csv(groups, rows)
    total = Used()
    for used in rows.values():
        total += used
    shown = [{**dict(zip(groups, group, strict=True)), **_view(used)} for group, used in rows.items()]
    return jsonify({"since": since.isoformat(), "until": until.isoformat(), "rows": shown, "total": _view(total)})


def _keys(query: dict[str, Any]) -> list[str] | None:
    caller = auth.caller()
    if "key" in query and not caller.is_admin:
        raise Forbidden("`key` needs an admin's key: other keys see their own usage only")
    only = query.get("key", caller.scope)
    return None if only is None else [only]


def _period(query: dict[str, Any]) -> tuple[datetime.date, datetime.date]:
    until = query.get("until") or datetime.datetime.now(datetime.UTC).date()
    since = query.get("since") or datetime.date.fromordinal(max(1, until.toordinal() - DEFAULT_DAYS))
    if not 0 <= (until - since).days < MAX_DAYS:
        raise InvalidRequest(Problem("since", f"must be at most {MAX_DAYS} days before `until`", since.isoformat()))
    return since, until


def _grouped(rows: Iterable[Row], groups: tuple[str, ...]) -> dict[tuple[str, ...], Used]:
    found: dict[tuple[str, ...], Used] = {}
    for row in rows:
        used = found.setdefault(tuple(_GROUPS[group](row) for group in groups), Used())
        used += row.used
    return dict(sorted(found.items()))


def _view(used: Used) -> dict[str, float]:
    return {name: round(value, _DECIMALS) for name, value in asdict(used).items()}


def _csv(groups: tuple[str, ...], rows: dict[tuple[str, ...], Used]) -> Response:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([*groups, *_NUMBERS])
    writer.writerows([*map(_plain, group), *_view(used).values()] for group, used in rows.items())
    return Response(text.getvalue(), content_type="text/csv; charset=utf-8")


def _plain(text: str) -> str:
    """Keep spreadsheets from reading a name as a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and len(text) > 1 else text
