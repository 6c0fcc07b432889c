"""Shared fixtures: tiny pipelines, a shared stack for tests that leave it idle, and private stacks."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from xdist.remote import Producer

from jobs.objects.local import LocalStore
from jobs.settings import Settings
from jobs.settings.settings import variables
from stack.embedded_redis.server import EmbeddedRedis
from tests.support import drawn_models, tiny
from tests.support.distribution import Distribution, imported_torch, longest_groups_first
from tests.support.files_driver import FilesDriver
from tests.support.harness import Stack, running
from tests.support.input_case import Case
from tests.support.s3_server import S3Server
from tests.support.store_driver import StoreDriver

# A sixth of the time of importing and collecting the tests.
gc.disable()

for _variable in variables():
    os.environ.pop(_variable, None)
# Tests must not connect to a hub or a cloud.
os.environ.update(HF_HUB_OFFLINE="1", AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE=os.devnull)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Distribution | None:
    """With ``--dist loadfile``, let files that share a stack or torch run in one process."""
    return Distribution(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # one of several processes
        longest_groups_first(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the garbage collector from looking at modules and tests again and again; turn it on."""
    session.config.stash[imported_torch] = "torch" in sys.modules
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _logging_of_pytest() -> Iterator[None]:
    """Keep an app in the test process from replacing the log handlers: pytest closes the streams that it captures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.factory.configure", lambda level, form: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_measured_in_the_background() -> Iterator[None]:
    """Keep the stores of the test process from sending measurements: tests compare what is in Redis."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.store.measuring.measures.INTERVAL_S", 24 * 3600.0)
        yield


@pytest.fixture(scope="session")
def models_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the models file of copied tiny pipelines."""
    return tiny.copy(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def families_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a models file with one tiny pipeline of each family."""
    return tiny.copy(tmp_path_factory.mktemp("families"), "families")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Yield a folder whose path is short enough for a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stack(models_file: Path) -> Iterator[Stack]:
    """Yield a stack with web, gpu0 and io, shared by all tests that leave no job behind."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with running(folder, models_file, "gpu0", "io") as shared:
        yield shared
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def drawn_models_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a models file whose images are drawn, so that workers start without torch."""
    return drawn_models.write(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def start(drawn_models_file: Path, short_folder: Path) -> Iterator[Callable[..., Stack]]:
    """``start("gpu0", "io", SETTING=value)``: return a private stack with drawn models."""
    with ExitStack() as stacks:

        def started(*workers: str, **environment: Any) -> Stack:
            options = {"NOOP_STEP_MS": drawn_models.STEP_MS, **environment}
            return stacks.enter_context(running(short_folder, drawn_models_file, *workers, **options))

        yield started


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Yield an S3 server with a bucket; a test that stops it must start it again."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[Settings]:
    """Yield settings of a Redis that belongs to the module; no other process runs."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    settings = Settings.of(data_dir=folder)
    with EmbeddedRedis(settings):
        yield settings
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def driver(server: Settings) -> Callable[..., StoreDriver]:
    """``driver(SETTING=value)``: return an empty queue on the module's Redis."""
    return lambda **options: StoreDriver(server, **options)


@pytest.fixture
def case(driver: Callable[..., StoreDriver], tmp_path: Path) -> Case:
    """Return a case that stores input images."""
    return Case(tmp_path / "objects", driver().store)


@pytest.fixture
def files_driver(driver: Callable[..., StoreDriver], tmp_path: Path) -> FilesDriver:
    """Return a queue with one slot and stored files."""
    return FilesDriver(driver(), LocalStore(tmp_path / "objects"))


@pytest.fixture
def settings(short_folder: Path, models_file: Path) -> Settings:
    return Settings.of(data_dir=short_folder, models_file=models_file)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add the last lines of all process logs to the report of a failed test."""
    report = yield
    if report.failed:  # type: ignore[attr-defined]
        for folder in {stack.folder for stack in Stack.alive}:
            for log in sorted(folder.glob("*.log")):
                report.sections.append((log.name, log.read_text(errors="replace")[-3000:]))  # type: ignore[attr-defined]
    return report
