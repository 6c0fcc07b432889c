"""Values of the chart for the tests."""

from __future__ import annotations

from typing import Any

import pytest

#: Everything that is optional is on.
FULL: dict[str, Any] = {
    "image": {"registry": "registry.example.org/framemill", "tag": "1.2.3", "pullSecrets": [{"name": "registry"}]},
    "settings": {"S3_BUCKET": "media", "MAX_RUN_S": 900, "RETENTION_DAYS": 3},
    "models": {"file": '[demo]\nsource = "weights/demo"\n', "claim": "weights"},
    "web": {
        "ingress": {"enabled": True, "className": "nginx", "host": "mill.example.org", "tlsSecret": "tls"},
        "autoscaling": {"enabled": True},
    },
    "pools": {
        "gpu": {"keda": {"enabled": True, "models": ["flux.1", "wan"]}, "nodeSelector": {"gpu": "h200"}},
        "cpu": {
            "image": "worker-cpu", "replicas": 2, "gpus": 0, "sharedMemory": "512Mi", "spool": "10Gi",
            "resources": {"requests": {"cpu": "4"}, "limits": {"memory": "8Gi"}},
            "nodeSelector": {}, "tolerations": [], "keda": {"enabled": False},
        },
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
}  # fmt: skip


@pytest.fixture(params=["default", "full"])
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return values of the chart: none, and all options."""
    return FULL if request.param == "full" else {}
