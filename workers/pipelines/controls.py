"""Load the controls of a model (:mod:`jobs.models.controls`), and build the pipeline that uses them.

A control is read when a job first needs it, and is an entry of its own among the models in memory. The pipeline is
built for one job: it shares all components with the model's own, and nothing refers to it afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from huggingface_hub import snapshot_download
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from jobs.errors import ExecutionError, FramemillError, ModelLoadFailed
from jobs.models.controls import Control, ControlType
from jobs.models.spec import Kind, ModelSpec
from workers.pipelines import classes, memory, weights
from workers.pipelines.adapters import ip_adapters
from workers.pipelines.device_errors import is_device_lost, is_out_of_memory
from workers.pipelines.residency import control_entry_of

logger = logging.getLogger(__name__)

#: Type of a spatial control → the pipeline's component.
_COMPONENTS = {ControlType.CONTROLNET: "controlnet", ControlType.T2I_ADAPTER: "adapter"}
#: Ends of the names of classes, with what they do.
_TASKS = ("Img2ImgPipeline", "InpaintPipeline", "Pipeline")
#: Parts of a configuration that a ControlNet has in common with its model.
_SHARED = (
    "cross_attention_dim", "block_out_channels", "addition_embed_type", "joint_attention_dim", "pooled_projection_dim",
)  # fmt: skip


@dataclass(frozen=True)
class ControlPart:
    """Weights that are loaded together, and are one entry in memory."""

    #: Name of the entry.
    entry: str
    #: Component of the pipeline; '' for the layers of IP-Adapters.
    component: str
    #: Estimated size in memory.
    bytes: int
    #: Reads them from disk, for this pipeline of the model.
    load: Callable[[Any], torch.nn.Module]


def parts_of(spec: ModelSpec, names: Sequence[str], dtype: torch.dtype) -> list[ControlPart]:
    """Return what these controls consist of: the spatial ones in their order, then what IP-Adapters need.

    Raises:
        ModelLoadFailed: a folder or file does not exist, or cannot be downloaded.
    """
    controls = [spec.controls[name] for name in names]
    parts = [_network(spec, control, dtype) for control in controls if control.type.is_spatial]
    if prompts := [control for control in controls if not control.type.is_spatial]:
        parts += [_encoder(spec, prompts[0], dtype), _layers(spec, prompts, dtype)]
    return parts


def pipeline_with(
    base: Any, spec: ModelSpec, kind: Kind, parts: Sequence[tuple[ControlPart, torch.nn.Module]],
    derive: Callable[..., Any],
) -> Any:  # fmt: skip
    """Return a pipeline for one job.

    Args:
        base: the model's pipeline for this kind.
        spec: the model.
        kind: the kind of job.
        parts: the loaded parts, as :func:`parts_of` lists them.
        derive: makes a pipeline of a class with the components of another one, and with further ones.

    Raises:
        ModelLoadFailed: diffusers has no class for it.
    """
    components: dict[str, Any] = {}
    layers, networks = None, list[torch.nn.Module]()
    for part, module in parts:
        if not part.component:
            layers = module
        elif part.component == "image_encoder":
            components["image_encoder"] = module
            if getattr(base, "safety_checker", None) is None:  # which has its own
                side = int(module.config.image_size)  # type: ignore[union-attr,arg-type]
                components["feature_extractor"] = CLIPImageProcessor(size=side, crop_size=side)
        else:
            networks.append(module)
            components[part.component] = networks if len(networks) > 1 else module
    pipeline_class = class_for(spec, kind, type(base).__name__, _infix(networks)) if networks else type(base)
    pipeline = derive(pipeline_class, base, components)
    if len(networks) > 1:
        wrapper = next(getattr(pipeline, name) for name in components if name in _COMPONENTS.values())
        if not isinstance(wrapper, torch.nn.Module):
            raise ExecutionError(f"controls: {pipeline_class.__name__} takes one at a time")
        weights.note_module(wrapper, "+".join(map(weights.digest_of_module, networks)))
    if layers is not None:
        ip_adapters.note(pipeline, layers)  # type: ignore[arg-type]
    return pipeline


def class_for(spec: ModelSpec, kind: Kind, class_name: str, infix: str) -> Any:
    """Return the class of pipelines with controls.

    Args:
        spec: the model, which may name one.
        kind: the kind of job.
        class_name: class of the model's pipeline for this kind.
        infix: what its name has before the task: ``ControlNet``, ``ControlNetUnion`` or ``Adapter``.

    Raises:
        ModelLoadFailed: diffusers has none.
    """
    name = spec.control_pipelines.get(kind)
    if name is None:
        task = next((task for task in _TASKS if class_name.endswith(task)), "")
        name = class_name.removesuffix(task) + infix + task
    if spec.control_pipelines.get(kind):
        return classes.named(name)
    if not hasattr(diffusers, name):
        rule = f"diffusers {diffusers.__version__} has no pipeline class {name} for {kind}"
        raise ModelLoadFailed(f"{rule}: name another one in control_pipelines, or leave {kind} out of the kinds")
    return getattr(diffusers, name)


def digest_of(pipeline: Any) -> str:
    """Return a digest of the files of the IP-Adapters that a pipeline needs; '' without any."""
    layers = ip_adapters.of(pipeline)
    return weights.digest_of_module(layers) if layers is not None else ""


def _infix(networks: Sequence[torch.nn.Module]) -> str:
    if "T2IAdapter" in type(networks[0]).__name__:
        return "Adapter"
    unions = [isinstance(network, diffusers.ControlNetUnionModel) for network in networks]
    if any(unions) and not all(unions):
        raise ExecutionError("controls: a ControlNet for several kinds of images cannot be combined with another one")
    return "ControlNetUnion" if any(unions) else "ControlNet"


# ---- loading


def _network(spec: ModelSpec, control: Control, dtype: torch.dtype) -> ControlPart:
    folder = _folder(spec, control, control.source, control.subfolder)

    def load(pipeline: Any) -> torch.nn.Module:
        options: Any = {"variant": control.variant, "dtype": dtype, "use_safetensors": True}
        network: torch.nn.Module = diffusers.AutoModel.from_pretrained(str(folder), **options)
        _check_type(control, network)
        _check_fit(network, pipeline)
        weights.note_module(network, weights.of_folder(folder))
        return network

    same = _first_alike(spec, control, "type", "source", "subfolder", "revision", "variant")
    size = memory.file_bytes(folder, dtype, control.variant)
    return ControlPart(control_entry_of(spec.name, same), _COMPONENTS[control.type], size, _named(spec, control, load))


def _encoder(spec: ModelSpec, control: Control, dtype: torch.dtype) -> ControlPart:
    folder = _folder(spec, control, *control.encoder)

    def load(_pipeline: Any) -> torch.nn.Module:
        options: Any = {"dtype": dtype, "use_safetensors": True}
        encoder: torch.nn.Module = CLIPVisionModelWithProjection.from_pretrained(str(folder), **options)
        weights.note_module(encoder, weights.of_folder(folder))
        return encoder

    entry = control_entry_of(spec.name, _first_alike(spec, control, "type", "encoder")) + "/image_encoder"
    return ControlPart(entry, "image_encoder", memory.file_bytes(folder, dtype), _named(spec, control, load))


def _layers(spec: ModelSpec, controls: Sequence[Control], dtype: torch.dtype) -> ControlPart:
    files = [_folder(spec, control, control.source, control.subfolder) / control.weight_name for control in controls]
    for control, file in zip(controls, files, strict=True):
        if not file.is_file():
            raise ModelLoadFailed(f"control {control.name} of model {spec.name}: there is no file {file.name}")

    def load(pipeline: Any) -> torch.nn.Module:
        layers = ip_adapters.Layers(ip_adapters.denoiser_of(pipeline), [ip_adapters.read(file) for file in files])
        weights.note_module(layers, "+".join(map(weights.of_file, files)))
        return layers.to(dtype)

    size = sum(memory.header_bytes(file, dtype) for file in files)
    names = "+".join(control.name for control in controls)
    return ControlPart(control_entry_of(spec.name, names), "", size, _named(spec, controls[0], load))


def _first_alike(spec: ModelSpec, control: Control, *fields: str) -> str:
    """Return the name of the model's first control with the same values of these fields: they share an entry."""
    values = [getattr(control, field) for field in fields]
    return next(
        name for name, each in spec.controls.items() if [getattr(each, field) for field in fields] == values
    )  # fmt: skip


