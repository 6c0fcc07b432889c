"""The errors of boto3 in words: which pass, which stay until the set-up is corrected, and which concern one file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error, S3UploadFailedError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

from jobs.errors import ObjectNotFound, ObjectRefused, ObjectStoreAway, ObjectStoreMisset

#: Code of S3 → what is wrong with the set-up. An answer to HEAD has a status in place of a code.
_SETUP = {
    **dict.fromkeys(("NoSuchBucket", "404"), "the bucket does not exist"),
    "InvalidBucketName": "no bucket can have this name",
    **dict.fromkeys(
        ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
        "the bucket is in another region",
    ),
    "InvalidAccessKeyId": "the access key is unknown",
    "SignatureDoesNotMatch": "the secret key is wrong",
    **dict.fromkeys(
        ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidClientTokenId", "UnrecognizedClientException"),
        "the session token is invalid or has expired",
    ),
    **dict.fromkeys(("AccessDenied", "403", "AllAccessDisabled"), "the credentials do not permit this"),
    **dict.fromkeys(("AccountProblem", "NotSignedUp", "InvalidPayer"), "the account is closed"),
    "RequestTimeTooSkewed": "the clock of this host is wrong",
    **dict.fromkeys(
        ("KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException", "KMSNotConfigured"),
        "the key of S3_ENCRYPTION cannot be used",
    ),
}
#: Code of S3 → what is wrong with one file. A proxy in front of a server has a limit of its own (413).
_FILE = {
    **dict.fromkeys(("EntityTooLarge", "413"), "the file is too large"),
    "KeyTooLongError": "the name of the file is too long",
    "MetadataTooLarge": "the metadata are too long",
}
#: Exceptions of botocore itself → what is wrong with the set-up.
_LOCAL: dict[type[Exception], str] = {
    NoCredentialsError: "there are no credentials",
    PartialCredentialsError: "the credentials are incomplete",
    ProfileNotFound: "AWS_PROFILE names no profile",
    ParamValidationError: "no bucket can have this name",
    ValueError: "S3_ENDPOINT_URL is not an address",
}


class NoMultipart(ObjectStoreAway):
    """The server does not support multipart uploads, or reports in this way that there are none."""


def code_of(exc: ClientError) -> str:
    """Return the code of S3, or the status of an answer without one."""
    return str(exc.response.get("Error", {}).get("Code", "unknown error"))


@contextmanager
def translated(*, may_be_missing: bool = False) -> Iterator[None]:
    """Translate the errors of boto3 inside the block.

    Args:
        may_be_missing: whether "not found" concerns the object; otherwise it concerns the bucket or the endpoint.
    """
    try:
        yield
    # KeyError: the answer lacks a field. ValueError: boto3 refuses an address.
    except (BotoCoreError, Boto3Error, ClientError, OSError, KeyError, ValueError) as exc:
        # boto3 wraps the cause of a failed upload.
        cause = exc.__context__ if isinstance(exc, S3UploadFailedError) else exc
        if not isinstance(cause, ClientError):
            raise _local(cause or exc) from exc
        code = code_of(cause)
        if may_be_missing and code in ("404", "NoSuchKey", "NotFound"):
            raise ObjectNotFound() from exc
        raise _refusal(code) from exc


def _local(exc: BaseException) -> ObjectStoreAway:
    for kind, words in _LOCAL.items():
        if isinstance(exc, kind):
            return ObjectStoreMisset(f"S3 cannot be used: {words} ({type(exc).__name__})")
    return ObjectStoreAway(f"S3 cannot be used: {type(exc).__name__}")


def _refusal(code: str) -> ObjectStoreAway:
    if code in _SETUP:
        return ObjectStoreMisset(f"S3 refused: {_SETUP[code]} ({code})")
    if code in _FILE:
        return ObjectRefused(f"S3 refused: {_FILE[code]} ({code})")
    if code in ("NotImplemented", "MethodNotAllowed", "NoSuchUpload"):
        return NoMultipart(f"S3 refused: {code}")
    return ObjectStoreAway(f"S3 refused: {code}")
