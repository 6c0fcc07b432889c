"""Settings that are set and change nothing, because another one says otherwise."""

from __future__ import annotations

from collections.abc import Callable

from jobs.settings.settings import Settings, defaults, variables

#: Settings, when they have no effect, and why.
_RULES: tuple[tuple[tuple[str, ...], Callable[[Settings], bool], str], ...] = (
    (
        ("S3_ENDPOINT_URL", "S3_PUBLIC_ENDPOINT_URL", "S3_PUBLIC_URL", "S3_PREFIX", "S3_ADDRESSING_STYLE",
         "S3_ENCRYPTION", "S3_KMS_KEY_ID", "S3_TAG_RETENTION", "RESULT_URLS"),
        lambda settings: not settings.s3.bucket,
        "S3_BUCKET is empty: outputs are stored in a folder",
    ),
    (
        ("S3_PUBLIC_ENDPOINT_URL",),
        lambda settings: settings.outputs.urls != "presigned",
        "links are presigned with RESULT_URLS=presigned only",
    ),
    (
        ("S3_PUBLIC_URL",),
        lambda settings: settings.outputs.urls != "public",
        "it is used with RESULT_URLS=public only",
    ),
    (
        ("S3_KMS_KEY_ID",),
        lambda settings: settings.s3.encryption != "aws:kms",
        "it is used with S3_ENCRYPTION=aws:kms only",
    ),
    (
        ("THUMBNAIL_FORMAT",),
        lambda settings: settings.outputs.thumbnail_px == 0,
        "THUMBNAIL_PX is 0: no thumbnails are made",
    ),
    (
        ("SPOOL_MEMORY_BYTES",),
        lambda settings: settings.spool.dir is not None,
        "SPOOL_DIR is set: frames are written there",
    ),
    (
        ("CLASS_PREEMPTS", "PREEMPT_MAX"),
        lambda settings: settings.scheduling.preempt_after_s == 0,
        "PREEMPT_AFTER_S is 0: no job takes the slot of another",
    ),
    (
        ("MODERATION_PROMPTS", "MODERATION_OUTPUTS", "MODERATION_WORDS_FILE", "MODERATION_SKIN_SHARE"),
        lambda settings: settings.moderation.mode == "off",
        "MODERATION is off",
    ),
    (
        ("ENHANCE_PROMPTS", "PROMPT_ENHANCER_TIMEOUT_S"),
        lambda settings: not settings.prompts.enhancer,
        "PROMPT_ENHANCER is empty",
    ),
)  # fmt: skip


def without_effect(settings: Settings) -> list[str]:
    """Return a sentence for each setting that is set in vain."""
    found: dict[str, str] = {}
    for names, is_vain, reason in _RULES:
        if is_vain(settings):
            found |= {name: reason for name in names if name not in found and _is_set(settings, name)}
    return [f"{name} has no effect: {reason}" for name, reason in found.items()]


def _is_set(settings: Settings, variable: str) -> bool:
    group, option = variables()[variable]
    return bool(getattr(getattr(settings, group), option) != defaults()[variable])
