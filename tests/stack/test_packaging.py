"""The installed package: client and command only, importable without the server's libraries and beside a clone."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from jobs.settings import PROJECT_ROOT

#: Runs the code in ``sys.argv[1]`` in an interpreter that has only the libraries that the client requires.
BLOCKER = """
import importlib.metadata as metadata, re, sys

def closure(name):
    if name in required:
        return
    required.add(name)
    for line in metadata.requires(name) or ():
        if 'extra' not in line:
            try:
                closure(re.match(r'[\\w.-]+', line).group().lower())
            except metadata.PackageNotFoundError:
                pass  # for another system or version of Python

required = set()
for name in ('httpx2', 'click', 'rich'):
    closure(name)
installed = metadata.packages_distributions()
blocked = {name for name, packages in installed.items() if not required & {package.lower() for package in packages}}
blocked = (blocked | {'app', 'jobs', 'tasks', 'workers', 'stack'}) - {'framemill'}
assert {'flask', 'celery', 'torch', 'redis', 'marshmallow', 'PIL', 'av', 'numpy', 'psutil', 'gevent'} <= blocked

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in blocked:
            raise ModuleNotFoundError(f'{name} is not installed', name=name)

sys.meta_path.insert(0, Blocker())
exec(sys.argv[1])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built offline from a copy of the files that it needs."""
    folder = tmp_path_factory.mktemp("wheel")
    copy_checkout(folder / "framemill")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    done = subprocess.run([*command, "-w", folder, folder / "framemill"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    [built] = folder.glob("*.whl")
    return built


def copy_checkout(folder: Path) -> None:
    """Copy the package and the files that describe it, with folders of the server beside them."""
    folder.mkdir()
    shutil.copytree(PROJECT_ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT_ROOT / name, folder)
    for name in ("app", "jobs", "tasks", "workers", "stack"):
        shutil.copytree(PROJECT_ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def metadata_of(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run ``code`` with the client's libraries only; ``path`` is searched first."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "FRAMEMILL_URL": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, "-c", BLOCKER, code],
        capture_output=True,
        text=True,
        timeout=60,
        env=environ,
        cwd=path[0].parent,
    )


def test_the_package_needs_the_libraries_of_the_client_only(wheel: Path) -> None:
    metadata = metadata_of(wheel)
    requirements = metadata.get_all("Requires-Dist") or []
    assert {name for name in requirements if "extra ==" not in name} == {"httpx2", "click", "rich"}
    assert {"inspect", "server", "worker", "test"} <= set(metadata.get_all("Provides-Extra") or [])
    extras = {
        extra: {re.split(r"[;\[ ]", line)[0] for line in requirements if f'extra == "{extra}"' in line}
        for extra in ("server", "worker", "jobs", "test")
    }
    assert {"flask", "gunicorn", "flower", "framemill"} <= extras["server"]
    assert {"torch", "diffusers", "framemill"} <= extras["worker"]
    assert {"celery", "redis", "boto3"} <= extras["jobs"]
    assert {"pytest", "framemill"} <= extras["test"]
    assert not extras["server"] & {"torch", "diffusers", "numpy"}
    assert not extras["worker"] & {"flask", "gunicorn"}


def test_the_package_holds_the_client_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"framemill"}
    assert {"framemill/py.typed", "framemill/client.py", "framemill/cli/app.py"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert metadata_of(wheel)["License-Expression"] == "MIT"


def test_the_version_is_stated_once(wheel: Path) -> None:
    version = metadata_of(wheel)["Version"]
    assert re.search(rf"^version = {re.escape(version)}$", (PROJECT_ROOT / "setup.cfg").read_text(), re.MULTILINE)
    sources = [*(PROJECT_ROOT / "src").rglob("*.py"), *(PROJECT_ROOT / "app").rglob("*.py")]
    assert [path.name for path in sources if f'"{version}"' in path.read_text(encoding="utf-8")] == []


def test_client_and_command_run_without_the_libraries_of_the_server(wheel: Path) -> None:
    code = "import framemill; print(framemill.Client, framemill.AsyncClient, framemill.__file__)"
    done = python(code, wheel)
    assert done.returncode == 0, done.stderr
    assert str(wheel) in done.stdout
    help_ = python("from framemill.cli import main; raise SystemExit(main(['submit', '--help']))", wheel)
    assert (help_.returncode, "Usage: framemill submit" in help_.stdout) == (0, True), help_.stderr
    listed = python("from framemill.cli import main; raise SystemExit(main(['list']))", wheel)
    assert (listed.returncode, "no answer from" in listed.stderr) == (4, True), listed.stderr


def test_inspecting_a_file_names_the_package_that_it_needs(wheel: Path, tmp_path: Path) -> None:
    for name, start, package, install in (
        ("a.png", b"\x89PNG", "Pillow", "pillow"), ("a.mp4", b"\0\0\0\x20ftypisom", "PyAV", "av"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(start + bytes(32))
        code = f"from framemill.cli import main; raise SystemExit(main(['inspect', {str(tmp_path / name)!r}]))"
        done = python(code, wheel)
        assert done.returncode == 1, done.stderr
        assert f"needs {package}: pip install {install}" in done.stderr


def test_a_script_beside_or_above_a_clone_imports_the_package(tmp_path: Path) -> None:
    clone = tmp_path / "framemill"
    copy_checkout(clone)
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=60)
    [site] = venv.glob("lib/python*/site-packages")
    libraries = Path(sys.modules["pytest"].__file__ or "").parents[1]
    # Like an editable installation of the clone, followed by the libraries.
    (site / "clone.pth").write_text(f"{clone / 'src'}\n{libraries}\n")
    script = "import framemill\nprint(framemill.__file__)\nframemill.Client().close()\n"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for folder in (tmp_path, clone):  # above the clone, and in it, beside the folders of the server
        (folder / "script.py").write_text(script)
        done = subprocess.run(
            [venv / "bin" / "python", folder / "script.py"], capture_output=True, text=True, timeout=60, env=environ,
            cwd=folder,
        )  # fmt: skip
        assert done.stdout.strip() == str(clone / "src" / "framemill" / "__init__.py"), done.stderr
