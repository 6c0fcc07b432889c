"""Modular pipelines: blocks with their own inputs, guiders, steps, previews, load options and the models file."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.errors import BadSetting, ExecutionError, ModelLoadFailed
from jobs.models import file as models_file
from jobs.models import presence
from jobs.models.spec import Kind
from jobs.settings import Settings
from tests.support.computing import Worker
from tests.support.folder_keeper import FolderKeeper
from tests.support.in_process import in_process
from tests.support.store_driver import StoreDriver

#: The first test waits until all models are made.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def worker(server: Settings, families_file: Path) -> Iterator[Worker]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    yield Worker(StoreDriver(server), families_file, folder)
    shutil.rmtree(folder, ignore_errors=True)


def written(families_file: Path, folder: Path, text: str) -> Path:
    """Write a models file beside the tiny pipelines; return it."""
    path = families_file.with_name(f"{folder.name}.toml")
    path.write_text(text)
    return path


def test_inputs_of_blocks_are_arguments_of_the_call(worker: Worker) -> None:
    from workers.diffusion import arguments

    pipeline = worker.pipelines.get(worker.models.get("anima"), Kind.TEXT2IMG)
    assert {"prompt", "image", "num_inference_steps", "guidance_scale", "strength"} <= arguments.accepted(
        pipeline
    ).keys()
    assert type(pipeline).__name__ == "AnimaModularPipeline"
    with pytest.raises(TypeError, match="AnimaModularPipeline has no input colour"):
        pipeline(prompt="a", colour="red")


def test_guidance_is_that_of_the_request_and_stays_with_it(worker: Worker) -> None:
    pipeline = worker.pipelines.get(worker.models.get("anima"), Kind.TEXT2IMG)
    guider = pipeline.guider
    plain, strong = worker.compute("anima"), worker.compute("anima", guidance_scale=9.0)
    assert not np.array_equal(plain, strong)
    assert np.array_equal(worker.compute("anima"), plain)
    assert np.array_equal(worker.compute("anima", guidance_scale=pipeline.guider.guidance_scale), plain)
    assert pipeline.guider is guider
    negated = worker.compute("anima", negative_prompt="a blue square")
    assert not np.array_equal(negated, plain)


def test_steps_are_counted_and_one_step_is_seen_by_one_scheduler(worker: Worker) -> None:
    """Pipelines with sound copy their scheduler: the steps of the copy are not counted again."""
    for model in ("anima", "ltx2-modular"):
        worker.compute(model, steps=3)
        assert worker.reporter.steps_done == [0, 1, 2, 3]
    assert worker.sound is not None
    assert worker.sound.sample_rate_hz == 16_000


def test_the_modular_form_of_a_pipeline_makes_the_same_sound_format(worker: Worker) -> None:
    video = worker.compute("ltx2", steps=2)
    sound = worker.sound
    modular = worker.compute("ltx2-modular", steps=2)
    assert video.shape == modular.shape
    assert sound is not None
    assert worker.sound is not None
    assert worker.sound.samples.shape == sound.samples.shape


def test_a_checkpoint_would_be_between_the_step_of_pictures_and_the_step_of_sound(
    worker: Worker, tmp_path: Path
) -> None:
    keeper = FolderKeeper(tmp_path, steps={1, 2})
    worker.compute("ltx2-modular", steps=2, keeper=keeper)
    assert [why for why in keeper.obstacles if "between both" in why]
    assert not list(tmp_path.iterdir())


def test_a_job_shows_previews(families_file: Path, short_folder: Path) -> None:
    with in_process(short_folder, families_file) as stack:
        job = stack.submit(model="anima", steps=200, preview=True, prompt="rain")
        view = stack.wait_until(job, lambda view: view["preview"], "a preview")
        assert 0 < view["preview"]["step"] <= view["progress"]["steps"] == 200
        content = stack.get(f"/v1/jobs/{job}/preview").content
        stack.cancel(job)
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (32, 32)
        assert np.asarray(image).std() > 0


def test_an_argument_that_no_block_takes_fails_the_job(worker: Worker, families_file: Path, tmp_path: Path) -> None:
    path = written(families_file, tmp_path, """
