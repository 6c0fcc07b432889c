"""The back ends file, and what the launcher makes of it and of several services."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs import backends, models
from jobs.backends import read_backends
from jobs.errors import BadSetting
from jobs.settings import PROJECT_ROOT, Settings
from jobs.slots import is_slot, slot_of
from stack.up import CannotStart, planned

GOOD = 'type = "lightx2v"\nendpoint = "http://gpuhost:8000/"\nmodels = ["m"]\n'
DOCUMENT = PROJECT_ROOT / "docs" / "backends.md"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "backends.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_is_a_slot(tmp_path: Path) -> None:
    [found] = read_backends(written(tmp_path, "[lightx2v-1]\n" + GOOD)).values()
    assert (found.name, found.endpoint, dict(found.models)) == ("lightx2v-1", "http://gpuhost:8000", {"m": ""})
    assert slot_of(["lightx2v-1"], {"lightx2v-1"}) == "lightx2v-1"
    assert slot_of(["io"], {"lightx2v-1"}) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[gpu0]\n" + GOOD, "[gpu0] name"),
        ("[io]\n" + GOOD, "[io] name"),
        ("[a-1]\n" + GOOD.replace("lightx2v", "magic"), "[a-1] type"),
        ("[a-1]\n" + GOOD.replace("http://gpuhost:8000/", "gpuhost"), "[a-1] endpoint"),
        ("[a-1]\n" + GOOD.replace("gpuhost", "user:secret@gpuhost"), "[a-1] endpoint"),
        ("[a-1]\n" + GOOD.replace("8000", "80000"), "[a-1] endpoint"),
        ("[a-1]\n" + GOOD.replace('["m"]', "[]"), "[a-1] models"),
        ("[a-1]\n" + GOOD + "timeout_s = 0", "[a-1] timeout_s"),
        ("[a-1]\n" + GOOD + "lost_after_s = true", "[a-1] lost_after_s"),
        ("[a-1]\n" + GOOD + "credentials_env = 1", "[a-1] credentials_env"),
        ("[a-1]\n" + GOOD + "colour = 1", "[a-1] colour"),
        ("[a-1\n", "backends.toml"),
    ],
)
def test_a_mistake_is_named_with_table_and_key(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(BadSetting, match=re.escape(named)):
        read_backends(written(tmp_path, text))


def test_only_the_file_at_its_default_place_may_be_missing(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="cannot be read"):
        read_backends(tmp_path / "none.toml")


def test_a_model_that_only_back_ends_have_is_none_of_a_devices(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text('[m]\nexecutor = "remote"\nkinds = ["text2video"]\n[n]\nexecutor = "noop"\nkinds = ["text2img"]\n')
    registry = models.ModelRegistry.from_file(path)
    [backend] = read_backends(written(tmp_path, "[a-1]\n" + GOOD)).values()
    assert [spec.name for spec in registry.for_slot("gpu0")] == ["n"]
    assert [spec.name for spec in backend.offered(registry)] == ["m"]


def test_the_document_has_every_key_and_its_examples_are_valid(tmp_path: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` ", text, re.MULTILINE)) == backends._KEYS
    tables, example = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    found = read_backends(written(tmp_path, tables))
    path = tmp_path / "models.toml"
    path.write_text(example)
    registry = models.ModelRegistry.from_file(path)
    for backend in found.values():
        assert [spec.name for spec in backend.offered(registry)] == ["wan-2-1"]


@pytest.mark.parametrize("name", ["gpu0", "nodeb.gpu3", "lightx2v-1", "a_b-c-2"])
def test_names_of_slots(name: str) -> None:
    assert is_slot(name)


@pytest.mark.parametrize("name", ["", "cpu0", "io", "io@vm", "-a", "a-", "a.b-1", "a-" + "b" * 40])
def test_names_that_no_slot_has(name: str) -> None:
    assert not is_slot(name)


PROCFILE = "web: gunicorn\ngpu0: celery -Q gpu0 -n gpu0@%h\nio: celery -Q io\n"


def test_the_launcher_repeats_services_devices_and_back_ends(tmp_path: Path) -> None:
    path = written(tmp_path, "[lightx2v-1]\n" + GOOD)
    settings = Settings(port=8100, backends_file=path, data_dir=tmp_path)
    plan = {entry.name: entry for entry in planned(settings, PROCFILE, services=2, gpus=0)}
    assert list(plan) == ["web0", "web1", "gpu0", "gpu1", "lightx2v-1", "io"]
    assert plan["web1"].environment == {"PORT": "8101", "SERVICE_SLOT": "gpu1"}
    assert plan["lightx2v-1"].command == "celery -Q lightx2v-1 -n lightx2v-1@%h"
    alone = planned(settings, PROCFILE, services=1, gpus=3)
    assert [entry.name for entry in alone] == ["web", "gpu0", "gpu1", "gpu2", "lightx2v-1", "io"]
    assert alone[0].environment == {}


def test_more_services_than_gpus_are_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    for services, gpus in ((3, 2), (0, 2)):
        with pytest.raises(CannotStart, match="--services"):
            planned(settings, PROCFILE, services, gpus)
