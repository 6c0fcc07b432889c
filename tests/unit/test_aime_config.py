"""Endpoint files of the AIME protocol: what they may contain, and the errors for mistakes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask

from app.protocols.aime.endpoints import templates
from app.protocols.aime.endpoints.config import load_endpoints
from app.protocols.aime.endpoints.own_paths import SHARED, OwnPaths
from app.protocols.aime.endpoints.server_file import SERVER_FILE
from app.protocols.aime.endpoints.spec import Endpoints
from jobs.errors import BadSetting
from jobs.models.registry import ModelRegistry
from jobs.settings import PROJECT_ROOT, Settings

GOOD = """
[ENDPOINT]
name = "paint"
[WORKER]
job_type = "paint"
[INPUTS]
prompt = { type = "string" }
[OUTPUTS]
images = { type = "image_list", format = "PNG" }
"""


def read(folder: Path, text: str = GOOD, server: str = "", models: str = "") -> Endpoints:
    below = folder / "endpoints" / "a" / "b"
    below.mkdir(parents=True, exist_ok=True)
    (below / "aime_api_endpoint.cfg").write_text(text)
    if server:
        (folder / "endpoints" / SERVER_FILE).write_text(server)
    registry_file = folder / "models.toml"
    registry_file.write_text(models)
    settings = Settings.of(endpoints_dir=folder / "endpoints")
    return load_endpoints(settings, ModelRegistry.from_file(registry_file))


def test_an_endpoint_has_defaults(tmp_path: Path) -> None:
    endpoint = read(tmp_path).by_name["paint"]
    assert (endpoint.title, endpoint.description, endpoint.methods) == ("paint", "paint", ("GET", "POST"))
    assert (endpoint.max_queue_length, endpoint.max_time_in_queue) == (1000, 3600)
    assert (endpoint.job_inactivity_timeout, endpoint.result_lifetime, endpoint.request_timeout) == (360, 900, 60)


def test_the_servers_file_fills_in(tmp_path: Path) -> None:
    server = """
[SERVER]
port = 7777
[CLIENTS]
default_authorization_keys = { anna = "k" }
default_client_request_limit = 5
[WORKERS]
default_auth_key = "w"
default_request_timeout = 30
[ENDPOINTS]
default_max_queue_length = 9
default_result_lifetime = 60
[INPUTS]
image.format = { allowed = ["PNG"] }
"""
    found = read(tmp_path, GOOD + "[CLIENTS]\nclient_request_limit = 6\n", server)
    endpoint = found.by_name["paint"]
    assert found.formats == {"image": ("png",)}
    assert (endpoint.client_keys, endpoint.request_limit) == ({"anna": "k"}, 6)
    assert (endpoint.max_queue_length, endpoint.result_lifetime, endpoint.request_timeout) == (9, 60, 30)
    assert endpoint.accepts_worker_key("w")
    assert not endpoint.accepts_worker_key("k")


def test_a_model_of_the_server_computes_it(tmp_path: Path) -> None:
    models = '[tiny]\nkinds = ["text2img"]\nexecutor = "noop"\n'
    text = """
