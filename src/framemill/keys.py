"""API keys, as the server describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypedDict


class KeyFields(TypedDict, total=False):
    """Arguments of ``create_key`` besides the name of the service."""

    #: ``client`` (the default), ``worker``, ``metrics`` or ``admin``.
    role: str | None
    #: Scheduling class of the key's jobs: ``general`` (the default), ``premium`` or ``off-peak``.
    job_class: str | None
    #: How long the files of its jobs are kept: ``keep``, ``days`` or ``hours``. Default: the server's setting.
    retention: str | None
    #: Maximum number of jobs that may wait, run at once, and be submitted per minute; 0 (the default): no limit.
    max_waiting: int | None
    max_running: int | None
    max_per_minute: int | None
    #: Models that the key may use, and path prefixes that it may call; empty (the default): all.
    models: list[str] | None
    endpoints: list[str] | None
    #: Whether requests with this key may turn moderation off.
    may_skip_moderation: bool | None
    #: Webhook for the events of its jobs, and the names of these events. Default: when a job finishes.
    webhook_url: str | None
    webhook_events: list[str] | None


@dataclass(frozen=True, kw_only=True)
class Key:
    """An API key; see :class:`KeyFields` for its fields. ``repr`` does not show the secrets."""

    service: str
    role: str
    job_class: str
    retention: str = ""
    max_waiting: int = 0
    max_running: int = 0
    max_per_minute: int = 0
    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    may_skip_moderation: bool = False
    #: ``url``, ``events`` and ``gone_at`` (when the receiver answered 410 Gone); None if there is no webhook.
    webhook: Mapping[str, Any] | None = None
    #: Signing secret of its webhooks. The server shows it only once, like ``secret``.
    webhook_secret: str | None = field(default=None, repr=False)
    #: The key itself, which callers send. Only the response to ``create_key`` contains it; None everywhere else.
    secret: str | None = field(default=None, repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_dict(cls, answer: Mapping[str, Any]) -> Self:
        return cls(
            service=answer["service"],
            role=answer["role"],
            job_class=answer.get("class") or "general",
            retention=answer.get("retention") or "",
            models=tuple(answer.get("models") or ()),
            endpoints=tuple(answer.get("endpoints") or ()),
            may_skip_moderation=answer.get("may_skip_moderation") or False,
            webhook=answer.get("webhook"),
            webhook_secret=answer.get("webhook_secret"),
            secret=answer.get("secret"),
            raw=answer,
            **{name: answer.get(name) or 0 for name in ("max_waiting", "max_running", "max_per_minute")},
        )
