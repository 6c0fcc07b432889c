"""The Lua scripts as text: their arguments, includes, constants and names."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from jobs.settings import PROJECT_ROOT, Settings
from jobs.store import scripts
from jobs.store.lua import linking, loader
from jobs.store.lua.loader import BadScript, LuaFile
from jobs.store.lua.words import MessageGap

JOBS = Path(loader.FOLDER).parents[1]
SCRIPTS = [LuaFile.read(path.stem) for path in sorted(loader.FOLDER.glob("*.lua"))]
INCLUDES = [LuaFile.read(path.stem, path.parent) for path in sorted((loader.FOLDER / "include").glob("*.lua"))]
FILES = {("include/" if source in INCLUDES else "") + source.name: source for source in (*SCRIPTS, *INCLUDES)}
#: Tables that the loader defines where they are used.
TABLES = {"CLASS_WEIGHTS", "OFF_PEAK_CLASSES", "PREEMPTS", "PREEMPTIBLE", "RETENTION_MS", "MESSAGE"}
MESSAGE = "".join(MessageGap)


def code_of(source: LuaFile) -> str:
    """Return the text without comments, strings and names of constants."""
    text = re.sub(r"'(?:\\.|[^'\\\n])*'", "''", source.text)
    return re.sub(r"--[^\n]*|\b[A-Z]+\.\w+", "", text)


def words_of(source: LuaFile) -> set[str]:
    """Return the names that a file uses, without fields of tables."""
    return set(re.findall(r"(?<![\w.:])[A-Za-z_]\w*", code_of(source)))


def exports_of(source: LuaFile) -> set[str]:
    """Return what a file defines for those that include it."""
    code = code_of(source)
    functions = re.findall(r"^local function (\w+)", code, re.MULTILINE)
    variables = re.findall(r"^local ([\w, ]+?)(?: =.*)?$", code, re.MULTILINE)
    return {*functions, *(name for names in variables for name in names.split(", "))}


def variables_of(source: LuaFile) -> set[str]:
    """Return local variables, parameters and loop variables of a file."""
    code = code_of(source)
    declared = re.findall(r"\blocal (?!function\b)(\w+(?:,\s+\w+)*)", code)
    declared += re.findall(r"\bfunction \w*\(([^)]*)\)", code)
    declared += re.findall(r"\bfor ([\w, ]+?) (?:in|=)", code)
    return {name for names in declared for name in re.split(r",\s+", names) if name}


OWNER = {name: source.name for source in INCLUDES for name in exports_of(source)}
scripts_and_includes = pytest.mark.parametrize("source", [pytest.param(one, id=name) for name, one in FILES.items()])


@scripts_and_includes
def test_a_file_includes_exactly_the_files_whose_functions_it_uses(source: LuaFile) -> None:
    used = {OWNER[name] for name in words_of(source) & set(OWNER)} - {source.name}
    assert source.includes == tuple(sorted(used))


@scripts_and_includes
def test_every_function_that_a_file_calls_is_defined(source: LuaFile) -> None:
    code = code_of(source)
    called = set(re.findall(r"(?<![\w.:])(\w+)\(", code)) - {"function"}
    builtin = {"tonumber", "tostring", "ipairs", "pairs", "unpack", "next", "type"}
    defined = set(re.findall(r"local function (\w+)", code))
    assert called <= set(OWNER) | builtin | defined


def test_every_included_function_is_used() -> None:
    for name, owner in OWNER.items():
        uses = sum(len(re.findall(rf"\b{name}\b", code_of(source))) for source in FILES.values())
        uses += name == linking.WRITE_RECORDS  # called by what the loader adds
        assert uses > 1, f"{owner}.lua: {name}"


def test_no_name_is_defined_in_two_included_files() -> None:
    names = Counter(name for source in INCLUDES for name in exports_of(source))
    assert [name for name, times in names.items() if times > 1] == []


@scripts_and_includes
def test_no_function_shadows_another_or_a_variable(source: LuaFile) -> None:
    functions = re.findall(r"local function (\w+)", code_of(source))
    assert len(functions) == len(set(functions))
    included = {name for part in source.chain() if part is not source for name in exports_of(part)}
    assert set(functions).isdisjoint(included)
    assert variables_of(source).isdisjoint(included | set(functions))


@pytest.mark.parametrize("source", SCRIPTS, ids=lambda source: source.name)
def test_arguments_are_named_before_any_other_code(source: LuaFile) -> None:
    declared = [line for line in re.sub(r",\n\s+", ", ", source.text).splitlines() if "ARGV" in line]
    first_code = [line for line in re.sub(r",\n\s+", ", ", source.text).splitlines() if line and line[:2] != "--"]
    assert declared == first_code[: len(declared)]
    assert 1 <= len(declared) <= 2
    names, rest = loader.declared_arguments(source)
    assert names or rest


@scripts_and_includes
def test_lines_are_short(source: LuaFile) -> None:
    assert [line for line in source.text.splitlines() if len(line) > 120] == []


@pytest.mark.parametrize("source", INCLUDES, ids=lambda source: source.name)
def test_included_files_take_no_arguments(source: LuaFile) -> None:
    assert "ARGV" not in source.text


def calls() -> dict[str, list[set[str]]]:
    """Return the names that Python passes to each script, for every call in the source."""
    found: dict[str, list[set[str]]] = {}
    for path in JOBS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "script":
                name = ast.literal_eval(node.args[0])
                found.setdefault(name, []).append({keyword.arg or "**" for keyword in node.keywords})
    return found


def test_python_passes_the_arguments_that_each_script_declares() -> None:
    passed = calls()
    assert set(passed) == {source.name for source in SCRIPTS}, "each script is called"
    for source in SCRIPTS:
        names, rest = loader.declared_arguments(source)
        for call in passed[source.name]:
            assert call == {*names, rest} - {""}, source.name


@scripts_and_includes
def test_words_of_the_wire_are_constants(source: LuaFile) -> None:
    """States and values of the wire that Python knows as well are never literals, except as names of fields."""
    literals = set(re.findall(r"'([^'\n]*)'", re.sub(r"--[^\n]*", "", source.text)))
    constants = scripts.constants(Settings())
    words = {word for table in ("STATE", "OBSTACLE", "NOTICE", "DELIVERY", "GAP") for word in constants[table].values()}
    # Names of fields, an error code, and outcomes of calls.
    assert literals & words <= {"blocked", "draining", "error", "expired", "gone", "ok"}
    assert not [literal for literal in literals if literal.startswith("framemill:")]


def loaded(message: str = MESSAGE) -> dict[str, loader.Script]:
    settings = Settings()
    return {s.name: s for s in loader.scripts(scripts.constants(settings), scripts.tables(settings, message))}


def test_constants_are_replaced_by_their_values() -> None:
    text = loaded()["store_preview"].text
    assert "redis.call('PEXPIRE', 'framemill:preview:' .. id, 300000)" in text
    assert "if not F.is_current(id, attempt, 'running') then return 0 end" in text
    for script in loaded().values():
        assert not re.search(r"\b(K|CFG|STATE|OBSTACLE|NOTICE|EVENT|DELIVERY|GAP)\.\w", script.text)
        assert "--" not in re.sub(r"'(?:\\.|[^'\\\n])*'", "", re.sub(r"\[==\[.*?\]==\]", "", script.text))


def test_a_script_gets_only_the_tables_that_it_uses() -> None:
    for script in loaded().values():
        defined = set(re.findall(r"^local (\w+) = ", script.text.split("local F =")[0], re.MULTILINE)) & TABLES
        assert defined == {table for table in TABLES if len(re.findall(rf"\b{table}\b", script.text)) > 1}, script.name


def test_included_files_stand_once_and_before_their_users() -> None:
    for source in SCRIPTS:
        chain = [part.name for part in source.chain()]
        assert len(chain) == len(set(chain))
        for part in source.chain():
            assert all(chain.index(name) < chain.index(part.name) for name in part.includes)


def test_a_script_gets_only_the_functions_that_it_reaches() -> None:
    text = loaded()["report_progress"].text
    assert "function F.emit(" in text
    assert "F.enqueue" not in text
    assert not re.search(r"^local function (?!main)", text, re.MULTILINE)


def test_linked_functions_call_each_other_in_one_table() -> None:
    included = "local LIMIT, seen = 3, {}\nlocal last\nlocal function a(x) return x + LIMIT end\n"
    unused = "local function b() end\n"
    assert linking.Linker().link([included + unused], "return a(ARGV[1]) .. 'a(id)' .. id.a\n").splitlines() == [
        "local F = {LIMIT = false, seen = false, a = false}",
        "F.LIMIT, F.seen = 3, {}",
        "function F.a(x) return x + F.LIMIT end",
        "return F.a(ARGV[1]) .. 'a(id)' .. id.a",
    ]


def test_functions_that_are_used_on_demand_are_created_together_when_one_is_called() -> None:
    included = "local a_limit = 3\nlocal function a() return a_limit end\nlocal function b() return a() end\n"
    text = linking.Linker().link([included + "local last\n"], "last = last or b()\n", {"b"})
    assert text.splitlines() == [
        "local F = {last = false}",
        "local function create()",
        "setmetatable(F, nil)",
        "F.a_limit = 3",
        "function F.a() return F.a_limit end",
        "function F.b() return F.a() end",
        "end",
        "setmetatable(F, {__index = function(_, name) create() return F[name] end})",
        "F.last = F.last or F.b()",
    ]


def test_what_a_script_uses_on_demand_is_reached_by_it() -> None:
    texts = loaded()
    for source in SCRIPTS:
        assert list(source.on_demand) == sorted(set(source.on_demand)), source.name
        assert all(f"function F.{name}(" in texts[source.name].text for name in source.on_demand), source.name


def test_no_field_in_braces_has_the_name_of_a_function() -> None:
    """The names are replaced in the text, and such a field would be replaced too."""
    for name, source in FILES.items():
        braces = " ".join(re.findall(r"{[^{}]*}", code_of(source)))
        assert not set(re.findall(r"(\w+) = ", braces)) & set(OWNER), name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for scripts of the test."""
    (tmp_path / "include").mkdir()
    monkeypatch.setattr(loader, "FOLDER", tmp_path)
    return tmp_path