[ENDPOINT]
name = "own"
[MODEL]
name = "tiny"
fields = { text = "prompt" }
[INPUTS]
text = { type = "string" }
num_inference_steps = { type = "integer" }
"""
    own = read(tmp_path, text, models=models).by_name["own"].local_model
    assert own is not None
    assert (own.name, own.fields) == ("tiny", {"text": "prompt", "num_inference_steps": "steps"})


def test_the_shipped_endpoint_is_right() -> None:
    models = ModelRegistry.from_file(PROJECT_ROOT / "models.toml")
    assert list(load_endpoints(Settings(), models).by_name) == ["demo_image"]
    # The example does not keep a server with other models from starting.
    assert load_endpoints(Settings(), ModelRegistry([])).by_name == {}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[ENDPOINT]\nname = 'a b'", r":2: \[ENDPOINT\] name: must be letters"),
        ("[ENDPOINT]\nname = 'x'\nmethods = ['PUT']", r":3: \[ENDPOINT\] methods: must be out of GET, POST"),
        ("[ENDPOINT]\nname = 'x'\nmax_queue_length = -1", r":3: \[ENDPOINT\] max_queue_length: .* at least 0"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\n\na.type = 'colour'", r":5: \[INPUTS\] a.type: must be one of"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\na = { type = 'int', default = 'one' }", r"\[INPUTS\] a.default: must be"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\na = { type = 'integer', min = 3, max = 2 }", r"a.min: must not"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\na = { type = 'selection' }", r"a.supported: is missing"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\na = { type = 'image', aspect_ratio_min = 0 }", r"ratio_min: .* above 0"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\na = { type = 'image', size = { max = 3 } }", r"a.size.max: must be \["),
        ("[ENDPOINT]\nname = 'x'\n[CLIENTS]\nauthorization_keys = { 'a b' = 'k' }", r"authorization_keys: user 'a b'"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\na = 5", r":4: \[INPUTS\] a: must be a table"),
        ("[ENDPOINT]\nname = 'x'\n[MODEL]\nname = 'none'", r":4: \[MODEL\] name: there is no such model"),
        ("[ENDPOINT]\nname = 'x'\n[CLIENTS]\nresult_lifetime = 'x'", r":4: \[CLIENTS\] result_lifetime: must"),
        ("[ENDPOINT]\nname = 'x'\n[STATIC]\na = { compile = 'less' }", r"\[STATIC\] a.compile: must be one of"),
        ("[ENDPOINT]\nname = 'x'\n[WORKER]\njob_type = ''", r"\[WORKER\] job_type: name either"),
        ("[ENDPOINT]\nname = 'x'\n[OUTPUTS]\na = { type = 'pictures' }", r":4: \[OUTPUTS\] a.type: must be one of"),
        ("[ENDPOINT\n", r"aime_api_endpoint.cfg: "),
    ],
)  # fmt: skip
def test_a_mistake_takes_its_own_endpoint_away(
    tmp_path: Path, line: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "endpoints").mkdir()
    (tmp_path / "endpoints" / "aime_api_endpoint.cfg").write_text(GOOD)
    text = line if "[WORKER]" in line or "[MODEL]" in line else line + "\n[WORKER]\njob_type = 'x'\n"
    found = read(tmp_path, text)
    assert list(found.by_name) == ["paint"]
    (error,) = found.broken.values()
    assert re.search(said, error)
    assert str(tmp_path) in error
    assert error in caplog.text


def test_a_mistake_in_the_servers_file_stops_the_server(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"aime_api_server.cfg: "):
        read(tmp_path, server="[CLIENTS\n")


def test_a_wrong_default_is_named_where_it_is(tmp_path: Path) -> None:
    found = read(tmp_path, server="[WORKERS]\n\ndefault_request_timeout = 'long'\n")
    assert "aime_api_server.cfg:3: [WORKERS] default_request_timeout: must be a number" in found.broken["paint"]


def test_a_name_is_used_once(tmp_path: Path) -> None:
    read(tmp_path)
    (tmp_path / "endpoints" / "aime_api_endpoint.cfg").write_text(GOOD)
    settings = Settings.of(endpoints_dir=tmp_path / "endpoints")
    found = load_endpoints(settings, ModelRegistry([]))
    assert (list(found.by_name), found.broken) == (["paint"], {})


def test_paths_of_the_server_are_no_names(tmp_path: Path) -> None:
    app = Flask("test", static_folder=None)
    for path in ("/metrics", "/jobs/<job_id>", "/tools/progress", "/v1/<name>", "/mount/"):
        app.add_url_rule(path, path, str)
    for name in ("metrics", "jobs", "tools", "v1", "mount", "worker_login"):
        below = tmp_path / "endpoints" / name
        below.mkdir(parents=True)
        (below / "aime_api_endpoint.cfg").write_text(GOOD.replace("paint", name, 1))
    found = load_endpoints(Settings.of(endpoints_dir=tmp_path / "endpoints"), ModelRegistry([]), OwnPaths(app))
    # An endpoint has paths below its name: /jobs/<job_id> would be its progress.
    assert list(found.by_name) == []
    assert {error.rpartition(": ")[2] for error in found.broken.values()} == {
        ", ".join(sorted(["jobs", "metrics", "mount", "tools", "v1", *(path for path in SHARED if "/" not in path)]))
    }


#: Every key of endpoint files of AIME API server 0.8.0 to 0.9.6.
EVERY_KEY = """
[ENDPOINT]
title = "Everything"
name = "everything"
demo_url = "every-thing"
description = "All keys"
methods = ["GET", "POST"]
version = 3
category = "image"
max_queue_length = 7
provide_worker_meta_data = true
input_metering = ["token"]
output_metering = ["image"]
[USER]
[WORKER]
job_type = "everything"
auth_key = "w"
job_timeout = 20
[CLIENTS]
authentication = "User"
authorization = "Key"
client_request_limit = 5
authorization_keys = { "anna" = "k" }
max_time_in_queue = 70
job_inactivity_timeout = 80
result_lifetime = 90
[SESSION]
[SESSION.VARS]
counter = { type = "integer", default = 0 }
[INPUTS]
prompt.type = "string"
prompt.default = ""
prompt.required = true
text = { type = "str", max_length = 9 }
number.type = "int"
number.min = 1
number.max = 99
number.align = 2
number.default = 0
number.auto_convert = true
choice.type = "selection"
choice.supported = ["a", "b"]
choice.default = "none"
choice.auto_convert = true
options = { type = "json", default = [] }
chat_context.type = "chat_context"
chat_context.default = ""
chat_context.support = ["image"]
chat_context.image.resize_method = "scale"
chat_context.image.format = { supported = ["JPG"], default = "JPG", auto_convert = true }
text_context.type = "text_context"
image.type = "image"
image.size = { minimum = [8, 8], maximum = [64, 64], align = [8, 8], aspect_ratio_min = 0.5, aspect_ratio_max = 1.5, auto_convert = true, resize_method = "Crop" }
image.aspect_ratio_min = 0.25
image.aspect_ratio_max = 4.0
image.option_convert_bw = false
image.color_space = { supported = ["RGB", "YUV"], default = "RGB", auto_convert = true }
image.format = { supported = ["PNG"], default = "png", auto_convert = true }
image.check_conversion = true
image.input_temp_file = "auto"
image.output_temp_file = "auto"
audio.type = "audio"
audio.audio_bit_rate = { max = 64000, auto_convert = true }
audio.duration = { max = 30, auto_convert = true }
client_session_auth_key.type = 'string'
client_session_auth_key.required = true
[PROGRESS]
    [PROGRESS.OUTPUTS]
    images = { type = "image_list", format = "JPEG", color_space = "RGB" }
