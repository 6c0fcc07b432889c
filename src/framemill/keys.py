"""API keys as the server shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypedDict


class KeyFields(TypedDict, total=False):
    """What ``create_key`` takes besides the service's name."""

    #: ``client`` (the default), ``worker`` or ``admin``.
    role: str | None
    #: Scheduling class of its jobs: ``general`` (the default) or ``premium``.
    job_class: str | None
    #: How long files of its jobs are kept: ``keep``, ``days`` or ``hours``; the server's default when left out.
    retention: str | None
    #: Most jobs that may wait, run at once, and be submitted in a minute; 0 (the default): no limit.
    max_waiting: int | None
    max_running: int | None
    max_per_minute: int | None
    #: Models it may use, and beginnings of paths it may call; empty (the default): all.
    models: list[str] | None
    endpoints: list[str] | None
    #: Whether its requests may turn moderation off.
    may_skip_moderation: bool | None
    #: Where the events of its jobs go, and which; default: the ends of jobs.
    webhook_url: str | None
    webhook_events: list[str] | None


@dataclass(frozen=True, kw_only=True)
class Key:
    """An API key; fields as in :class:`KeyFields`. ``repr`` does not show the secret."""

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
    #: ``url``, ``events`` and ``gone_at`` (since when the receiver wants none); None: no webhook.
    webhook: Mapping[str, Any] | None = None
    #: What signs its webhooks; told once only, as ``secret``.
    webhook_secret: str | None = field(default=None, repr=False)
    #: What callers send; None except in the answer to ``create_key``, the only time the server tells it.
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
