"""Fixtures: Flask apps with a Redis and no other processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from jobs.settings import Settings
from tests.support import documented
from tests.support.served_app import ServedApp
from tests.support.service import Service


@pytest.fixture(autouse=True)
def responses_fit_the_document() -> Iterator[None]:
    """Check that every response of a test matches the OpenAPI document."""
    yield
    assert documented.take_misfits() == []


@pytest.fixture(scope="module")
def services(server: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Service]]:
    """``services(SETTING=value)``: return an app on the emptied Redis; apps with equal settings are created once."""
    made: dict[str, Service] = {}

    def make(**options: Any) -> Service:
        name = repr(sorted(options.items()))
        if name not in made:
            made[name] = Service(server, tmp_path_factory.mktemp("service"), **options)
        return made[name].empty()

    yield make
    for service in made.values():
        service.close()


@pytest.fixture
def service(services: Callable[..., Service]) -> Service:
    """Return an app with default settings and the slot ``gpu0``, on an emptied Redis."""
    service = services()
    service.open()
    return service


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., ServedApp]]:
    """``serve(models, SETTING=value)``: return an app behind an HTTP server in this process; ends with the module."""
    with ExitStack() as apps:

        def make(*models: str, **environment: Any) -> ServedApp:
            app = ServedApp(*models, **environment)
            apps.callback(app.close)
            return app

        yield make
