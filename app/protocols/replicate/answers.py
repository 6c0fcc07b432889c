"""Schemas of the responses."""

from __future__ import annotations

from marshmallow import fields

from app.openapi.answers import Answer, doc, time_of
from jobs.prediction_view import STATUS


class ReplicateProblemAnswer(Answer):
    """A refused field."""

    field = fields.String(**doc())
    description = fields.String(**doc())
    type = fields.String(**doc())


class ReplicateErrorAnswer(Answer):
    """An error: the problem details of RFC 7807."""

    title = fields.String(**doc())
    detail = fields.String(**doc("What is wrong, the rule, and what to do."))
    status = fields.Integer(**doc("The HTTP status."))
    invalid_fields = fields.List(fields.Nested(ReplicateProblemAnswer), **doc("Every refused field.", optional=True))


class ReplicateUrlsAnswer(Answer):
    """Addresses of a prediction."""

    get = fields.String(**doc())
    cancel = fields.String(**doc())
    stream = fields.String(**doc("Server-sent events; needs no key."))


class ReplicatePredictionAnswer(Answer):
    """A prediction."""

    id = fields.String(**doc())
    model = fields.String(**doc("`owner/name`."))
    version = fields.String(**doc())
    status = fields.String(**doc(enum=sorted({*STATUS.values()})))
    input = fields.Dict(**doc("With all values that were used."))
    output = fields.Raw(**doc("Addresses of the images, or that of the video; null before they exist.", null=True))
    error = fields.String(**doc(null=True))
    logs = fields.String(**doc("Its last line is a progress bar."))
    metrics = fields.Dict(**doc("`predict_time` and `total_time`, seconds."))
    created_at = time_of()
    started_at = time_of()
    completed_at = time_of()
    data_removed = fields.Boolean(**doc("Whether the outputs were removed when their retention ended."))
    source = fields.String(**doc(enum=["api"]))
    urls = fields.Nested(ReplicateUrlsAnswer, **doc())


class ReplicatePredictionsAnswer(Answer):
    """A page of predictions."""

    previous = fields.String(**doc("Always null.", null=True))
    next = fields.String(**doc("Address of the next page.", null=True))
    results = fields.List(fields.Nested(ReplicatePredictionAnswer), **doc())


class ReplicateModelVersionAnswer(Answer):
    """The version of a model."""

    id = fields.String(**doc())
    created_at = fields.String(**doc("The same for all: nobody knows."))
    cog_version = fields.String(**doc())
    openapi_schema = fields.Dict(**doc("Describes `Input` and `Output`."))


class ReplicateModelVersionsAnswer(Answer):
    """The only version of a model."""

    previous = fields.String(**doc(null=True))
    next = fields.String(**doc(null=True))
    results = fields.List(fields.Nested(ReplicateModelVersionAnswer), **doc())


class ReplicateModelAnswer(Answer):
    """A model."""

    url = fields.String(**doc())
    owner = fields.String(**doc("As in the path."))
    name = fields.String(**doc())
    description = fields.String(**doc(null=True))
    visibility = fields.String(**doc(enum=["public"]))
    github_url = fields.String(**doc(null=True))
    paper_url = fields.String(**doc(null=True))
    license_url = fields.String(**doc(null=True))
    run_count = fields.Integer(**doc("Always 0."))
    cover_image_url = fields.String(**doc(null=True))
    default_example = fields.Raw(**doc("Always null.", null=True))
    latest_version = fields.Nested(ReplicateModelVersionAnswer, **doc())


class ReplicateFileUrlsAnswer(Answer):
    """Addresses of a file."""

    get = fields.String(**doc("May be an input."))


class ReplicateFileAnswer(Answer):
    """An uploaded file."""

    id = fields.String(**doc())
    name = fields.String(**doc())
    content_type = fields.String(**doc())
    size = fields.Integer(**doc("Bytes."))
    etag = fields.String(**doc())
    checksums = fields.Dict(**doc())
    metadata = fields.Dict(**doc())
    created_at = time_of()
    expires_at = time_of()
    urls = fields.Nested(ReplicateFileUrlsAnswer, **doc())


class ReplicateFilesAnswer(Answer):
    """All uploaded files of a key."""

    previous = fields.String(**doc(null=True))
    next = fields.String(**doc(null=True))
    results = fields.List(fields.Nested(ReplicateFileAnswer), **doc())
