"""Celery's settings of its broker, from the address of Redis."""

from __future__ import annotations

from typing import Any

from jobs.settings import Settings


def broker_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings, by their names. Flower's page of queues reads them as well."""
    address = settings.redis_address
    # The timeouts detect a dead connection; with retry_on_timeout the worker would hang for ever.
    options: dict[str, Any] = {
        "socket_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 5,
        # No message has a priority: one list for each queue instead of four, of which Redis would watch each.
        "priority_steps": [0],
    }
    if address.hosts:
        options["socket_connect_timeout"] = 2
    if address.service:
        options |= {
            "redis_address": address,  # the transport asks every Sentinel, Flower the one in the URL
            "master_name": address.service,
            "sentinel_kwargs": address.sentinel_login,
        }
    return {"broker_url": address.broker_url, "broker_use_ssl": address.tls, "broker_transport_options": options}
