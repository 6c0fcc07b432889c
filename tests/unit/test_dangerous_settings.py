"""Dangerous combinations of settings are named, and harmless ones are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.settings import Settings
from jobs.settings.dangerous import dangers

PROXY: dict[str, Any] = {"trusted_proxies": "127.0.0.1"}
SENTINELS = "sentinel://:x@h1:26379,h2:26379/0?service=mymaster"


@pytest.mark.parametrize(
    ("values", "has_keys", "named"),
    [
        ({}, False, ""),
        (PROXY, True, ""),
        (PROXY, False, "TRUSTED_PROXIES: others may reach this server, and there are no API keys"),
        (PROXY, None, "it is unknown whether there are API keys"),
        ({"public_url": "https://mill.example.org"}, False, "PUBLIC_URL: others may reach"),
        ({"public_url": "http://127.0.0.1:8000"}, False, ""),
        ({"public_url": "https://mill.example.org"}, True, ""),
        ({"public_url": "http://mill.example.org"}, True, "PUBLIC_URL is not encrypted"),
        ({**PROXY, "allowed_hosts": "mill"}, False, "TRUSTED_PROXIES, ALLOWED_HOSTS: others"),
        ({"cors_origins": "*"}, False, "every web page that is opened on this machine"),
        ({"cors_origins": "*"}, True, ""),
        ({"cors_origins": "https://pages.example.org"}, False, ""),
        ({"trusted_proxies": "0.0.0.0/0"}, True, "TRUSTED_PROXIES has 0.0.0.0/0"),
        ({"trusted_proxies": "10.0.0.0/8,fd00::/16"}, True, ""),
        ({"redis_url": "redis://10.0.0.5:6379/0"}, True, "without a password"),
        ({"redis_url": "redis://:x@10.0.0.5:6379/0"}, True, ""),
        ({"redis_url": "redis://127.0.0.1:6379/0"}, True, ""),
        ({"redis_url": "rediss://10.0.0.5/0?ssl_certfile=a&ssl_keyfile=b"}, True, ""),
        ({"redis_url": SENTINELS}, True, "REDIS_WAIT_REPLICAS is 0"),
        ({"redis_url": SENTINELS, "redis_wait_replicas": 1}, True, ""),
        ({"data_dir": Path("/srv/mill"), "input_dir": "/srv/mill/objects"}, True, "overlap"),
        ({"data_dir": Path("/srv/mill"), "input_dir": "/srv"}, True, "overlap"),
        ({"data_dir": Path("/srv/mill"), "input_dir": "/srv/pictures"}, True, ""),
    ],
)
def test_a_dangerous_combination_is_named(
    values: dict[str, Any], has_keys: bool | None, named: str, tmp_path: Path
) -> None:
    sentences = dangers(Settings.of(**values), lambda: has_keys, env_file=tmp_path / "none")
    assert len(sentences) == bool(named), sentences
    assert named in "".join(sentences)


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o640])
def test_secrets_that_others_can_read_are_named(mode: int, tmp_path: Path) -> None:
    keys_file, env_file, harmless = tmp_path / "keys", tmp_path / "env", tmp_path / "harmless"
    keys_file.write_text("# none\n")
    env_file.write_text("PORT=80\nREDIS_URL=redis://:x@127.0.0.1/0\n")
    harmless.write_text("PORT=80\n")
    for file in (keys_file, env_file, harmless):
        file.chmod(mode)
    settings = Settings.of(api_keys_file=str(keys_file))
    found = dangers(settings, lambda: True, env_file=env_file)
    assert len(found) == (2 if mode == 0o644 else 0)
    assert dangers(Settings.of(), lambda: True, env_file=harmless) == []
