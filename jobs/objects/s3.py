"""Objects in an S3 bucket, through boto3: AWS or any compatible server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote, urlencode, urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from jobs.errors import ObjectNotFound, ObjectStoreMisset
from jobs.formats import disposition, served_type
from jobs.objects import upload_check
from jobs.objects.base import CHUNK_BYTES, ListedObject, StoredObject, check_key, check_prefix, is_key, probe_key
from jobs.objects.s3_errors import NoMultipart, code_of, translated
from jobs.settings import Settings

#: A key that shows what links look like.
_ANY_KEY = "any"


class S3Store:
    """One bucket and prefix. Credentials, region and role come from the standard AWS variables and files."""

    is_local = False

    def __init__(self, settings: Settings, *, patience_s: float | None = None) -> None:
        """``patience_s``: longest wait for a connection and for an answer, without another attempt; None: as usual."""
        self._bucket = settings.s3.bucket
        self._prefix = settings.s3.prefix.strip("/") + "/" if settings.s3.prefix.strip("/") else ""
        self._urls, self._public_url = settings.outputs.urls, settings.s3.public_url.rstrip("/")
        self._url_ttl_s = settings.outputs.url_ttl_s
        self._public_endpoint_url = settings.s3.public_endpoint_url
        self._encryption = {"ServerSideEncryption": settings.s3.encryption, "SSEKMSKeyId": settings.s3.kms_key_id}
        self._part_bytes = settings.s3.part_bytes
        self._transfer = TransferConfig(
            multipart_threshold=settings.s3.part_bytes, multipart_chunksize=settings.s3.part_bytes, max_concurrency=4
        )
        self._options: dict[str, Any] = {
            "endpoint_url": settings.s3.endpoint_url or None,
            "config": Config(
                s3=cast(Any, {"addressing_style": settings.s3.addressing_style}),
                signature_version="s3v4",
                # Give up on a server that hangs after 30 s: deliveries are retried anyway, and clients wait.
                connect_timeout=patience_s or 3,
                read_timeout=patience_s or 15,
                retries={"total_max_attempts": 1 if patience_s else 2, "mode": "standard"},
                # Servers other than AWS reject boto3's newer default checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        }
        self._lock = threading.Lock()
        self._client: Any = None

    @property
    def client(self) -> Any:
        """The boto3 client, created on first use. Threads may share it, but must not create it concurrently."""
        with self._lock:
            if self._client is None:
                self._client = boto3.session.Session().client("s3", **self._options)
        return self._client

    def put_file(
        self, key: str, path: Path, media_type: str, *,
        sha256: str = "", file_name: str = "", tags: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        arguments = {
            **self._arguments(media_type),
            # The key of an output is never reused. One day, because caches must not keep a file long after its removal.
            "CacheControl": "private, max-age=86400, immutable",
            "ContentDisposition": disposition(media_type, file_name),
            "Metadata": {"sha256": sha256} if sha256 else {},
            "Tagging": urlencode(tags or {}),
        }
        arguments = {name: value for name, value in arguments.items() if value}
        self._put(key, path, arguments)

    def put_bytes(self, key: str, data: bytes, media_type: str) -> None:
        self._put(key, data, self._arguments(media_type))

    def _put(self, key: str, content: Path | bytes, arguments: dict[str, Any]) -> None:
        """Upload, then make sure that the bucket has what was sent. Raises: Unavailable."""
        name, size = self._name(key), content.stat().st_size if isinstance(content, Path) else len(content)
        with translated():
            if size >= self._part_bytes and isinstance(content, Path):
                self.client.upload_file(str(content), self._bucket, name, ExtraArgs=arguments, Config=self._transfer)
                etag = ""
            else:
                with upload_check.opened(content) as body:
                    answer = self.client.put_object(Bucket=self._bucket, Key=name, Body=body, **arguments)
                etag = answer.get("ETag", "")
            expected = upload_check.etags_of(content, self._part_bytes)
            # An answer with the hash of the body comes from a server that has the body.
            if etag.strip('"') not in expected:
                upload_check.check_stored(self.client, self._bucket, name, content, size, expected)

    def _arguments(self, media_type: str) -> dict[str, Any]:
        encryption = {name: value for name, value in self._encryption.items() if value}
        return {"ContentType": media_type, "ContentDisposition": disposition(media_type), **encryption}

    def stat(self, key: str) -> StoredObject:
        with translated(may_be_missing=True):
            try:
                head = self.client.head_object(Bucket=self._bucket, Key=self._name(key))
            except ClientError as exc:
                if code_of(exc) != "404":
                    raise
                # The response to HEAD has no body; that to GET says whether the object is missing or the bucket.
                self.client.get_object(Bucket=self._bucket, Key=self._name(key), Range="bytes=0-0")["Body"].close()
                raise
        return StoredObject(key, head["ContentLength"], head.get("ContentType", "application/octet-stream"))

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        ranged = {"Range": f"bytes={start}-{'' if end is None else end}"} if start or end is not None else {}
        with translated(may_be_missing=True):
            try:
                response = self.client.get_object(Bucket=self._bucket, Key=self._name(key), **ranged)
            except ClientError as exc:
                if code_of(exc) in ("416", "InvalidRange"):
                    return iter(())
                raise
        if ranged and "ContentRange" not in response:  # a server without range support sends the whole file
            return _chunks(response["Body"], start, None if end is None else end - start + 1)
        return _chunks(response["Body"])

    @cached_property
    def _signing_client(self) -> Any:
        """The client that signs links; they lead to the address that callers reach."""
        if not self._public_endpoint_url:
            return self.client
        with self._lock:
            return boto3.session.Session().client("s3", **{**self._options, "endpoint_url": self._public_endpoint_url})

    def url(self, key: str, media_type: str = "", file_name: str = "") -> str | None:
        if self._urls == "proxy":
            return None
        if self._urls == "public":
            return f"{self._public_url}/{quote(self._name(key))}"
        with translated():
            return str(
                self._signing_client.generate_presigned_url(
                    "get_object",
                    Params={"Bucket": self._bucket, "Key": self._name(key), **_overrides(media_type, file_name)},
                    ExpiresIn=self._url_ttl_s,
                )
            )

    @cached_property
    def _beginning_of_links(self) -> tuple[str, str]:
        """Host and port, and the beginning of the path, of all links of :meth:`url`; empty if there are none."""
        link = urlsplit(self.url(_ANY_KEY) or "")
        return link.netloc.lower(), link.path.removesuffix(_ANY_KEY)

    def key_of(self, url: str) -> str | None:
        place, beginning = self._beginning_of_links
        try:
            link = urlsplit(url)
        except ValueError:
            return None
        if not place or link.netloc.lower() != place or not link.path.startswith(beginning):
            return None
        key = unquote(link.path.removeprefix(beginning))
        return key if is_key(key) else None

    def delete(self, key: str) -> None:
        name = self._name(key)
        with suppress(ObjectNotFound), translated(may_be_missing=True):
            self.client.delete_object(Bucket=self._bucket, Key=name)

    def list(self, prefix: str, after: str = "") -> Iterator[ListedObject]:
        query = {"Bucket": self._bucket, "Prefix": self._prefix + check_prefix(prefix)}
        if after:
            query["StartAfter"] = self._prefix + after
        return self._pages(query, after)

    def _pages(self, query: dict[str, str], after: str) -> Iterator[ListedObject]:
        with translated():
            for page in self.client.get_paginator("list_objects_v2").paginate(**query):
                for entry in page.get("Contents", ()):
                    key = entry["Key"].removeprefix(self._prefix)
                    if key > after:  # not every server supports StartAfter
                        yield ListedObject(key, entry["LastModified"].timestamp(), entry["Size"])

    def check(self) -> None:
        try:
            with translated():
                self.client.head_bucket(Bucket=self._bucket)
        except ObjectStoreMisset:
            # Who may store files need not be allowed to list the bucket, and an answer to HEAD has no reason.
            self.check_write()

    def check_write(self) -> None:
        key = probe_key()
        self.put_bytes(key, b"", "application/octet-stream")
        with suppress(ObjectStoreMisset):  # the credentials may not remove files
            self.delete(key)

    def tidy(self, age_s: float) -> None:
        """Abort unfinished multipart uploads: their parts occupy space, and no listing of objects shows them."""
        latest_s = time.time() - age_s
        with suppress(NoMultipart), translated():
            query = {"Bucket": self._bucket, "Prefix": self._prefix}
            for page in self.client.get_paginator("list_multipart_uploads").paginate(**query):
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"].timestamp() < latest_s:
                        self.client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )  # fmt: skip

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)


def _overrides(media_type: str, file_name: str) -> dict[str, str]:
    """Return the headers that a presigned link asks the server for, whatever was stored with the object."""
    if not media_type:
        return {}
    return {
        "ResponseContentType": served_type(media_type),
        "ResponseContentDisposition": disposition(media_type, file_name),
    }


def _chunks(body: Any, skip: int = 0, length: int | None = None) -> Iterator[bytes]:
    with body, translated():
        for chunk in body.iter_chunks(CHUNK_BYTES):
            part, skip = chunk[skip:], max(0, skip - len(chunk))
            if length is not None:
                part = part[:length]
                length -= len(part)
            if part:
                yield part
            if length == 0:
                return
