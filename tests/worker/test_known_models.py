"""The entries of well-known models in docs: classes, arguments of their calls, memory, and what tiny weights ran."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.models import file as models_file
from jobs.models.spec import Kind, ModelSpec
from jobs.settings import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
PAGES = ("known-models.md", "models.md", "own-pipelines.md")
#: Rows of the table: entry → class, parameters in billions, GiB, and how it was tested.
_ROW = re.compile(r"^\| [^|]+ \| `([^`]+)` \| (\w+) \| ([\d.]+) \| ([\d.]+) \| (\w+) \|$", re.MULTILINE)
ROWS = {
    entry: (class_name, float(parameters), float(gib), tested)
    for entry, class_name, parameters, gib, tested in _ROW.findall((DOCS / PAGES[0]).read_text())
}
#: Component → parameters in billions, and how they were counted; and the components of each entry.
PARTS = {
    part: (float(billions), how)
    for part, billions, how in re.findall(
        r"^\| ([^|]+) \| ([\d.]+) \| (built|published) \|$", (DOCS / PAGES[0]).read_text(), re.MULTILINE
    )
}
COUNTED = dict(re.findall(r"^\| `([\w-]+)` \| ([^|`]+) \|$", (DOCS / PAGES[0]).read_text(), re.MULTILINE))
#: Fields of a request that lead to an argument, by kind.
NEEDED = {
    Kind.IMG2IMG: {"image", "strength"}, Kind.INPAINT: {"image", "mask"}, Kind.EDIT: {"image"},
    Kind.TEXT2VIDEO: {"frames"}, Kind.IMG2VIDEO: {"image", "frames"}, Kind.VIDEO2VIDEO: {"video"},
}  # fmt: skip


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelSpec]:
    folder = tmp_path_factory.mktemp("docs")
    found: dict[str, ModelSpec] = {}
    for page in PAGES:
        for number, block in enumerate(re.findall(r"^```toml\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)):
            path = folder / f"{page}{number}.toml"
            path.write_text(block)
            if "loras =" not in block.replace('loras = "loras/sdxl"', ""):
                path.write_text(block.replace('loras = "loras/sdxl"\n', ""))
                found |= {spec.name: spec for spec in models_file.read(path)}
    return found


def call_of(class_name: str) -> Any:
    """Return what has the signature of a class of pipelines, or of blocks."""
    import diffusers

    named = getattr(diffusers, class_name)
    if not issubclass(named, diffusers.ModularPipelineBlocks):
        return named
    names = [parameter.name for parameter in named().inputs if parameter.name]
    keyword = inspect.Parameter.KEYWORD_ONLY

    def call() -> None:
        """Stands for the call of the pipeline."""

    call.__signature__ = inspect.Signature([inspect.Parameter(name, keyword) for name in names])  # type: ignore[attr-defined]
    return SimpleNamespace(__call__=call)


@pytest.mark.parametrize("name", ROWS)
def test_each_entry_leads_to_arguments_that_its_class_takes(entries: dict[str, ModelSpec], name: str) -> None:
    from workers.diffusion import arguments

    spec, class_name = entries[name], ROWS[name][0]
    for kind in spec.kinds:
        call = call_of(spec.pipelines.get(kind, class_name))
        request: Any = SimpleNamespace(kind=kind)
        fields = {"steps", *NEEDED.get(kind, ()), *(name for name in ("last_image",) if spec.offers(name, kind))}
        if kind is not Kind.IMG2IMG:  # there the image has the size
            fields |= {"width", "height"}
        if spec.has_prior or spec.fields_of(kind).get("prompt") == "":
            fields -= {"prompt"}
        elif kind is not Kind.MIX2IMG:
            fields |= {"prompt"}
        missing = {field for field in fields if not arguments.takes(call, spec, request, field)}
        assert not missing, (kind, missing)
        parameters = arguments.accepted(call)
        assert {*spec.fields_of(kind).values()} - {""} <= parameters.keys()
        assert spec.arguments_of(kind).keys() <= arguments.accepted(call).keys()


def test_every_entry_of_the_page_has_a_row_and_every_row_an_entry(entries: dict[str, ModelSpec]) -> None:
    assert len(ROWS) == int(re.search(r"lists (\d+) models", (DOCS / PAGES[1]).read_text())[1])  # type: ignore[index]
    on_page = set(re.findall(r"^\[([\w-]+)\]$", (DOCS / PAGES[0]).read_text(), re.MULTILINE))
    assert on_page <= ROWS.keys() <= entries.keys()


@pytest.mark.parametrize("name", ROWS)
def test_memory_is_what_the_parameters_say(name: str) -> None:
    _, parameters, gib, _ = ROWS[name]
    assert gib == pytest.approx(parameters * 2e9 / 2**30, abs=0.06)


def test_what_was_run_has_tiny_weights_of_its_class(families_file: Path) -> None:
    tiny = {name for spec in models_file.read(families_file) for name in spec.pipelines.values()}
    for index in families_file.parent.rglob("*model_index.json"):
        described = json.loads(index.read_text())
        tiny |= {described["_class_name"], described.get("_blocks_class_name", "")}
    assert {name for name, row in ROWS.items() if row[3] == "run"} == {
        name for name, row in ROWS.items() if row[0] in tiny
    }
    assert {row[3] for row in ROWS.values()} == {"run", "call"}


@pytest.mark.parametrize("name", ROWS)
def test_the_parameters_are_those_of_the_components(name: str) -> None:
    counted = sum(PARTS[part][0] for part in COUNTED[name].split(" + "))
    assert ROWS[name][1] == pytest.approx(counted, abs=0.056)


@pytest.mark.parametrize(
    "name",
    [
        "FluxTransformer2DModel", "Flux2Transformer2DModel", "QwenImageTransformer2DModel", "WanTransformer3DModel",
        "ZImageTransformer2DModel", "LTX2VideoTransformer3DModel", "MiniMaxH3Transformer3DModel", "AutoencoderKLWan",
        "AutoencoderKLMiniMaxH3", "MochiTransformer3DModel",
    ],
)  # fmt: skip
def test_a_component_is_as_large_as_it_is_built(name: str) -> None:
    """The default configuration of these classes is that of the published model."""
    import diffusers
    from accelerate import init_empty_weights  # type: ignore[import-untyped]

    with init_empty_weights():
        module = getattr(diffusers, name)()
    billions = sum(parameter.numel() for parameter in module.parameters()) / 1e9
    assert PARTS[name] == (pytest.approx(billions, abs=0.0006), "built")


def test_what_is_counted_as_built_is_a_class_of_diffusers() -> None:
    import diffusers

    assert {how for _, how in PARTS.values()} == {"built", "published"}
    known = {name for name in PARTS if hasattr(diffusers, name)}
    assert {name for name, (_, how) in PARTS.items() if how == "built"} == known - {"AutoencoderKL"}
    assert {part for parts in COUNTED.values() for part in parts.split(" + ")} == PARTS.keys()
    assert COUNTED.keys() == ROWS.keys()