[odd]
source = "./anima"
loader = "modular"
kinds = ["text2img"]
fields = { strength = "power", guidance_scale = "power" }
defaults = { steps = 2, width = 32, height = 32 }
""")  # fmt: skip
    odd = Worker(worker.driver, path, tmp_path)
    with pytest.raises(ExecutionError, match="AnimaModularPipeline has no argument 'power'"):
        odd.compute("odd")


PYRAMID = 'step_cache = { method = "pyramid_attention", spatial_attention_block_skip_range = 2 }'
FIRST_BLOCK = 'step_cache = { method = "first_block", threshold = 0.1 }'
LTX2 = 'source = "./ltx2"\nblocks = "LTX2AutoBlocks"'
WAN = 'source = "./wan/t2v"\nblocks = "WanBlocks"'
ANIMA = 'source = "./anima"'


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (f"{LTX2}\n{PYRAMID}", "modular pipelines have no current timestep for pyramid_attention"),
        (f"{WAN}\n{FIRST_BLOCK}", ""),
        (f"{ANIMA}\n{FIRST_BLOCK}", "option step_cache: CosmosTransformer3DModel has no enable_cache"),
        (f'{ANIMA}\nworkflow = "text2image"', ""),
        (f'{ANIMA}\nworkflow = "text2song"', "could not be loaded"),
        (f'{ANIMA}\nlayerwise_casting = "float8_e4m3fn"', ""),
        (f"{ANIMA}\nvae_tiling = true", ""),
    ],
)
def test_load_options_of_a_modular_model(families_file: Path, tmp_path: Path, options: str, message: str) -> None:
    path = written(families_file, tmp_path, f'[optioned]\nloader = "modular"\nkinds = ["text2video"]\n{options}')
    [spec] = models_file.read(path)
    from workers.pipelines.cache import PipelineCache

    cache = PipelineCache(Settings.of(data_dir=tmp_path, models_file=path, cpu_threads=1))
    if message:
        with pytest.raises(ModelLoadFailed, match=message):
            cache.get(spec, Kind.TEXT2VIDEO)
        return
    assert cache.get(spec, Kind.TEXT2VIDEO) is cache.get(spec, Kind.TEXT2VIDEO)
    assert cache.loads == 1
    [loaded] = cache.loaded_models()
    assert loaded.bytes > 10_000


def test_code_in_a_folder_is_not_run(families_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own-code"
    shutil.copytree(families_file.parent / "anima", folder)
    (folder / "modular_config.json").write_text(json.dumps({"auto_map": {"ModularPipelineBlocks": "blocks.Blocks"}}))
    (folder / "blocks.py").write_text("raise SystemExit('this code ran')")
    path = tmp_path / "models.toml"
    path.write_text('[own]\nsource = "./own-code"\nloader = "modular"\nkinds = ["text2img"]')
    [spec] = models_file.read(path)
    from workers.pipelines.cache import PipelineCache

    cache = PipelineCache(Settings.of(data_dir=tmp_path, models_file=path, cpu_threads=1))
    with pytest.raises(ModelLoadFailed, match="brings code of its own"):
        cache.get(spec, Kind.TEXT2IMG)


WRONG: list[tuple[str, str]] = [
    ('loader = "modulair"', "loader: must be one of pipeline, modular"),
    ('blocks = "AnimaAutoBlocks"', "blocks: applies to loader = 'modular' only"),
    ('loader = "modular"\nprior = "./anima"', "prior: does not apply to loader = 'modular'"),
    ('loader = "modular"\npipelines = { text2img = "WanPipeline" }', "pipelines: does not apply to loader = 'modular'"),
]


@pytest.mark.parametrize(("keys", "message"), WRONG)
def test_keys_of_the_models_file_that_do_not_fit(tmp_path: Path, keys: str, message: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(f'[m]\nsource = "x/y"\nkinds = ["text2img"]\n{keys}')
    with pytest.raises(BadSetting, match=message.replace("(", r"\(")):
        models_file.read(path)


@pytest.fixture
def checked(families_file: Path, tmp_path: Path) -> Callable[[str], None]:
    def check(keys: str) -> None:
        path = written(families_file, tmp_path, f'[m]\nkinds = ["text2img"]\n{keys}')
        presence.check(path, lambda spec: True)

    return check


def test_folder_and_blocks_are_checked_at_the_start(checked: Callable[[str], None]) -> None:
    checked('source = "./anima"\nloader = "modular"')
    checked('source = "./ltx2"\nloader = "modular"\nblocks = "LTX2AutoBlocks"')
    with pytest.raises(BadSetting, match=r"is no model: it has no model_index\.json"):
        checked('source = "./anima"')
    with pytest.raises(BadSetting, match=r"diffusers has no blocks class LTX2Blocs; did you mean"):
        checked('source = "./ltx2"\nloader = "modular"\nblocks = "LTX2Blocs"')
