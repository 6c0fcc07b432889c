"""Replicate's clients on real processes: the replicate packages of Python and Node, and @ai-sdk/replicate."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support import clients, drawn_models
from tests.support.harness import PATIENCE_S, Stack, wait_for
from tests.support.receiver import SECRET, receiving
from tests.support.webhook_calls import OPTIONS

PROGRAM = clients.PINS / "use_replicate.py"
pytestmark = pytest.mark.timeout(clients.INSTALL_S)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    models = drawn_models.write(tmp_path_factory.mktemp("models"))
    with drawn_models.stack_in_new_folder(models, "gpu0", "io", **{**OPTIONS, "PUBLIC_URL": ""}) as stack:
        yield stack


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    return stack.first_key()


def test_the_python_client(stack: Stack, key: str) -> None:
    clients.run(clients.python("replicate"), PROGRAM, stack.url(""), key, "all")


def test_the_clients_of_node(stack: Stack, key: str) -> None:
    with receiving() as receiver:
        program = clients.NODE / "use_replicate.mjs"
        prediction_id = clients.run(clients.node(), program, stack.url(""), key, receiver.url).split()[-1]
        (message,) = wait_for(lambda: receiver.messages, "the webhook")
        expected, sent = message.signatures(SECRET)
        assert expected in sent
        assert (message.json["id"], message.json["status"]) == (prediction_id, "succeeded")
        assert isinstance(message.json["output"], str)


def test_a_client_polls_on_while_the_web_server_restarts(stack: Stack, key: str) -> None:
    command = [clients.python("replicate"), PROGRAM, stack.url(""), key, "restart"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        prediction_id = client.stdout.readline().strip()
        assert prediction_id
        stack.kill("web")
        stack.web()
        client.wait(PATIENCE_S)
    assert client.returncode == 0
