"""How ``REDIS_URL`` is read."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.errors import BadSetting
from jobs.settings import Settings
from jobs.settings.redis_address import RedisAddress

TLS = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("redis://h", {"hosts": (("h", 6379),)}),
        ("redis://u:p%23%2F@[::1]:1/15", {"hosts": (("::1", 1),), "username": "u", "password": "p#/", "db": 15}),
        ("redis://h?db=3", {"hosts": (("h", 6379),), "db": 3}),
        ("redis://:p@ss@h", {"hosts": (("h", 6379),), "password": "p@ss"}),
        ("unix://:p%2F@/run/a%20b.sock?db=2", {"path": "/run/a b.sock", "password": "p/", "db": 2}),
        ("rediss://h", {"hosts": (("h", 6379),), "tls": TLS}),
        (
            "rediss://h/0?ssl_ca_certs=/c%20a.crt&ssl_check_hostname=false",
            {"hosts": (("h", 6379),), "tls": {**TLS, "ssl_ca_certs": "/c a.crt", "ssl_check_hostname": False}},
        ),
        (
            "rediss://h/0?ssl_cert_reqs=none",
            {"hosts": (("h", 6379),), "tls": {"ssl_cert_reqs": "none", "ssl_check_hostname": False}},
        ),
        (
            "sentinel://u:p@h1:1,h2,[::1]:3/4?service=mymaster&sentinel_username=s&sentinel_password=a+b%26",
            {
                "hosts": (("h1", 1), ("h2", 26379), ("::1", 3)), "username": "u", "password": "p", "db": 4,
                "service": "mymaster", "sentinel_username": "s", "sentinel_password": "a+b&",
            },
        ),
        ("sentinels://h?service=m", {"hosts": (("h", 26379),), "service": "m", "tls": TLS}),
    ],
)  # fmt: skip
def test_an_address_is_read_in_parts(url: str, parts: dict[str, Any]) -> None:
    address = Settings.of(redis_url=url).redis_address
    assert address == RedisAddress(**parts)
    assert "p#/" not in repr(address)
    assert "a+b&" not in repr(address)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("sentinel://h:26379/0", "end in ?service=NAME"),
        ("redis://h1,h2/0", "name one host"),
        ("redis://h:99999/0", "be redis://"),
        ("redis://h:port/0", "be redis://"),
        ("redis://h/0?service=m", "have nothing but db behind the ? of redis://, not service"),
        ("redis://h/0?ssl_ca_certs=/x", "have nothing but db behind the ? of redis://, not ssl_ca_certs"),
        ("rediss://h/0?ssl_cert_reqs=maybe", "have ssl_cert_reqs=required or optional or none"),
        ("rediss://h/0?ssl_keyfile=/k", "have ssl_certfile"),
        ("rediss://h/0?ssl_check_hostname=no", "have ssl_check_hostname=true or false"),
        ("unix://run/redis.sock", "name a socket"),
        ("unix:///r.sock?db=x", "have a number as its database"),
        ("redis://:pa?zz&word@h:6379/0", "percent-encoded"),
    ],
)  # fmt: skip
def test_what_cannot_be_an_address_is_refused_without_its_password(url: str, rule: str) -> None:
    with pytest.raises(BadSetting) as caught:
        Settings.of(redis_url=url)
    assert caught.value.message.startswith("REDIS_URL must ")
    assert rule in caught.value.message
    assert "zz" not in caught.value.message
