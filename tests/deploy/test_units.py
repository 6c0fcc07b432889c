"""What the units assume about the programs that they start."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.support import deployment
from tests.support.api import PATIENCE_S
from tests.support.deployment import DEPLOY
from tests.support.drawn_models import stack_in_new_folder


def test_the_web_server_tells_systemd_when_it_listens(drawn_models_file: Path, short_folder: Path) -> None:
    """``Type=notify``: the start of the unit ends with this message, and fails without it."""
    unit = DEPLOY / "systemd" / "framemill-web.service"
    assert deployment.unit_settings(unit)["Type"] == ["notify"]
    program, *arguments = deployment.unit_process(unit).argv
    with stack_in_new_folder(drawn_models_file) as stack, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(short_folder / "notify"))
        systemd.settimeout(PATIENCE_S)
        stack.kill("web")
        options = {"PORT": str(stack.port), "NOTIFY_SOCKET": str(short_folder / "notify")}
        stack.run("web", os.path.basename(program), *arguments, **options)
        assert b"READY=1" in systemd.recv(1000).splitlines()


def test_a_slot_has_the_number_of_its_unit_and_the_prefix_of_its_host() -> None:
    unit = DEPLOY / "systemd" / "framemill-worker@.service"
    first = deployment.unit_process(unit, "0").argv
    assert first[first.index("-Q") : first.index("-Q") + 4] == ["-Q", "gpu0", "-n", "gpu0@%h"]
    other = deployment.unit_process(unit, "3", SLOT_PREFIX="nodeb.").argv
    assert other[other.index("-Q") : other.index("-Q") + 4] == ["-Q", "nodeb.gpu3", "-n", "gpu3@%h"]


def test_a_worker_stops_before_the_delivery_worker_of_its_host() -> None:
    """systemd stops in the reverse of the order ``After``."""
    unit = DEPLOY / "systemd" / "framemill-worker@.service"
    assert "framemill-io.service" in deployment.unit_settings(unit)["After"][0].split()
    for unit in deployment.units():
        if unit.suffix == ".service":
            assert deployment.unit_settings(unit)["PartOf"] == ["framemill.target"]