def load(folder: Path, text: str) -> loader.Script:
    (folder / "some.lua").write_text(text)
    return loader._Loader({"K": {"JOB": "'job:'"}}, {}).load(LuaFile.read("some", folder))


def test_arguments_are_passed_in_the_declared_order(folder: Path) -> None:
    script = load(folder, "local id,\n  attempt = unpack(ARGV)\nlocal facts = {unpack(ARGV, 3)}\n")
    assert script.positional({"facts": {"a": 1, "b": 2}, "attempt": 7, "id": "x"}) == ["x", 7, "a", 1, "b", 2]
    assert script.positional({"id": "x", "attempt": 7, "facts": ["a", "b"]}) == ["x", 7, "a", "b"]
    assert load(folder, "local names = ARGV\n").positional({"names": ("a", "b")}) == ["a", "b"]


@pytest.mark.parametrize("values", [{"id": 1}, {"id": 1, "attempts": 2}, {"id": 1, "attempt": 2, "slot": 3}, {}])
def test_other_names_of_arguments_are_refused(folder: Path, values: dict[str, int]) -> None:
    script = load(folder, "local id, attempt = unpack(ARGV)\n")
    with pytest.raises(TypeError, match="the script 'some' takes id, attempt; got"):
        script.positional(values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("local now = 1\n", "some.lua does not declare its arguments"),
        ("local id = unpack(ARGV)\nlocal facts = {unpack(ARGV, 3)}\n", r"facts must be \{unpack\(ARGV, 2\)\}"),
        ("local id = unpack(ARGV)\nreturn K.JOBB .. id\n", r"some.lua: there is no constant K.JOBB"),
        ("local id = unpack(ARGV)\nreturn STATES.QUEUED\n", r"some.lua: there is no constant STATES.QUEUED"),
    ],
)
def test_a_broken_script_is_found_when_it_is_loaded(folder: Path, text: str, message: str) -> None:
    with pytest.raises(BadScript, match=message):
        load(folder, text)


def test_a_circle_of_includes_is_refused(folder: Path) -> None:
    (folder / "include/a.lua").write_text("-- include: b\n")
    (folder / "include/b.lua").write_text("-- include: a\n")
    with pytest.raises(BadScript, match="some includes a includes b includes a: a circle"):
        load(folder, "-- include: a\nlocal id = unpack(ARGV)\n")


def test_comments_and_strings_are_left_out_of_the_constants(folder: Path) -> None:
    script = load(folder, "local id = unpack(ARGV)\n-- K.NONE\nreturn K.JOB .. 'K.JOB -- ' .. id  -- it's\n")
    assert script.text == "local id = unpack(ARGV)\n\nreturn 'job:' .. 'K.JOB -- ' .. id\n"


@scripts_and_includes
def test_the_documented_user_of_redis_may_run_every_command(source: LuaFile) -> None:
    page = PROJECT_ROOT / "docs" / "operating" / "redis.md"
    [rule] = re.findall(r"^user framemill .*$", page.read_text(), re.MULTILINE)
    commands = set(re.findall(r"redis\.p?call\(\s*'(\w+)'", source.text))
    assert not {command.lower() for command in commands} - set(re.findall(r"\+(\S+)", rule))
