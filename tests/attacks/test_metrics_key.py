"""A key with the role ``metrics`` reads ``/metrics``, and nothing else that needs a key."""

from __future__ import annotations

import pytest

from app import keys as keys_on_the_host
from jobs.callers import Caller, Role
from jobs.store.credentials.api_keys import KeyRing
from tests.support.service import Service, key

#: Paths that need no key at all, or answer before they look at one.
PUBLIC = ("/", "/docs", "/health", "/healthz", "/readyz", "/openapi.json")


@pytest.fixture
def monitor(service: Service) -> dict[str, str]:
    """The header with a key for metrics, on a server that also has an admin's key."""
    return key(service, "prometheus", role="metrics", admin=key(service, "ops", role="admin"))


def test_it_reads_the_metrics(service: Service, monitor: dict[str, str]) -> None:
    response = service.get("/metrics", headers=monitor)
    assert response.status_code == 200
    assert "framemill_submitted_jobs_total 0" in response.text
    assert service.get("/metrics").status_code == 401


def test_a_client_or_a_worker_reads_no_metrics(service: Service, monitor: dict[str, str]) -> None:
    for role in (Role.CLIENT, Role.WORKER):
        secret = KeyRing(service.store).create(Caller(key_id=f"key-{role}", role=role))
        refused = service.get("/metrics", headers={"Authorization": f"Bearer {secret}"})
        assert (refused.status_code, refused.get_json()["error"]["code"]) == (403, "forbidden")
        assert "role metrics" in refused.get_json()["error"]["message"]


def test_it_may_call_nothing_else(service: Service, monitor: dict[str, str]) -> None:
    """Whatever it is refused, a request without a key gets no more, and nothing is written."""
    anonymous: dict[str, str] = {}
    called = 0
    for rule in service.app.url_map.iter_rules():
        path = rule.rule
        for name in rule.arguments:
            path = path.replace(f"<{name}>", "x").replace(f"<path:{name}>", "x").replace(f"<int:{name}>", "1")
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
            if path == "/metrics" or path in PUBLIC or rule.websocket:
                continue
            answers = [
                service.app.test_client().open(
                    path, method=method, headers=headers, json={} if method != "GET" else None
                )
                for headers in (monitor, anonymous)
            ]
            with_key, without = (answer.status_code for answer in answers)
            assert with_key in (401, 403) or with_key == without, (
                f"{method} {path}: {with_key}, {without} without a key"
            )
            called += 1
    assert called > 100
    assert service.redis.hget("framemill:counters", "submitted") is None


def test_it_cannot_log_in_to_the_console(service: Service, monitor: dict[str, str]) -> None:
    secret = monitor["Authorization"].removeprefix("Bearer ")
    refused = service.post("/v1/session", json={"key": secret}, headers={"Sec-Fetch-Site": "same-origin"})
    assert refused.status_code == 403
    assert "role metrics cannot use the console" in refused.get_json()["error"]["message"]


def test_it_is_made_by_the_settings_and_on_the_host(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ring = KeyRing(service.store)
    ring.seed(["ops:secret-of-sixteen-letters:admin", "grafana:another-secret-of-sixteen:metrics"])
    grafana = ring.by_name("grafana")
    assert grafana is not None
    assert grafana.role is Role.METRICS
    monkeypatch.setattr(keys_on_the_host.Settings, "from_env", lambda: service.settings)
    assert keys_on_the_host.main(["create", "prometheus", "--role", "metrics"]) == 0
    secret = capsys.readouterr().out.strip()
    assert service.get("/metrics", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