def _folder(spec: ModelSpec, control: Control, source: str, subfolder: str) -> Path:
    """Return the folder with the weights; downloads it from the hub."""
    folder = Path(source)
    if not folder.is_absolute():
        within = f"{subfolder}/" if subfolder else ""
        revision = control.revision if source == control.source else None
        wanted = [f"{within}{control.weight_name or '*.safetensors'}", f"{within}*.json", f"{within}*.safetensors"]
        wanted = wanted[:1] if control.weight_name and source == control.source and subfolder == control.subfolder \
            else wanted[1:]  # fmt: skip
        try:
            folder = Path(snapshot_download(source, revision=revision, allow_patterns=wanted))
        except Exception as exc:
            raise _failure(spec, control, exc) from exc
    folder = folder / subfolder
    if not folder.is_dir():
        raise ModelLoadFailed(f"control {control.name} of model {spec.name}: there is no folder {subfolder or source}")
    return folder


def _check_type(control: Control, network: torch.nn.Module) -> None:
    expected = "T2IAdapter" if control.type is ControlType.T2I_ADAPTER else "ControlNet"
    if expected not in type(network).__name__:
        raise ModelLoadFailed(f"it is a {type(network).__name__}, not a {control.type}")


def _check_fit(network: Any, pipeline: Any) -> None:
    """Raises: ModelLoadFailed: a ControlNet was trained for a model of another shape."""
    model = ip_adapters.denoiser_of(pipeline)
    for name in _SHARED:
        own, of_model = (_plain(part.config.get(name)) for part in (network, model))
        if own is not None and name in model.config and own != of_model:
            raise ModelLoadFailed(f"it does not fit the model: its {name} is {own}, that of the model {of_model}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _named(
    spec: ModelSpec, control: Control, load: Callable[[Any], torch.nn.Module]
) -> Callable[[Any], torch.nn.Module]:  # fmt: skip
    """Return the function with errors that name the control."""

    def named(pipeline: Any) -> torch.nn.Module:
        try:
            return load(pipeline)
        except Exception as exc:
            raise _failure(spec, control, exc) from exc

    return named


def _failure(spec: ModelSpec, control: Control, exc: Exception) -> FramemillError:
    """Return the error to raise for an exception of the libraries. Raises it unchanged if the device caused it."""
    if is_out_of_memory(exc) or is_device_lost(exc):
        raise exc
    what = f"control {control.name} of model {spec.name}"
    if isinstance(exc, FramemillError):
        return ModelLoadFailed(f"{what}: {exc}")
    logger.error("control not loaded", exc_info=exc, extra={"model": spec.name, "control": control.name})
    return ModelLoadFailed(f"{what} could not be loaded: {type(exc).__name__}")
