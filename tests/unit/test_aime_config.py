"""Endpoint files of the AIME protocol: what they may contain, and the errors for mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.protocols.aime.endpoints.config import SERVER_FILE, load_endpoints
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
        ("[ENDPOINT]\nname = 'api'", r"\[ENDPOINT\] name: .* no path of the server"),
        ("[ENDPOINT]\nname = 'x'\nmethods = ['PUT']", r":3: \[ENDPOINT\] methods: must be out of GET, POST"),
        ("[ENDPOINT]\nname = 'x'\nmax_queue_length = -1", r":3: \[ENDPOINT\] max_queue_length: .* at least 0"),
        ("[ENDPOINT]\nname = 'x'\ncolour = 1", r":3: \[ENDPOINT\] colour: unknown key"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\n\na.type = 'colour'", r":5: \[INPUTS\] a.type: must be one of"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\na = { type = 'int', default = 'one' }", r"\[INPUTS\] a.default: must be"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\na = { type = 'integer', min = 3, max = 2 }", r"a.min: must not"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\na = { type = 'integer', max_length = 2 }", r"a.max_length: unknown key"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\na = { type = 'selection' }", r"a.supported: is missing"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\nkey = { type = 'string' }", r"\[INPUTS\] key: is an input of every"),
        ("[ENDPOINT]\nname = 'x'\n[INPUTS]\na = { type = 'image', size = { max = 3 } }", r"a.size.max: must be \["),
        ("[ENDPOINT]\nname = 'x'\n[CLIENTS]\nauthorization_keys = { 'a b' = 'k' }", r"authorization_keys: user 'a b'"),
        ("[ENDPOINT]\nname = 'x'\n[MODEL]\nname = 'none'", r":4: \[MODEL\] name: there is no such model"),
        ("[ENDPOINT]\nname = 'x'\n[STATIC]\na = { file = 'gone.html' }", r"\[STATIC\] a.file: there is no file"),
        ("[ENDPOINT]\nname = 'x'\n[WORKER]\njob_type = ''", r"\[WORKER\] job_type: name either"),
        ("[ENDPOINT]\nname = 'x'\n[OUTPUTS]\na = { type = 'pictures' }", r":4: \[OUTPUTS\] a.type: must be one of"),
        ("[ENDPOINT\n", r"aime_api_endpoint.cfg: "),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_file_line_and_key(tmp_path: Path, line: str, said: str) -> None:
    text = line if "[WORKER]" in line or "[MODEL]" in line else line + "\n[WORKER]\njob_type = 'x'\n"
    with pytest.raises(BadSetting, match=said) as refused:
        read(tmp_path, text)
    assert str(tmp_path) in str(refused.value)


def test_a_name_is_used_once(tmp_path: Path) -> None:
    read(tmp_path)
    (tmp_path / "endpoints" / "aime_api_endpoint.cfg").write_text(GOOD)
    with pytest.raises(BadSetting, match="another file has an endpoint 'paint'"):
        read(tmp_path)
