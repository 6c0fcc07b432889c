"""Addresses of this server in responses, as the caller of the current request reaches it."""

from __future__ import annotations

from flask import request

from app.extensions import settings


def prefix() -> str:
    """Return the path prefix of this server, below which a reverse proxy serves it: ``/framemill``; '' without one."""
    return request.script_root


def base_url() -> str:
    """Return the address of this server, without a slash at its end: ``PUBLIC_URL``, or the one that was called."""
    return (settings().web.public_url or request.url_root).rstrip("/")
