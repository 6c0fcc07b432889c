"""Settings that are set in vain are named at start."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.settings import Settings
from jobs.settings.without_effect import without_effect

BUCKET: dict[str, Any] = {"s3_bucket": "media"}
HERE = "https://s3.example.org"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, ""),
        (BUCKET, ""),
        ({"s3_public_endpoint_url": HERE}, "S3_BUCKET is empty"),
        ({"s3_prefix": "mill"}, "S3_BUCKET is empty"),
        ({"result_urls": "proxy"}, "S3_BUCKET is empty"),
        ({**BUCKET, "s3_public_endpoint_url": HERE}, ""),
        ({**BUCKET, "s3_public_endpoint_url": HERE, "result_urls": "proxy"}, "RESULT_URLS=presigned"),
        ({**BUCKET, "s3_public_url": HERE}, "RESULT_URLS=public"),
        ({**BUCKET, "s3_public_url": HERE, "result_urls": "public"}, ""),
        ({**BUCKET, "s3_kms_key_id": "key", "s3_encryption": "AES256"}, "S3_ENCRYPTION=aws:kms"),
        ({"thumbnail_px": 0, "thumbnail_format": "jpeg"}, "THUMBNAIL_PX is 0"),
        ({"moderation_skin_share": 0.5}, "MODERATION is off"),
        ({"moderation_skin_share": 0.5, "moderation": "block"}, ""),
    ],
)
def test_a_setting_without_effect_is_named(values: dict[str, Any], named: str) -> None:
    sentences = without_effect(Settings.of(**values))
    assert len(sentences) == bool(named)
    assert named in "".join(sentences)
    assert all(sentence.split()[0].lower() in values for sentence in sentences)