[OUTPUTS]
images.type = "image_list"
images.format = "JPG"
error = { type = "string" }
[STATIC]
'/every-thing/static' = { path = 'static' }
'/every-thing/static/main.js' = { file = 'static/main.js' }
'/every-thing/files/' = { file = 'static' }
'/every-thing/css' = { path = 'scss', compiled_path = 'compiled', compile = 'scss' }
'/every-thing/about.html' = { file = 'about.md', compiled_path = 'compiled', css_file = 'a.css', compile = 'md' }
[HTML]
'/everything.html' = { file = 'plain.html' }
[JINJA ]
'/every-thing/' = { file = 'index.html', type='jinja2' }
"""  # noqa: E501


@pytest.fixture
def every_key(tmp_path: Path) -> Path:
    files = {"static/main.js": "", "compiled/about.html": "", "plain.html": "",
             "index.html": "{% extends 'base.html' %}{% block main %}{{ endpoint_title }}{% endblock %}"}  # fmt: skip
    for name, text in files.items():
        path = tmp_path / "endpoints" / "a" / "b" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "base.html").write_text("<main>{% block main %}{% endblock %}</main>")
    return tmp_path


def test_every_key_of_the_format_is_known(every_key: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = read(every_key, EVERY_KEY)
    assert (caplog.text, found.broken) == ("", {})
    endpoint = found.by_name["everything"]
    assert (endpoint.max_time_in_queue, endpoint.job_inactivity_timeout, endpoint.result_lifetime) == (70, 80, 90)
    assert (endpoint.request_timeout, endpoint.worker_meta, endpoint.request_limit) == (20, True, 5)
    inputs = endpoint.inputs
    assert "client_session_auth_key" not in inputs
    image = inputs["image"]
    assert (image.resize_method, image.min_ratio, image.max_ratio) == ("crop", 0.5, 1.5)
    assert inputs["chat_context"].items["image"].attributes["format"].supported == ("jpeg",)
    below = every_key / "endpoints" / "a" / "b"
    assert {address: page.path for address, page in found.pages.items()} == {
        "every-thing": below / "index.html",
        "every-thing/static": below / "static",
        "every-thing/static/main.js": below / "static" / "main.js",
        "every-thing/files": below / "static",
        "every-thing/css": below / "compiled",
        "every-thing/about.html": below / "compiled" / "about.html",
        "everything.html": below / "plain.html",
    }
    assert templates.render(found.pages["every-thing"]) == "<main>Everything</main>"


#: The same of the server's file.
EVERY_SERVER_KEY = """
[SERVER]
port = 7777
host = "0.0.0.0"
endpoint_configs = "./endpoints"
[SANIC]
response_timeout = 60
[ADMIN]
user = 'admin'
[CLIENTS]
default_authentication = "User"
default_authorization = "Key"
default_authorization_keys = { "aime" = "k" }
default_provide_worker_meta_data = true
default_client_request_limit = 3
default_job_inactivity_timeout = 40
default_result_lifetime = 50
[WORKERS]
job_timeout = 30
default_auth_key = "w"
[ENDPOINTS]
default_max_queue_length = 9
default_max_time_in_queue = 60
[INPUTS]
image.format = { allowed = ["png", "jpg"] }
[OPENAI]
enable_v1_api = true
[OPENAI.MODELS]
'gpt' = { endpoint = 'x' }
[STATIC]
'/model_api/frontend' = { path = './static' }
"""


def test_every_key_of_the_servers_file_is_known(every_key: Path, caplog: pytest.LogCaptureFixture) -> None:
    (every_key / "static").mkdir()
    (every_key / SERVER_FILE).write_text(EVERY_SERVER_KEY)  # in the folder above, as the original's repository has it
    caplog.set_level("WARNING")
    found = read(every_key)
    endpoint = found.by_name["paint"]
    assert (caplog.text, found.formats) == ("", {"image": ("png", "jpeg")})
    assert (endpoint.client_keys, endpoint.request_limit, endpoint.worker_meta) == ({"aime": "k"}, 3, True)
    assert (endpoint.job_inactivity_timeout, endpoint.result_lifetime, endpoint.max_time_in_queue) == (40, 50, 60)
    assert (endpoint.request_timeout, endpoint.max_queue_length) == (30, 9)
    assert found.pages["model_api/frontend"].path == every_key / "static"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ENDPOINT]\nname = 'x'\nversoin = 1", r":3: \[ENDPOINT\] versoin: unknown key; did you mean version\?"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\na = { type = 'int', max_length = 2 }", r"a.max_length: unknown key"),
        ("[ENDPOINT]\nname = 'x'\n[COLOURS]\nred = 1", r":3: \[COLOURS\] table: unknown key"),
        ("[ENDPOINT]\nname = 'x'\n[STATIC]\n'/a' = { file = 'gone.html' }", r"\[STATIC\] /a: there is no file"),
        ("[ENDPOINT]\nname = 'x'\n[JINJA]\n'/a' = { file = 'aime_api_endpoint.cfg', typ = 1 }", r"a.typ: unknown key"),
        ("[ENDPOINT]\nname = 'x'\n[STATIC]\n'/x/progress' = { file = 'aime_api_endpoint.cfg' }", r"page is not served"),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_a_warning(
    tmp_path: Path, text: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = read(tmp_path, text + "\n[WORKER]\njob_type = 'x'\n")
    assert (list(found.by_name), found.broken) == (["x"], {})
    assert re.search(said, caplog.text)


def test_a_template_without_its_base_is_left_out(every_key: Path, caplog: pytest.LogCaptureFixture) -> None:
    (every_key / "templates" / "base.html").unlink()
    found = read(every_key, EVERY_KEY)
    assert "everything" in found.by_name
    assert "every-thing" not in found.pages
    assert "[JINJA] /every-thing/: the template cannot be shown: TemplateNotFound: 'base.html' not found" in caplog.text
