"""The addresses that links of clients may point to."""

from __future__ import annotations

from jobs.outbound.ssrf import may_connect

PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808", "::ffff:8.8.8.8"]
LINK_LOCAL_AND_METADATA = [
    "169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%eth0", "2606:4700::1111%eth0",
    "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254",
    "224.0.0.1", "239.1.2.3", "ff02::1", "0.0.0.0", "::", "no address", "",
]  # fmt: skip
PRIVATE = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fc00::1", "fec0::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
]  # fmt: skip
SPECIAL = [
    "2002:7f00:1::", "2002:808:808::1", "2001:0:7f00:1::1", "2001:db8::1", "3fff::1", "::127.0.0.1", "64:ff9b:1::a00:1",
    "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "240.0.0.1", "255.255.255.255", "100::1",
    "4000::1", "5f00::1",
]  # fmt: skip


def test_only_public_addresses_may_be_reached() -> None:
    assert [a for a in PUBLIC if not may_connect(a)] == []
    assert [a for a in PRIVATE + SPECIAL + LINK_LOCAL_AND_METADATA if may_connect(a)] == []


def test_an_allowed_host_may_be_private_but_never_link_local_or_metadata() -> None:
    assert [a for a in PUBLIC + PRIVATE if not may_connect(a, private=True)] == []
    assert [a for a in LINK_LOCAL_AND_METADATA if may_connect(a, private=True)] == []
