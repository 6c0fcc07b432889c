"""Modular pipelines of diffusers: loaded component by component, and called like any other pipeline.

A modular pipeline consists of blocks, each with its own inputs. :func:`callable_like_others` gives it what the rest of
a worker expects of a pipeline: a call with a signature, and an output with attributes. Guidance is the task of a
guider; each call gets a new one, with the scale of the request.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from diffusers.guiders.guider_utils import BaseGuidance
from huggingface_hub import snapshot_download

from jobs.errors import ModelLoadFailed
from jobs.models.spec import ModelSpec
from workers.pipelines import classes

INDEX = "modular_model_index.json"
#: Argument of a call that is passed to the guider, unless a block has an input of this name.
GUIDANCE = "guidance_scale"
#: Files of a repository that are downloaded: no weights but safetensors, and no code.
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")


class _Called:
    """Mixed into the class of a modular pipeline: a call as other pipelines have it."""

    #: A function whose signature names the inputs of the blocks.
    _call: Any
    _blocks: Any

    @property
    def __call__(self) -> Any:
        return self._call

    def set_progress_bar_config(self, **options: Any) -> None:
        """Set it for all blocks; the class of diffusers leaves out those within others."""
        waiting = [self._blocks]
        while waiting:
            block = waiting.pop()
            waiting += getattr(block, "sub_blocks", {}).values()
            if hasattr(block, "set_progress_bar_config"):
                block.set_progress_bar_config(**options)

    def maybe_free_model_hooks(self) -> None:
        """Do nothing: whole components of modular pipelines are not moved by hooks."""


def download(spec: ModelSpec) -> Path:
    """Return the folder of a model on the hub, downloaded if it is not in the cache."""
    return Path(snapshot_download(spec.source, revision=spec.revision, allow_patterns=list(_FILES)))


def empty(spec: ModelSpec, folder: Path) -> Any:
    """Return the pipeline of a folder without its components. Code that the folder brings is not run.

    Raises:
        ModelLoadFailed: its blocks or its workflow are not part of diffusers.
    """
    try:
        if not spec.blocks:
            return diffusers.ModularPipeline.from_pretrained(
                str(folder), trust_remote_code=False, workflow=spec.workflow
            )
        blocks = classes.named(spec.blocks, "class")()
        return (blocks.get_workflow(spec.workflow) if spec.workflow else blocks).init_pipeline(str(folder))
    except ValueError as exc:
        if "custom code" in str(exc):
            raise ModelLoadFailed("the model brings code of its own, which is never run") from exc
        raise


def completed(pipeline: Any, folder: Path, parts: Mapping[str, Any], dtype: torch.dtype) -> Any:
    """Give a pipeline its components; those that are not among ``parts`` are read from disk. Return it."""
    for name in pipeline.pretrained_component_names:
        component = pipeline.get_component_spec(name)
        if name in parts:
            part = parts[name]
        elif _exists(component, folder):
            is_model = component.type_hint is None or issubclass(component.type_hint, torch.nn.Module)
            part = component.load(**({"dtype": dtype, "use_safetensors": True} if is_model else {}))
        else:
            continue
        pipeline.register_components(**{name: part})
    return callable_like_others(pipeline)


def _exists(component: Any, folder: Path) -> bool:
    """Return whether a component can be read: models leave out optional ones."""
    source = component.pretrained_model_name_or_path
    return source is not None and (str(source) != str(folder) or (folder / (component.subfolder or "")).is_dir())


def callable_like_others(pipeline: Any) -> Any:
    """Give a modular pipeline the call of other pipelines; return it."""
    own = type(pipeline)
    blocks = pipeline.blocks
    inputs = {parameter.name: parameter for parameter in blocks.inputs if parameter.name}
    defaults = {name: parameter.default for name, parameter in inputs.items()}
    scale = getattr(getattr(pipeline, "guider", None), GUIDANCE, None)
    if scale is not None:
        defaults.setdefault(GUIDANCE, scale)
    names = [output.name for output in blocks.outputs]

    def call(**arguments: Any) -> SimpleNamespace:
        if unknown := arguments.keys() - defaults.keys():
            raise TypeError(f"{own.__name__} has no input {', '.join(sorted(unknown))}")
        guidance = None if GUIDANCE in inputs else arguments.pop(GUIDANCE, None)
        with _new_guiders(pipeline, guidance):
            state = own.__call__(pipeline, **arguments)
        return SimpleNamespace(**{name: state.get(name) for name in names})

    keyword = inspect.Parameter.KEYWORD_ONLY
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, keyword, default=default) for name, default in defaults.items()]
    )
    pipeline.__class__ = type(own.__name__, (_Called, own), {})
    pipeline._call = call
    return pipeline


@contextmanager
def _new_guiders(pipeline: Any, guidance_scale: float | None) -> Iterator[None]:
    """Give the pipeline new guiders inside the block, because guiders have a state; the main one has this scale."""
    guiders = {name: part for name, part in pipeline.components.items() if isinstance(part, BaseGuidance)}
    for name, guider in guiders.items():
        scale = {GUIDANCE: guidance_scale} if name == "guider" and guidance_scale is not None else {}
        setattr(pipeline, name, guider.new(**scale))
    try:
        yield
    finally:
        for name, guider in guiders.items():
            setattr(pipeline, name, guider)
