"""Whether the folders and classes that the models file names exist, found out without torch.

Only the hosts that load a model need its folder, so a web server by itself only notes what is missing. A hub id is not
looked up: that would need the network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from jobs.models import file as models_file
from jobs.models.controls import Control
from jobs.models.spec import ModelSpec
from jobs.process.diffusers_names import class_names
from jobs.process.own_classes import OwnClass
from jobs.process.toml_lines import TomlFile
from jobs.suggestions import did_you_mean

#: ``model`` or ``organisation/model``.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def check(path: Path, is_loaded: Callable[[ModelSpec], bool]) -> None:
    """Check the models that ``is_loaded`` accepts.

    Args:
        path: the models file.
        is_loaded: whether a model is loaded on this host.

    Raises:
        BadSetting: the first folder or class that is missing, with file and line.
    """
    file: TomlFile | None = None
    for spec in models_file.read(path):
        if spec.executor != "diffusers" or not is_loaded(spec):
            continue
        for keys, rule in _problems(spec, path.parent):
            file = file or TomlFile.read(path, "MODELS_FILE")
            raise file.error((spec.name, *keys), rule)


def _problems(spec: ModelSpec, folder: Path) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the keys of wrong values, and what is wrong with them."""
    indexes = (*(("modular_model_index.json",) if spec.loader == "modular" else ()), "model_index.json")
    for key, source in (("source", spec.source), ("prior", spec.prior)):
        names_class = key == "prior" or spec.pipeline is None
        if source and (rule := _source_problem(source, folder, indexes, names_class=names_class)):
            yield (key,), rule
    decoder = spec.preview_decoder
    if decoder and Path(decoder).is_absolute() and not Path(decoder).is_dir():
        yield ("preview_decoder",), _no_folder(decoder)
    for component, file in spec.load.gguf.items():
        if Path(file).is_absolute() and not Path(file).is_file():
            yield ("gguf", component), f"there is no file {file}"
    if spec.pipeline and (rule := _class_problem(spec.pipeline)):
        yield ("pipeline",), rule
    if spec.blocks and (rule := _class_problem(spec.blocks, "Blocks")):
        yield ("blocks",), rule
    for key, classes in (("pipelines", spec.pipelines), ("control_pipelines", spec.control_pipelines)):
        for kind, name in classes.items():
            if rule := _class_problem(name):
                yield (key, str(kind)), rule
    for name, control in spec.controls.items():
        for keys, rule in _control_problems(control):
            yield ("controls", name, *keys), rule


def _control_problems(control: Control) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the keys of what is missing of a control in folders of this host, and what is wrong with them."""
    folders = {"source": (control.source, control.subfolder)}
    if not control.type.is_spatial:
        key = "source" if control.image_encoder == control.source else "image_encoder"
        folders = {key: control.encoder}
        if Path(control.source).is_absolute() and not Path(control.source).is_dir():
            yield ("source",), _no_folder(control.source)
            return
        file = Path(control.source, control.subfolder, control.weight_name)
        if file.is_absolute() and not file.is_file():
            yield ("weight_name",), f"there is no file {file}"
            return
    for key, (source, subfolder) in folders.items():
        folder = Path(source, subfolder)
        if not folder.is_absolute():
            continue
        if not Path(source).is_dir():
            yield (key,), _no_folder(source)
        elif not (folder / "config.json").is_file():
            what = "no config.json" if folder.is_dir() else f"no folder {subfolder}"
            yield (key,), f"{source} has {what}" + (f" in {subfolder}" if subfolder and folder.is_dir() else "")


def _source_problem(source: str, folder: Path, indexes: tuple[str, ...], *, names_class: bool) -> str:
    """Return what is wrong with a folder or hub id; '' if nothing is.

    Args:
        source: the folder or id.
        folder: the folder of the models file.
        indexes: names of the files that may describe it.
        names_class: whether it says the class of the pipeline.
    """
    path = Path(source)
    if not path.is_absolute():  # the models file makes the path of an existing folder absolute
        first = source.partition("/")[0]
        if not _HUB_ID.fullmatch(source) or ("/" in source and (folder / first).is_dir()):
            return _no_folder(str(folder / source), shown=source)
        return ""
    if not path.is_dir():
        return _no_folder(source)
    index = next((path / name for name in indexes if (path / name).is_file()), path / indexes[-1])
    try:
        described = json.loads(index.read_text(encoding="utf-8"))
        name = described.get("_class_name")
    except FileNotFoundError:
        return f"the folder {source} is no model: it has no model_index.json"
    except (OSError, ValueError, AttributeError):
        return f"{index} cannot be read"
    if not names_class:
        return ""
    return _class_problem(name) if isinstance(name, str) else f"{index} names no class"


def _no_folder(path: str, shown: str = "") -> str:
    beside = [entry.name for entry in Path(path).parent.iterdir()] if Path(path).parent.is_dir() else []
    return f"there is no folder {shown or path}{did_you_mean(Path(path).name, beside)}"


def _class_problem(name: str, what: str = "Pipeline") -> str:
    """Return what is wrong with the name of a class; '' if nothing is. ``what``: how names of such classes end."""
    if own := OwnClass.of(name):
        return own.problem()
    known = class_names()
    if not known or name in known:
        return ""
    alike = [one for one in known if one.endswith(what)]
    return f"diffusers has no {what.lower()} class {name}{did_you_mean(name, alike)}"
