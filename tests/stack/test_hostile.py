"""A folder of malicious files, sent to a running server in every form: refused by name and rule, and without effect."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from jobs.objects.local import LocalStore
from jobs.store import keys
from tests.support import hostile
from tests.support.harness import Stack, running
from tests.support.pictures import JPEG, PNG, b64, picture

REFUSED = {name: rule for name, _, rule in hostile.refused()}
ACCEPTED = {name: rewritten for name, _, rewritten in hostile.accepted()}
#: Maximum growth of the web process while it refuses, MiB: less than one of the files, which has 60 MB, when unpacked.
MAX_GROWTH_MIB = 40
#: Keys of what the processes measure, also of refused requests.
MEASUREMENTS = (keys.MEASURES, keys.MEASURED, keys.BATCH)
TINY = {"model": "tiny-image", "kind": "img2img", "strength": 0.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "files"
    hostile.build(path)
    return path


@pytest.fixture(scope="module")
def server_alone(models_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server without workers: accepted jobs wait."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="fm-") as name, running(Path(name), models_file) as stack:
        yield stack


class Effects:
    """Everything that a request could leave behind."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.objects = stack, LocalStore(stack.settings.paths.objects_dir)

    def now(self) -> dict[str, Any]:
        counters = self.stack.store.client.keys("*")
        files = [path for path in self.stack.settings.paths.data_dir.rglob("*") if "redis" not in path.parts]
        return {
            "redis": sorted(name for name in counters if not name.startswith(MEASUREMENTS)),
            "files": sorted(str(path) for path in files if path.is_file() and path.suffix != ".log"),
            "submitted": self.stack.store.client.hgetall("framemill:counters"),
        }


@pytest.fixture(scope="module")
def effects(server_alone: Stack) -> Effects:
    send(server_alone, "warm-up", b"junk")
    return Effects(server_alone)


def send(stack: Stack, name: str, data: bytes, **fields: str) -> requests.Response:
    """Send it as a file of a form under this name, which may contain any character."""
    # Built by hand, because the HTTP library would escape the name.
    quoted = name.replace("\\", "\\\\").replace('"', '\\"').encode()
    parts = [
        b'--cut\r\nContent-Disposition: form-data; name="' + key.encode() + b'"\r\n\r\n' + str(value).encode() + b"\r\n"
        for key, value in {**TINY, **fields}.items()
    ]
    file = b'--cut\r\nContent-Disposition: form-data; name="image"; filename="' + quoted + b'"\r\n'
    body = b"".join(parts) + file + b"Content-Type: image/png\r\n\r\n" + data + b"\r\n--cut--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=cut"}
    return requests.post(stack.url("/v1/jobs"), data=body, headers=headers, timeout=60)


def rule_of(response: requests.Response) -> str:
    assert response.status_code == 422, response.text[:300]
    error = response.json()["error"]
    assert error["code"] == "invalid_request"
    (problem,) = error["fields"]
    assert problem["field"] == "image"
    return str(problem["rule"])


def memory_mib(stack: Stack) -> int:
    """Return the peak memory of a process of the web server, MiB."""
    children = Path(f"/proc/{stack.processes['web'].pid}/task/{stack.processes['web'].pid}/children").read_text()
    found = [re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in children.split()]
    return max(int(match.group(1)) // 1024 for match in found if match)


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_a_hostile_file_without_effect(server_alone: Stack, folder: Path, effects: Effects, name: str) -> None:
    data = (folder / name).read_bytes()
    before, memory = effects.now(), memory_mib(server_alone)
    media_type = "image/png"
    answers = [
        send(server_alone, name, data),
        server_alone.post(**TINY, image=b64(data) or "="),
        server_alone.post(**TINY, image=f"data:{media_type};base64,{b64(data)}"),
    ]
    for answer in answers:
        assert REFUSED[name] in rule_of(answer)
    assert effects.now() == before
    # The body itself exists several times on its way: as sent, as text, as bytes.
    assert memory_mib(server_alone) - memory < MAX_GROWTH_MIB + 10 * len(data) // 2**20


@pytest.mark.filterwarnings("ignore:Tag data larger than file")
@pytest.mark.parametrize("name", ACCEPTED)
def test_takes_an_odd_file_that_is_a_picture(server_alone: Stack, folder: Path, effects: Effects, name: str) -> None:
    data, memory = (folder / name).read_bytes(), memory_mib(server_alone)
    answer = send(server_alone, name, data)
    assert answer.status_code == 201, answer.text
    (key,) = server_alone.store.get(answer.json()["id"]).request.inputs
    content = b"".join(effects.objects.read(key))
    assert (content != data) == ACCEPTED[name]
    if content != data:
        assert hostile.SCRIPT not in content
        assert content.endswith(b"IEND\xaeB`\x82")
    image = Image.open(io.BytesIO(content))
    image.load()
    assert image.mode in ("RGB", "L")
    assert memory_mib(server_alone) - memory < MAX_GROWTH_MIB


@pytest.mark.parametrize("name", hostile.NAMES)
def test_the_name_of_an_upload_means_nothing(server_alone: Stack, effects: Effects, name: str) -> None:
    before = effects.now()["files"]
    data = b"".join([JPEG[:2], b"\xff\xfe", (len(name.encode()) + 2).to_bytes(2, "big"), name.encode(), JPEG[2:]])
    answer = send(server_alone, name, data)
    if answer.status_code == 201:
        (key,) = server_alone.store.get(answer.json()["id"]).request.inputs
        assert re.fullmatch(r"inputs/[0-9a-f]{64}\.[0-9a-f]{8}\.jpg", key)
        new = {Path(path).name for path in effects.now()["files"]} - {Path(path).name for path in before}
        assert new == {Path(key).name, f".{Path(key).name}.meta"}
    else:  # a name that breaks the syntax of the form
        assert 400 <= answer.status_code < 500
        assert effects.now()["files"] == before


@pytest.mark.parametrize("field", ["../image", "image\0", "image/../../x", "/etc/passwd"])
def test_the_name_of_a_field_means_nothing(server_alone: Stack, effects: Effects, field: str) -> None:
    before = effects.now()["files"]
    files = {field: ("a.png", PNG, "image/png")}
    answer = requests.post(server_alone.url("/v1/jobs"), data={"model": "tiny-image"}, files=files, timeout=90)
    assert answer.status_code < 500
    assert effects.now()["files"] == before


def test_a_picture_beside_wrong_fields_is_not_stored(server_alone: Stack, effects: Effects) -> None:
    before = effects.now()
    image = picture(size=(41, 31))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    assert send(server_alone, "a.png", buffer.getvalue(), steps="0").status_code == 422
    assert effects.now() == before


def test_links_lead_to_allowed_hosts_only(start) -> None:  # type: ignore[no-untyped-def]
    from tests.support.web import site

    with site() as web:
        port = web.server_port
        stack = start(INPUT_URL_ALLOW="pictures.example, 127.0.0.1")
        for host, reached in (("127.0.0.1", True), ("localhost", False), ("[::1]", False), ("127.0.0.2", False)):
            rule = rule_of(stack.post(**TINY, image=f"http://{host}:{port}/ok"))
            assert (hostile.FORMAT in rule) == reached, rule  # the site sends no picture
            assert ("public addresses" in rule) == (not reached)
        assert len(web.asked) == 1  # type: ignore[attr-defined]
        assert stack.store.client.hget("framemill:counters", "submitted") is None
