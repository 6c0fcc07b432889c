"""The query of the list of jobs: which jobs, and which page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from flask import Request
from marshmallow import INCLUDE, fields, validate

from app.access import auth
from app.fields import Text, TextSchema, Whole, load, query_of
from app.openapi.parameters import query_parameter
from app.protocols.native.wire.times import milliseconds
from jobs.errors import Forbidden
from jobs.states import JobState
from jobs.store.listing import MAX_EXAMINED, JobFilter

#: Most jobs of one page of the list.
MAX_PAGE = 500
#: Longest text to search for, characters.
MAX_SEARCH_CHARS = 500


class States(fields.Field[frozenset[JobState]]):
    """States with commas between them."""

    default_error_messages = {"unknown": f"must be one or more of {', '.join(JobState)}"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> frozenset[JobState]:
        try:
            return frozenset(JobState(name.strip()) for name in value.split(","))
        except ValueError:
            raise self.make_error("unknown") from None


class Moment(fields.Field[int]):
    """A time with its offset, as milliseconds since 1970."""

    default_error_messages = {"invalid": "must be a date or a time with its offset, such as 2026-01-31T09:00:00Z"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        try:
            moment = datetime.fromisoformat(value.strip().replace(" ", "+"))  # a query has a space for an unescaped +
        except ValueError:
            raise self.make_error("invalid") from None
        if moment.tzinfo is None and "T" in value:
            raise self.make_error("invalid")
        return milliseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


class ListSchema(TextSchema):
    """Query of the list of jobs."""

    class Meta:
        unknown = INCLUDE

    state = States()
    model = Text()
    text = Text(validate=validate.Length(max=MAX_SEARCH_CHARS, error="must have at most {max} characters"))
    since = Moment()
    until = Moment()
    key = Text()
    limit = Whole(load_default=50, validate=validate.Range(1, MAX_PAGE))
    after = Text()


_LIST = ListSchema()


_TIME = {"type": "string", "format": "date-time"}
#: The parameters in the OpenAPI document.
PARAMETERS = [
    query_parameter(
        "state",
        "Only jobs in one of these states.",
        {"type": "array", "items": {"type": "string", "enum": [*JobState]}},
        style="form",
        explode=False,
    ),
    query_parameter("model", "Only jobs of this model."),
    query_parameter(
        "text",
        "Only jobs with all of these words in the prompt or the error, or at the beginning of the id; in any case.",
        {"type": "string", "maxLength": MAX_SEARCH_CHARS},
    ),
    query_parameter("since", "Only jobs that were created at this time or later.", _TIME),
    query_parameter("until", "Only jobs that were created before this time.", _TIME),
    query_parameter("key", "Only jobs of this API key; needs an admin's key."),
    query_parameter(
        "limit",
        "Most jobs of a page. With `model` or `text` a page may have fewer, even none, before the end of the list: it "
        f"looks at {MAX_EXAMINED} jobs.",
        {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 50},
    ),
    query_parameter("after", "`next` of the previous page."),
]


class JobsQuery(NamedTuple):
    """Which page of which list."""

    filter: JobFilter
    limit: int
    after: str | None


def requested(request: Request) -> JobsQuery:
    """Return what a request asks for. Raises: InvalidRequest, Forbidden."""
    sent = query_of(request)
    if states := [name for name in request.args.getlist("state") if name.strip()]:
        sent["state"] = ",".join(states)
    query, _ = load(_LIST, sent)
    caller = auth.caller()
    if "key" in query and not caller.is_admin:
        raise Forbidden("`key` needs an admin's key: other keys see their own jobs only")
    wanted = JobFilter(
        key_id=query.get("key", caller.scope),
        states=query.get("state", frozenset()),
        since_ms=query.get("since"),
        until_ms=query.get("until"),
        model=query.get("model"),
        words=tuple(query.get("text", "").casefold().split()),
    )
    return JobsQuery(wanted, query["limit"], query.get("after"))
