"""The file that says how many jobs of a model share a run: what is read of it, and what it allows."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import BadSetting
from jobs.models.load_options import LoadOptions
from jobs.models.spec import Kind, ModelSpec
from jobs.requests.generation import GenerationRequest
from workers.gpu import batch_profiles
from workers.gpu.batch_profiles import BatchProfiles, SizeProfile, best, path_beside

RATES = {1: 1.0, 2: 1.8, 4: 2.5, 8: 2.6}
SMALL = SizeProfile(width=512, height=512, jobs=4, steps=10, images_per_s=RATES, memory_bytes={1: 5, 2: 6})
LARGE = SizeProfile(width=1024, height=1024, jobs=2, steps=10, images_per_s={1: 1.0, 2: 1.5})
SPEC = ModelSpec(name="m.1", source="x", kinds=(Kind.TEXT2IMG,))
REQUEST = GenerationRequest(
    model="m.1", kind=Kind.TEXT2IMG, prompt="a", negative_prompt="", seed=1, steps=10, guidance_scale=5.0, width=512,
    height=512,
)  # fmt: skip
GPU = 'NVIDIA "H200"'


@pytest.fixture
def models_file(tmp_path: Path) -> Path:
    return tmp_path / "models.toml"


def most(models_file: Path, spec: ModelSpec = SPEC, device: str = GPU, **fields: Any) -> int:
    problems: list[str] = []
    profiles = BatchProfiles(models_file, problems.append)
    number = profiles.most_together(spec, device, replace(REQUEST, **fields)) if profiles.has(spec.name) else 1
    assert not problems
    return number


def test_what_was_written_is_read_again_and_other_tables_stay(models_file: Path) -> None:
    path = path_beside(models_file)
    assert path.name == "models.batch.toml"
    batch_profiles.write(path, "m.1", GPU, [LARGE, SMALL])
    batch_profiles.write(path, "m.1", "cpu", [SMALL])
    batch_profiles.write(path, "n", GPU, [SMALL])
    faster = replace(SMALL, jobs=8)
    batch_profiles.write(path, "m.1", GPU, [faster])
    assert batch_profiles.read(path) == {"m.1": {GPU: [faster, LARGE], "cpu": [SMALL]}, "n": {GPU: [SMALL]}}
    assert [file.name for file in models_file.parent.iterdir()] == [path.name]


def test_the_table_of_the_next_larger_size_on_this_device_counts(models_file: Path) -> None:
    assert most(models_file) == 1
    batch_profiles.write(path_beside(models_file), "m.1", GPU, [SMALL, LARGE])
    assert most(models_file) == 4
    assert most(models_file, width=256) == 4
    assert most(models_file, width=768) == 2
    assert most(models_file, width=2048) == 2
    assert most(models_file, width=2056) == 1
    assert most(models_file, device="cpu") == 1
    assert most(models_file, replace(SPEC, name="n")) == 1


def test_no_shared_run_is_begun_that_takes_more_than_a_minute(models_file: Path) -> None:
    batch_profiles.write(path_beside(models_file), "m.1", GPU, [SMALL])
    assert most(models_file, steps=370) == 4  # 4 jobs ÷ 2.5 a second × 37
    assert most(models_file, steps=380) == 2
    assert most(models_file, steps=600) == 1


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (SPEC, {"kind": Kind.IMG2IMG, "image": "inputs/a"}),
        (SPEC, {"num_images": 2}),
        (SPEC, {"hires": {"width": 1024}}),
        (SPEC, {"variation": {"seed": 1, "strength": 0.5}}),
        (replace(SPEC, prior="x"), {}),
        (replace(SPEC, prompt_weighting=True), {}),
        (replace(SPEC, loader="modular"), {}),
        (replace(SPEC, executor="noop"), {}),
        (replace(SPEC, load=LoadOptions(compile=True)), {}),
        (replace(SPEC, load=LoadOptions(step_cache={"method": "first_block"})), {}),
        (replace(SPEC, quality={"draft": {"step_cache": {"method": "first_block"}}}), {"quality": "draft"}),
    ],
    ids=str,
)
def test_some_jobs_are_always_computed_alone(models_file: Path, spec: ModelSpec, fields: dict[str, Any]) -> None:
    batch_profiles.write(path_beside(models_file), "m.1", GPU, [SMALL])
    assert most(models_file, spec, **fields) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("m = 1", ":1: [m] table: must be a table"),
        ('[m.cpu."1x"]', ":1: [m] cpu.1x: must be a size such as 1024x1024"),
        ('[m.cpu."16x16"]\njobs = 0\nsteps = 1\nimages_per_s = { 1 = 1 }', ":2: [m] cpu.16x16.jobs: must be"),
        ('[m.cpu."16x16"]\njobs = 1\nsteps = 1\nimages_per_s = { 2 = 1 }', "must have a number for 1 job"),
        ('[m.cpu."16x16"]\njobs = 1\nsteps = 1\nimages_per_s = { 1 = 0 }', "must be above 0"),
        ('[m.cpu."16x16"]\njob = 1\njobs = 1\nsteps = 1\nimages_per_s = { 1 = 1 }', "unknown key"),
        ("[m", "models.batch.toml: "),
    ],
)
def test_a_mistake_in_the_file_is_told_once_and_jobs_are_computed_alone(
    models_file: Path, text: str, problem: str
) -> None:
    path = path_beside(models_file)
    path.write_text(text)
    with pytest.raises(BadSetting) as error:
        batch_profiles.read(path)
    assert problem in error.value.message
    problems: list[str] = []
    profiles = BatchProfiles(models_file, problems.append)
    assert [profiles.has("m") for _ in range(3)] == [False] * 3
    assert len(problems) == 1
    batch_profiles.path_beside(models_file).write_text(batch_profiles.written({"m": {"cpu": [SMALL]}}))
    os.utime(path, (1, 1))
    assert profiles.has("m")


def test_more_jobs_pay_while_twice_as_many_make_a_tenth_more_pictures() -> None:
    assert best({1: 1.0}) == 1
    assert best(RATES) == 4
    assert best({1: 1.0, 2: 1.05, 4: 2.0}) == 1
    assert best({1: 1.0, 3: 1.2, 4: 1.24}) == 3
