"""Fixtures: the apps of tests/http."""

from __future__ import annotations

from tests.http.conftest import serve, service, services

__all__ = ["serve", "service", "services"]
