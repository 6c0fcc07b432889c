"""The back ends file, and how the launcher uses it and several services."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import BadSetting
from jobs.models import backends
from jobs.models import executors_json as executors_file
from jobs.models import registry as models
from jobs.models.backends import read_backends
from jobs.settings import PROJECT_ROOT, Settings
from jobs.slots.slot import is_slot, slot_of
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
        ("[a-1]\n" + GOOD + "run_timeout_s = 0", "[a-1] run_timeout_s"),
        ("[a-1]\n" + GOOD + "credentials_env = 1", "[a-1] credentials_env"),
        ("[a-1]\n" + GOOD + "colour = 1", "[a-1] colour"),
        ("[a-1\n", "backends.toml"),
    ],
)
def test_a_mistake_is_named_with_table_and_key(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(BadSetting, match=re.escape(named)):
        read_backends(written(tmp_path, text))


def test_a_mistake_names_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "[a-1]\n" + GOOD + "\n[b-1]\n" + GOOD + "timeout_s = 0\n")
    with pytest.raises(BadSetting, match=re.escape(f"{path}:10: [b-1] timeout_s: must be more than 0")):
        read_backends(path)


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
    assert set(re.findall(r"^\| `(\w+)` ", text, re.MULTILINE)) == backends.KEYS
    tables, example = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    found = read_backends(written(tmp_path, tables))
    path = tmp_path / "models.toml"
    path.write_text(example)
    registry = models.ModelRegistry.from_file(path)
    registry = backends.registry_of(Settings.of(models_file=path, backends_file=written(tmp_path, tables)))
    offered = {name: [spec.name for spec in backend.offered(registry)] for name, backend in found.items()}
    own = {"a1111-main": ["automatic1111"], "kandinsky-1": ["kandinsky"]}
    assert offered == {"lightx2v-1": ["wan-2-1"], "other-site": ["wan-2-1"], "vllm-1": ["wan-2-1"], **own}


def test_the_documents_list_of_a_devoid_generator(tmp_path: Path) -> None:
    [example] = re.findall(r"^```json\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    found = read_backends(listed(tmp_path, example))
    assert list(found) == ["a1111-main", "kandinsky-first"]
    first, second = found.values()
    assert (first.type, first.endpoint) == ("automatic1111", "http://gpuhost:7860/sdapi/v1")
    assert (first.run_timeout_s, second.run_timeout_s) == (600, None)
    assert (first.credentials_env, second.credentials_env) == ("", "KANDINSKY_API_TOKEN")


def listed(tmp_path: Path, entries: Any) -> Path:
    path = tmp_path / "executors.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries), encoding="utf-8")
    return path


ENTRY = {"name": "one", "exec_type": "kandinsky", "endpoint": "http://gpuhost"}


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ("[", "is not valid JSON"),
        ({}, "must be a list"),
        ([ENTRY, 1], "entry 2: must be an object"),
        ([{**ENTRY, "name": ""}], "entry 1: name"),
        ([{**ENTRY, "exec_type": "flux"}], "entry 1 (one): exec_type"),
        ([{**ENTRY, "endpoint": "gpuhost"}], "entry 1 (one): endpoint"),
        ([{"name": "one", "exec_type": "kandinsky"}], "entry 1 (one): endpoint"),
        ([{**ENTRY, "timeout": "10"}], "entry 1 (one): timeout"),
        ([{**ENTRY, "timeout": 0}], "entry 1 (one): timeout"),
        ([{**ENTRY, "weight": 1}], "entry 1 (one): weight"),
        (
            [ENTRY, {**ENTRY, "name": "One!"}],
            "entry 2 (One!): name: gives the slot name kandinsky-one, which entry 1 (one) has already",
        ),
    ],
)
def test_a_mistake_in_the_list_is_named_with_entry_and_key(tmp_path: Path, entries: Any, named: str) -> None:
    with pytest.raises(BadSetting, match=re.escape(f"executors.json: {named}")):
        read_backends(listed(tmp_path, entries))


@pytest.mark.parametrize(
    ("name", "slot"),
    [("A1111 main", "a1111-main"), ("first", "kandinsky-first"), ("1", "kandinsky-1"), ("3090 Ti", "kandinsky-3090-ti"),
     ("Сервер", "kandinsky-7"), ("a__b / c", "a__b-c"), ("x" * 50, "kandinsky-" + "x" * 22),
     ("y " + "x" * 50, "kandinsky-y-" + "x" * 20)],
)  # fmt: skip
def test_slots_of_the_list_are_named_after_it(name: str, slot: str) -> None:
    assert executors_file.slot_name(name, "kandinsky", 7) == slot
    assert is_slot(slot)


def test_the_list_is_found_where_a_devoid_generator_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "PROJECT_ROOT", tmp_path)
    assert read_backends(tmp_path / "backends.toml") == {}
    (tmp_path / "data").mkdir()
    listed(tmp_path / "data", [ENTRY])
    assert list(read_backends(tmp_path / "backends.toml")) == ["kandinsky-one"]
    written(tmp_path, "[lightx2v-1]\n" + GOOD)
    assert list(read_backends(tmp_path / "backends.toml")) == ["lightx2v-1"]


def test_models_that_back_ends_bring_along(tmp_path: Path) -> None:
    models_file, no_models = tmp_path / "models.toml", 'type = "automatic1111"\nendpoint = "http://gpuhost"\n'
    models_file.write_text('[n]\nexecutor = "noop"\nkinds = ["text2img"]\n')

    def registry(tables: str) -> models.ModelRegistry:
        return backends.registry_of(Settings.of(models_file=models_file, backends_file=written(tmp_path, tables)))

    assert registry("[lightx2v-1]\n" + GOOD).names() == ["n"]
    found = registry("[a-1]\n" + no_models)
    assert found.names() == ["n", "automatic1111"]
    assert found.get("automatic1111").default("steps") == 50
    # A table of that name takes precedence.
    models_file.write_text('[automatic1111]\nexecutor = "remote"\nkinds = ["text2img"]\ndefaults = { steps = 9 }\n')
    assert registry("[a-1]\n" + no_models).get("automatic1111").default("steps") == 9


@pytest.mark.parametrize("name", ["gpu0", "nodeb.gpu3", "lightx2v-1", "a_b-c-2"])
def test_names_of_slots(name: str) -> None:
    assert is_slot(name)


@pytest.mark.parametrize("name", ["", "cpu0", "io", "io@vm", "-a", "a-", "a.b-1", "a-" + "b" * 40])
def test_names_that_no_slot_has(name: str) -> None:
    assert not is_slot(name)


PROCFILE = "web: gunicorn\ngpu0: celery -Q gpu0 -n gpu0@%h\nio: celery -Q io\n"


def test_the_launcher_repeats_services_devices_and_back_ends(tmp_path: Path) -> None:
    path = written(tmp_path, "[lightx2v-1]\n" + GOOD)
    settings = Settings.of(port=8100, backends_file=path, data_dir=tmp_path)
    plan = {entry.name: entry for entry in planned(settings, PROCFILE, services=2, gpus=0)}
    assert list(plan) == ["web0", "web1", "gpu0", "gpu1", "lightx2v-1", "io"]
    assert plan["web1"].environment == {"PORT": "8101", "SERVICE_SLOT": "gpu1"}
    assert plan["lightx2v-1"].command == "celery -Q lightx2v-1 -n lightx2v-1@%h"
    alone = planned(settings, PROCFILE, services=1, gpus=3)
    assert [entry.name for entry in alone] == ["web", "gpu0", "gpu1", "gpu2", "lightx2v-1", "io"]
    assert alone[0].environment == {}


def test_the_launcher_starts_a_worker_for_each_entry_of_the_list(tmp_path: Path) -> None:
    settings = Settings.of(backends_file=listed(tmp_path, [ENTRY, {**ENTRY, "name": "A b"}]), data_dir=tmp_path)
    plan = {entry.name: entry.command for entry in planned(settings, PROCFILE, services=1, gpus=1)}
    assert plan["kandinsky-one"] == "celery -Q kandinsky-one -n kandinsky-one@%h"
    assert "a-b" in plan


def test_more_services_than_gpus_are_refused(tmp_path: Path) -> None:
    settings = Settings.of(data_dir=tmp_path)
    for services, gpus in ((3, 2), (0, 2)):
        with pytest.raises(CannotStart, match="--services"):
            planned(settings, PROCFILE, services, gpus)
