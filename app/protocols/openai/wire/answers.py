"""Schemas of responses."""

from __future__ import annotations

from marshmallow import fields

from app.openapi.answers import Answer, doc, texts
from app.protocols.openai.wire.states import VIDEO_WORDS


class OpenAIErrorDetailsAnswer(Answer):
    """What went wrong."""

    message = fields.String(**doc("What is wrong, the rule, and what to do."))
    type = fields.String(**doc("Such as `invalid_request_error`."))
    param = fields.String(**doc("The refused field.", null=True))
    code = fields.String(**doc("Stable name of the error, for programs.", null=True))


class OpenAIErrorAnswer(Answer):
    """An error in OpenAI's shape."""

    error = fields.Nested(OpenAIErrorDetailsAnswer, **doc())


class OpenAIImageAnswer(Answer):
    """An image."""

    b64_json = fields.String(**doc("The file in base64.", optional=True))
    url = fields.String(**doc("A link to the file, with `response_format: url`.", optional=True))
    seed = fields.Integer(**doc("The same seed and fields give the same image."))


class OpenAITokensAnswer(Answer):
    """Numbers of tokens: nothing here counts them."""

    image_tokens = fields.Integer(**doc())
    text_tokens = fields.Integer(**doc())


class OpenAIUsageAnswer(Answer):
    """Usage: nothing here counts tokens."""

    input_tokens = fields.Integer(**doc())
    output_tokens = fields.Integer(**doc())
    total_tokens = fields.Integer(**doc())
    input_tokens_details = fields.Nested(OpenAITokensAnswer, **doc())


class OpenAIImagesAnswer(Answer):
    """Images."""

    created = fields.Integer(**doc("Seconds since 1970."))
    data = fields.List(fields.Nested(OpenAIImageAnswer), **doc())
    background = fields.String(**doc("`opaque`."))
    output_format = fields.String(**doc())
    size = fields.String(**doc("Of the first image, such as `1024x1024`."))
    quality = fields.String(**doc("As it was sent.", optional=True))
    usage = fields.Nested(OpenAIUsageAnswer, **doc())
    warnings = texts("Values that were changed or ignored.", optional=True)


class OpenAIVideoErrorAnswer(Answer):
    """Why there is no video."""

    code = fields.String(**doc("Stable name of the error, for programs."))
    message = fields.String(**doc())


class OpenAIVideoAnswer(Answer):
    """A video."""

    id = fields.String(**doc())
    object = fields.String(**doc("`video`."))
    model = fields.String(**doc())
    status = fields.String(**doc(enum=[*dict.fromkeys(VIDEO_WORDS.values())]))
    progress = fields.Integer(**doc("0 to 100."))
    created_at = fields.Integer(**doc("Seconds since 1970."))
    completed_at = fields.Integer(**doc("Seconds since 1970.", null=True))
    expires_at = fields.Integer(**doc("When its files are removed, seconds since 1970.", null=True))
    size = fields.String(**doc("Such as `1280x720`."))
    seconds = fields.String(**doc("Its length."))
    prompt = fields.String(**doc(null=True))
    remixed_from_video_id = fields.String(**doc(null=True))
    error = fields.Nested(OpenAIVideoErrorAnswer, **doc(null=True))
    seed = fields.Integer(**doc("The same seed and fields give the same video."))
    position = fields.Integer(**doc("Place in the queue, from 1.", null=True))
    eta_s = fields.Float(**doc("Seconds until it is computed.", null=True))
    warnings = texts("Values that were changed or ignored.")


class OpenAIVideosAnswer(Answer):
    """One page of videos."""

    object = fields.String(**doc("`list`."))
    data = fields.List(fields.Nested(OpenAIVideoAnswer), **doc())
    first_id = fields.String(**doc(null=True))
    last_id = fields.String(**doc("`after` of the next page.", null=True))
    has_more = fields.Boolean(**doc())


class OpenAIVideoDeletedAnswer(Answer):
    """A deleted video."""

    id = fields.String(**doc())
    object = fields.String(**doc("`video.deleted`."))
    deleted = fields.Boolean(**doc("true."))
