"""The rule for ``REDIS_URL``. Its messages never contain the address, which may have a password."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from marshmallow import ValidationError

_ENCODE = "have special characters in its password percent-encoded, such as %23 for # and %2F for /"


def check_redis_url(url: str) -> None:
    """Raises: ValidationError: the message completes "REDIS_URL must …"."""
    if not url:
        return
    scheme = url.partition("://")[0]
    if scheme not in ("redis", "rediss", "unix"):
        raise ValidationError("start with redis://, rediss:// (TLS) or unix://")
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname)
        parts.port  # noqa: B018  (raises ValueError for what is no port)
    except ValueError:
        raise ValidationError(f"be redis://[:password@]host:port/db, and {_ENCODE}") from None
    if parts.fragment:
        raise ValidationError(_ENCODE)
    if scheme == "unix":
        if not parts.path.startswith("/"):
            raise ValidationError("name a socket, such as unix:///run/redis/redis.sock")
        return
    if not has_host:
        raise ValidationError("name a host: redis://[:password@]host:port/db")
    if not re.fullmatch(r"/?|/[0-9]{1,4}", parts.path):
        raise ValidationError(f"end in the number of a database, such as /0, and {_ENCODE}")
    if scheme == "rediss" and "ssl_cert_reqs=" not in parts.query:
        raise ValidationError("end in ?ssl_cert_reqs=required (or optional, or none)")
