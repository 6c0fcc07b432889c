"""Child processes with half-imported libraries, or without free descriptors, do not affect further jobs."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.support import drawn_models
from tests.support.harness import Stack, running

#: Fails the first import of a part of numpy in the child of a slot and in that of a delivery worker, as too little
#: memory does. Like torch, numpy cannot be imported again in the same process. Python imports this at its start.
_HOOK = '''
import os, sys

class FailsOnce:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy.linalg":
            marker = os.path.join(os.path.dirname(__file__), "gpu" if "FRAMEMILL_SLOT" in os.environ else "io")
            if os.path.exists(marker):
                os.unlink(marker)
                raise MemoryError

sys.meta_path.insert(0, FailsOnce())
'''


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hooks")
    (folder / "sitecustomize.py").write_text(_HOOK)
    for marker in ("gpu", "io"):
        (folder / marker).touch()
    return folder


@pytest.fixture(scope="module")
def stack(hooks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    models = drawn_models.write(tmp_path_factory.mktemp("models"))
    path = os.pathsep.join([str(hooks), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (
        tempfile.TemporaryDirectory(prefix="fm-") as folder,
        running(Path(folder), models, "gpu0", "io", PYTHONPATH=path) as stack,
    ):
        yield stack


def test_an_import_that_stops_half_way_ends_the_child(stack: Stack, hooks: Path) -> None:
    view = stack.wait(stack.submit())
    assert (view["state"], view["attempt"]) == ("succeeded", 2), view
    assert sorted(path.name for path in hooks.iterdir() if path.name in ("gpu", "io")) == []
    for name in ("gpu0", "io"):
        assert stack.log(name).count("the process ends") == 1
    assert stack.wait(stack.submit())["attempt"] == 1


def test_a_delivery_worker_without_descriptors_takes_no_frames_for_gone(stack: Stack) -> None:
    assert stack.wait(stack.submit())["state"] == "succeeded"  # everything is imported and connected
    ended = stack.log("io").count("the process ends")
    parent = stack.processes["io"].pid
    for child in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
        used = {int(number) for number in os.listdir(f"/proc/{child}/fd")}
        unused = next(number for number in count() if number not in used)
        resource.prlimit(child, resource.RLIMIT_NOFILE, (unused, unused))
    view = stack.wait(stack.submit())
    assert (view["state"], view["attempt"]) == ("succeeded", 1)
    assert stack.log("io").count("the process ends") > ended
