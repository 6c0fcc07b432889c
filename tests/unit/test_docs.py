"""The documents are true about settings, errors, routes, keys, commands and each other."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app import create_app, errors
from app.protocols.lightx2v.schemas import LightX2VFormSchema
from jobs.errors import FramemillError
from jobs.models import file as models_file
from jobs.models import registry as models
from jobs.models import spec as model_spec
from jobs.settings import PROJECT_ROOT, Settings
from jobs.settings.settings import defaults
from jobs.store import keys

DOCS = PROJECT_ROOT / "docs"


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def section(path: Path, title: str) -> str:
    """Return the text below a heading of the second level, its subheadings included."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text_of(path), re.MULTILINE | re.DOTALL)
    assert found, f"{path.name} has no section {title!r}"
    return found.group(1)


def first_cells(table: str) -> list[str]:
    """Return the names in backquotes at the start of each row."""
    return re.findall(r"^\| `([^`]+)` ", table, re.MULTILINE)


def tracked() -> list[Path]:
    """Return every file of the project, including those that are not committed yet."""
    # As root, git refuses another user's folder unless told otherwise.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True, text=True).stdout
    paths = [PROJECT_ROOT / name for name in names.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_every_setting_is_documented_with_its_default_and_none_else() -> None:
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| ([^|]+) \|", section(DOCS / "configuration.md", "Settings"), re.MULTILINE)
    documented = {name: default.strip() for name, default in rows}
    assert len(documented) == len(rows), "a setting is listed twice"
    assert documented == {variable: shown(default) for variable, default in defaults().items()}


def shown(default: Any) -> str:
    """Return a default as the table writes it."""
    if default in ("", None):
        return "empty"
    if isinstance(default, bool):
        return f"`{default:d}`"
    if isinstance(default, Path):
        return f"`{default.relative_to(PROJECT_ROOT)}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_every_key_of_the_models_file_is_documented_and_none_else() -> None:
    cells = re.findall(r"^\| (`[^|]+`) \|", section(DOCS / "configuration.md", "The models file"), re.MULTILINE)
    listed = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    documented = set(listed)
    assert len(documented) == len(listed), "a key is listed twice"
    assert documented == models_file.KEYS | model_spec.DEFAULT_LIMITS.keys() | model_spec.DEFAULTS.keys()


def test_every_field_of_a_lightx2v_task_is_documented() -> None:
    page = text_of(DOCS / "protocols" / "lightx2v.md")
    fields = {field.data_key or name for name, field in LightX2VFormSchema().fields.items()}
    assert {name for name in fields if f"`{name}`" not in page} == set()


def test_the_examples_of_models_files_are_valid(tmp_path: Path) -> None:
    examples = [
        example
        for page in ("configuration.md", "models.md", "controls.md")
        for example in re.findall(r"^```toml\n(.*?)^```", text_of(DOCS / page), re.MULTILINE | re.DOTALL)
    ]
    assert len(examples) > 3
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.toml"
        path.write_text(example, encoding="utf-8")
        assert models.ModelRegistry.from_file(path).names()


def codes() -> Iterator[str]:
    """Yield every code that a response or a failed job can have."""
    classes = [FramemillError]
    for one in classes:
        classes += one.__subclasses__()
        yield one.code
    yield from errors.HTTP_CODES.values()
    for script in (PROJECT_ROOT / "jobs" / "store" / "lua").rglob("*.lua"):
        yield from re.findall(r"(?:\bfail\(\w+, |\bcode = )'(\w+)'", text_of(script))
    for module in [*(PROJECT_ROOT / "tasks").glob("*.py"), *(PROJECT_ROOT / "workers").rglob("*.py")]:
        yield from re.findall(r"\bcode=\"(\w+)\"", text_of(module))


def test_every_error_code_is_documented_and_none_else() -> None:
    documented = first_cells(text_of(DOCS / "api" / "errors.md"))
    assert len(documented) == len(set(documented)), "a code is listed twice"
    assert set(documented) == set(codes())


def test_every_route_is_documented_and_none_else(tmp_path: Path) -> None:
    empty = tmp_path / "models.toml"
    empty.write_text("")
    app = create_app(Settings.of(redis_url="redis://127.0.0.1", data_dir=tmp_path, models_file=empty))
    routes = {
        f"{method} {rule.rule.replace('<', '{').replace('>', '}')}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    documented = first_cells(text_of(DOCS / "api" / "endpoints.md"))
    assert len(documented) == len(set(documented)), "a route is listed twice"
    assert set(documented) == routes


def test_every_redis_key_stands_in_its_table_and_none_else() -> None:
    rows = re.findall(r"^``([^`]+)``", keys.__doc__ or "", re.MULTILINE)
    # A row may add parts to a name: ``jobs:<key>`` beside ``jobs``.
    listed = {row.partition("<")[0].rstrip(":") for row in rows}
    values = [value for name, value in vars(keys).items() if name.isupper() and name != "PREFIX"]
    names = {value.removeprefix(keys.PREFIX).rstrip(":") for value in values if value.startswith(keys.PREFIX)}
    assert listed == names


def test_every_make_target_is_in_the_readme() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", text_of(PROJECT_ROOT / "Makefile"), re.MULTILINE)
    assert {"demo", "up", "test"} <= set(targets)
    assert [name for name in targets if f"`make {name}`" not in text_of(PROJECT_ROOT / "README.md")] == []


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for page in (path for path in tracked() if path.suffix == ".md"):
        for link in re.findall(r"\]\(([^)\s]+)\)", without_code(text_of(page))):
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            path = (page.parent / target).resolve() if target else page
            if not path.exists() or (anchor and anchor not in anchors(path)):
                broken.append(f"{page.relative_to(PROJECT_ROOT)}: {link}")
    assert broken == []


def test_every_path_in_the_documents_exists() -> None:
    pattern = re.compile(r"`((?:app|jobs|tasks|workers|stack|src|tests|bench|models|docs|endpoints)/[\w./-]+)`")
    missing = [
        f"{page.relative_to(PROJECT_ROOT)}: {path}"
        for page in tracked()
        if page.suffix == ".md" and page.name != "CHANGELOG.md"
        for path in pattern.findall(without_code(text_of(page)))
        if not (PROJECT_ROOT / path).exists()
    ]
    assert missing == []


def without_code(markdown: str) -> str:
    return re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the headings as links name them."""
    headings = re.findall(r"^#+ (.+)$", without_code(text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_decision_has_its_parts_and_is_listed() -> None:
    index = text_of(DOCS / "decisions" / "README.md")
    records = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    numbers = [path.name[:4] for path in records]
    assert all(number.isdecimal() for number in numbers)
    assert len(set(numbers)) == len(numbers)
    for path in records:
        assert re.findall(r"^## (.+)$", text_of(path), re.MULTILINE) == ["Context", "Decision", "Why", "Consequences"]
        assert f"({path.name})" in index


def test_every_script_is_documented_and_none_else() -> None:
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section(DOCS / "internals.md", "Scripts"), re.MULTILINE)
    documented = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(documented) == sorted(path.stem for path in (PROJECT_ROOT / "jobs" / "store" / "lua").glob("*.lua"))


def test_no_file_names_a_folder_of_one_machine() -> None:
    private = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/\w")
    found = []
    for path in tracked():
        try:
            lines = text_of(path).splitlines()
        except UnicodeDecodeError:
            continue  # weights and pictures
        found += [f"{path.relative_to(PROJECT_ROOT)}:{number}: {line.strip()[:120]}"
                  for number, line in enumerate(lines, 1) if private.search(line)]  # fmt: skip
    assert found == []
