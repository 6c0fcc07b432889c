"""Links to the host and to private networks, in every field that takes a link: nothing is asked, nothing is queued."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.service import Service
from tests.support.web import site

#: Spellings of addresses of this host, and addresses that only hosts of a network can reach.
HOSTS = ["localhost", "localhost.", "LOCALHOST", "127.0.0.1", "127.0.0.1.", "127.1", "0", "0.0.0.0", "2130706433",
         "0x7f.1", "0x7f000001", "017700000001", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]",
         "[0:0:0:0:0:0:0:1]", "１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "169.254.169.254", "10.0.0.1", "192.168.0.1",
         "100.64.0.1", "[fc00::1]", "[fe80::1]"]  # fmt: skip
#: Forms of a link that hide where it leads; {} is the port of a server on this host.
FORMS = ["http://user@127.0.0.1:{}/ok", "http://example.com@127.0.0.1:{}/ok", "http://127.0.0.1:{}\\@example.com/ok",
         "http://127.0.0.1:{}#@example.com/ok", " http://127.0.0.1:{}/ok", "\thttp://127.0.0.1:{}/ok",
         "HTTP://127.0.0.1:{}/ok", "http:127.0.0.1:{}/ok", "//127.0.0.1:{}/ok", "file:///etc/passwd",
         "file://127.0.0.1/etc/passwd", "gopher://127.0.0.1:{}/_x", "ftp://127.0.0.1:{}/ok", "dict://127.0.0.1:{}/x",
         "jar:http://127.0.0.1:{}/ok!/", "http://127.0.0.1:{}/ok\r\nX-Header: 1"]  # fmt: skip
#: Where a link can be sent: name → path and JSON body.
FIELDS: dict[str, tuple[str, Any]] = {
    "native image": ("/v1/jobs", lambda link: {"model": "tiny-image", "image": link}),
    "native webhook": ("/v1/jobs", lambda link: {"model": "tiny-image", "prompt": "x", "webhook_url": link}),
    "LightX2V image": ("/v1/tasks/", lambda link: {"prompt": "x", "image_path": link}),
    "LightX2V image task": ("/v1/tasks/image/", lambda link: {"prompt": "x", "image_path": link}),
    "A1111 image": ("/sdapi/v1/img2img", lambda link: {"prompt": "x", "init_images": [link], "steps": 1}),
    "A1111 mask": ("/sdapi/v1/img2img", lambda link: {"prompt": "x", "init_images": ["aGk="], "mask": link}),
    "A1111 extras": ("/sdapi/v1/extra-single-image", lambda link: {"image": link}),
    "A1111 png-info": ("/sdapi/v1/png-info", lambda link: {"image": link}),
}


@pytest.mark.parametrize("field", FIELDS)
def test_no_link_leads_into_a_private_network(service: Service, field: str) -> None:
    path, body = FIELDS[field]
    with site() as server:
        links = [f"http://{host}:{server.server_port}/ok" for host in HOSTS]
        links += [form.format(server.server_port) for form in FORMS]
        for link in links:
            answer = service.post(path, json=body(link))
            assert 400 <= answer.status_code <= 500, (link, answer.status_code, answer.text)
            assert answer.status_code < 500 or "/sdapi/" in path, (link, answer.text)  # 500 is A1111's own for images
        assert server.asked == []  # type: ignore[attr-defined]
    assert service.json("/v1/jobs")["total"] == 0
