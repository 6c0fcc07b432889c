"""Mistakes in the models file or in a setting are reported at start, with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import BadSetting
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind
from jobs.settings import PROJECT_ROOT, Settings
from jobs.slots.slot import slot_of, visible_device

GOOD = 'source = "hub/model"\nkinds = ["text2img"]\n'


def registry(folder: Path, text: str) -> ModelRegistry:
    path = folder / "models.toml"
    path.write_text(text)
    return ModelRegistry.from_file(path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[m", "end of document"),
        ("m = 3", "[m] table"),
        ('["a b"]\n' + GOOD, "[a b] name"),
        ("[m]\nkinds = ['text2img']", "[m] source"),
        ("[m]\nsource = 'x'", "[m] kinds"),
        ("[m]\nsource = 'x'\nkinds = ['text2smell']", "[m] kinds"),
        ("[m]\n" + GOOD + "typo = 1", "[m] typo: unknown key"),
        ("[m]\n" + GOOD + "dtype = 'int3'", "[m] dtype"),
        ("[m]\n" + GOOD + "size_multiple_px = 0", "[m] size_multiple_px"),
        ("[m]\n" + GOOD + "limits = { steps = [5, 1] }", "[m] limits.steps"),
        ("[m]\n" + GOOD + "limits = { taste = [1, 5] }", "[m] limits.taste"),
        ("[m]\n" + GOOD + "defaults = { steps = 900 }", "[m] defaults.steps"),
        ("[m]\n" + GOOD + "defaults = { steps = 'ten' }", "[m] defaults.steps"),
        ("[m]\n" + GOOD + "defaults = { taste = 1 }", "[m] defaults.taste"),
        ("[m]\n" + GOOD + "pipelines = { text2img = 3 }", "[m] pipelines"),
        ("[m]\n" + GOOD + "pipelines = { img2img = 'X' }", "[m] pipelines"),
        ("[m]\n" + GOOD + "arguments = 3", "[m] arguments"),
        ("[m]\n" + GOOD + "slots = 'gpu0'", "[m] slots"),
        ("[m]\n" + GOOD + "slots = ['cpu0']", "[m] slots"),
        ("[m]\n" + GOOD + "keep = 1", "[m] keep: must be true or false"),
        ("[m]\n" + GOOD + "offload = 'disk'", "[m] offload: must be one of none, model"),
        ("[m]\n" + GOOD + "keep = true\noffload = 'group'", "[m] keep: has no effect"),
        ("[m]\n" + GOOD + "compile = true", "[m] compile"),
        ("[m]\n" + GOOD + "attention = 'magic'", "[m] attention"),
        ("[m]\n" + GOOD + "layerwise_casting = 'int8'", "[m] layerwise_casting"),
        ("[m]\n" + GOOD + "quantization = 'gguf'", "[m] quantization"),
        ("[m]\n" + GOOD + "quantize = ['unet']", "[m] quantize: needs the key quantization"),
        ("[m]\n" + GOOD + "quantization = 'torchao_int8'\nquantize = 'unet'", "[m] quantize: must be a list"),
        ("[m]\n" + GOOD + "vae_tiling = 'yes'", "[m] vae_tiling"),
        ("[m]\n" + GOOD + "step_cache = 'first_block'", "[m] step_cache: must be a table"),
        (
            "[m]\n" + GOOD + "step_cache = { method = 'first_block', taste = 1 }",
            "[m] step_cache.taste: unknown key; known: threshold",
        ),
        ("[m]\n" + GOOD + "step_cache = { method = 'first_block', threshold = 'x' }", "[m] step_cache.threshold"),
        (
            "[m]\n" + GOOD + "step_cache = { method = 'faster', unconditional_batch_timestep_skip_range = [1] }",
            "two timesteps",
        ),
        ("[m]\n" + GOOD + "step_cache = { method = 'mag' }", "[m] step_cache.mag_ratios: must be a list"),
        ("[m]\n" + GOOD + "step_cache = { method = 'mag', mag_ratios = ['x'] }", "[m] step_cache.mag_ratios"),
        ("[m]\n" + GOOD + "step_cache = { method = 'text_kv', taste = 1 }", "[m] step_cache.taste"),
        ("[m]\n" + GOOD + "quality = 'draft'", "[m] quality: must be a table of qualities"),
        ("[m]\n" + GOOD + "quality = { 'A b' = {} }", "[m] quality.A b: must be at most 32 lower-case letters"),
        ("[m]\n" + GOOD + "quality = { draft = 8 }", "[m] quality.draft: must be a table"),
        ("[m]\n" + GOOD + "quality = { draft = { taste = 1 } }", "[m] quality.draft.taste: unknown key"),
        ("[m]\n" + GOOD + "quality = { draft = { steps = 900 } }", "[m] quality.draft.steps: must be between"),
        ("[m]\n" + GOOD + "quality = { draft = { scheduler = 'LCM' } }", "[m] quality.draft.scheduler: must be one of"),
        ("[m]\n" + GOOD + "quality = { draft = { scheduler = 'best' } }", "[m] quality.draft.scheduler: unknown"),
        ("[m]\n" + GOOD + "quality = { draft = { loras = { a = 1 } } }", "[m] quality.draft.loras: needs the key"),
        ("[m]\n" + GOOD + "quality = { draft = { step_cache = { method = 'x' } } }", "[m] quality.draft.step_cache"),
    ],
)
def test_a_mistake_names_file_model_and_key(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(BadSetting) as caught:
        registry(tmp_path, table)
    assert str(tmp_path / "models.toml") in caught.value.message
    assert message in caught.value.message


def test_of_several_mistakes_the_first_one_in_the_file_is_named_with_its_line(tmp_path: Path) -> None:
    mistakes = "limits = { steps = [5, 1] }\narguments = 3\n[m.step_cache]\nmethod = 'first_block'\ntaste = 1\n"
    with pytest.raises(BadSetting) as caught:
        registry(tmp_path, "[good]\n" + GOOD + "\n[m]\n" + GOOD + mistakes)
    assert caught.value.message == f"{tmp_path / 'models.toml'}:8: [m] limits.steps: must be [lowest, highest]"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"MODELS_FILE .*cannot be read"):
        ModelRegistry.from_file(tmp_path / "none.toml")


def test_folders_are_found_beside_the_file_and_hub_ids_stay(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    text = "\n".join(f"[{name}]\nsource = '{source}'\nkinds = ['text2img']" for name, source in
                     (("a", "weights"), ("b", "./absent"), ("c", "org/model")))  # fmt: skip
    sources = {spec.name: spec.source for spec in registry(tmp_path, text)}
    assert sources == {"a": str(tmp_path / "weights"), "b": str(tmp_path / "absent"), "c": "org/model"}


def test_the_shipped_file_is_valid() -> None:
    shipped = ModelRegistry.from_file(PROJECT_ROOT / "models.toml")
    assert {shipped.default_for(kind).name for kind in Kind if shipped.default_for(kind)} >= {
        "demo-image",
        "demo-video",
    }  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PORT", "http", "PORT must be a whole number"),
        ("MAX_WAITING", "-1", "MAX_WAITING must not be negative"),
        ("SLOT_LEASE_S", "1", "SLOT_LEASE_S must be at least twice HEARTBEAT_S"),
        ("S3_ADDRESSING_STYLE", "odd", "S3_ADDRESSING_STYLE must be"),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL must be"),
        ("REDIS_TIMEOUT_S", "nan", "REDIS_TIMEOUT_S must be"),
        ("DATA_DIR", "/tmp/" + "x" * 120, "DATA_DIR"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        Settings.from_env({variable: value})


def test_a_secret_is_not_shown() -> None:
    assert "hunter2" not in repr(Settings.of(redis_url="redis://:hunter2@example/0"))


@pytest.mark.parametrize(
    ("queues", "slot"),
    [(["io"], None), (["gpu0"], "gpu0"), (["celery", "nodeb.gpu12"], "nodeb.gpu12"), (["gpux"], None)],
)
def test_the_slot_among_a_workers_queues(queues: list[str], slot: str | None) -> None:
    assert slot_of(queues) == slot


def test_one_worker_serves_one_slot() -> None:
    with pytest.raises(BadSetting, match="gpu0, gpu1"):
        slot_of(["gpu0", "gpu1"])


def test_a_slot_picks_from_the_devices_that_are_visible() -> None:
    assert visible_device("gpu1", {}) == "1"
    assert visible_device("b.gpu1", {"CUDA_VISIBLE_DEVICES": "4, 7"}) == "7"
    with pytest.raises(BadSetting, match="names 1 devices"):
        visible_device("gpu1", {"CUDA_VISIBLE_DEVICES": "0"})


def test_keys_come_from_the_environment_and_a_file(tmp_path: Path) -> None:
    listed = tmp_path / "keys"
    listed.write_text("# operators\nops:0123456789abcdef:admin\n\nshop:fedcba9876543210\n")
    settings = Settings.from_env(
        {"API_KEYS": "app:aaaaaaaaaaaaaaaa, web:bbbbbbbbbbbbbbbb", "API_KEYS_FILE": str(listed)}
    )
    assert [entry.split(":")[0] for entry in settings.access.key_entries] == ["app", "web", "ops", "shop"]
    assert "aaaaaaaaaaaaaaaa" not in repr(settings)
    with pytest.raises(BadSetting, match="API_KEYS_FILE"):
        _ = Settings.of(api_keys_file="nothing/here").access.key_entries
