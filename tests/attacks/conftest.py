"""Make the fixtures of tests/http available."""

from __future__ import annotations

from tests.http.conftest import responses_fit_the_document, serve, service, services

__all__ = ["responses_fit_the_document", "serve", "service", "services"]
