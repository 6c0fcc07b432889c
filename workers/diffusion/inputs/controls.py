"""The controls of one pass: pictures, weights and steps as arguments of the pipeline's call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from PIL import Image

from jobs.errors import ExecutionError
from jobs.models.controls import ControlType
from jobs.models.spec import ModelSpec
from jobs.objects.reading import Readable
from jobs.requests.generation import GenerationRequest
from jobs.requests.pictures.controls import DEFAULT_RESIZE
from workers.diffusion.inputs.preprocessing import preprocessed
from workers.diffusion.inputs.reading import load_picture

#: Fits a picture to the output; the second argument is one of ``jobs.requests.pictures.resizes.RESIZES``.
Fit = Callable[[Image.Image, str], Image.Image]
#: A control of a request, with its picture.
_Placed = tuple[dict[str, Any], Image.Image]
#: Type of a control → the argument for its weight.
_SCALES = {
    ControlType.CONTROLNET: "controlnet_conditioning_scale",
    ControlType.T2I_ADAPTER: "adapter_conditioning_scale",
}


@dataclass(frozen=True)
class ControlInputs:
    """The controls of one pass."""

    #: Arguments of the call.
    arguments: Mapping[str, Any] = field(default_factory=dict)
    #: IP-Adapters in order: ``scale``, ``start`` and ``end`` of each.
    prompts: tuple[Mapping[str, Any], ...] = ()

    def begin(self, pipeline: Any, steps: int) -> None:
        """Set the weights of the IP-Adapters for the first step of a call."""
        self._set_scales(pipeline, 0, max(1, steps))

    def followed(self, callback: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        """Return a ``callback_on_step_end`` that also sets the weights of the IP-Adapters for the step after it."""
        if all(one["start"] == 0 and one["end"] == 1 for one in self.prompts):
            return callback

        @wraps(callback)
        def on_step_end(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            tensors = callback(pipeline, step, timestep, tensors)
            self._set_scales(pipeline, step + 1, pipeline.num_timesteps)
            return tensors

        return on_step_end

    def _set_scales(self, pipeline: Any, step: int, steps: int) -> None:
        if self.prompts:
            # The rule by which diffusers begins and ends ControlNets.
            pipeline.set_ip_adapter_scale(
                [
                    one["scale"] if step / steps >= one["start"] and (step + 1) / steps <= one["end"] else 0.0
                    for one in self.prompts
                ]
            )


def controls_of(
    pipeline: Any, spec: ModelSpec, request: GenerationRequest, objects: Readable | None, fit: Fit
) -> ControlInputs:  # fmt: skip
    """Read the images of the controls of a request.

    Args:
        pipeline: the pipeline with these controls.
        spec: the model.
        request: the request of the pass.
        objects: where the images are stored.
        fit: fits the pictures that are laid over the output.

    Raises:
        ObjectNotFound, Unavailable.
        ExecutionError: the pipeline cannot use the controls in this way.
    """
    if not request.controls or objects is None:
        return ControlInputs()
    parameters = inspect.signature(pipeline.__call__).parameters
    spatial, prompts = list[_Placed](), list[_Placed]()
    for control in request.controls:
        is_spatial = spec.controls[control["name"]].type.is_spatial
        picture = load_picture(objects, control["image"])
        if is_spatial:
            picture = preprocessed(fit(picture, control.get("resize", DEFAULT_RESIZE)), control)
        (spatial if is_spatial else prompts).append((control, picture))
    arguments = _spatial(pipeline, spec, spatial, parameters) if spatial else {}
    if prompts:
        if "ip_adapter_image" not in parameters:
            raise ExecutionError(f"controls: {type(pipeline).__name__} takes no IP-Adapters")
        if "callback_on_step_end" not in parameters and any(one["start"] or one["end"] < 1 for one, _ in prompts):
            raise ExecutionError(f"controls: {type(pipeline).__name__} takes no start and end of IP-Adapters")
        arguments["ip_adapter_image"] = [picture for _, picture in prompts]
    return ControlInputs(arguments, tuple(control for control, _ in prompts))


def _spatial(
    pipeline: Any, spec: ModelSpec, controls: list[_Placed], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    kind = spec.controls[controls[0][0]["name"]].type
    pictures = [_in_mode_of(pipeline, picture) for _, picture in controls]
    values: dict[str, list[Any]] = {
        "control_image" if "control_image" in parameters else "image": pictures,
        _SCALES[kind]: [one["scale"] for one, _ in controls],
    }
    begins, ends = ([one[name] for one, _ in controls] for name in ("start", "end"))
    if "control_guidance_start" in parameters:
        values |= {"control_guidance_start": begins, "control_guidance_end": ends}
    elif any(begins) or any(end < 1 for end in ends):
        raise ExecutionError(f"controls: {type(pipeline).__name__} takes no start and end")
    modes = [spec.controls[one["name"]].mode for one, _ in controls]
    is_union = "ControlNetUnion" in type(pipeline).__name__
    if any(mode is not None for mode in modes) or is_union:
        missing = next((one["name"] for (one, _), mode in zip(controls, modes, strict=True) if mode is None), None)
        if missing is not None:
            raise ExecutionError(f"control {missing} of model {spec.name} needs the key mode (models file)")
        if "control_mode" not in parameters:
            raise ExecutionError(f"controls: {type(pipeline).__name__} has no control_mode")
        values["control_mode"] = modes
    if len(controls) > 1 or is_union:
        return values
    return {name: value[0] for name, value in values.items()}


def _in_mode_of(pipeline: Any, picture: Image.Image) -> Image.Image:
    """Return a picture as a T2I-Adapter takes it: some take greys."""
    adapter: Any = getattr(pipeline, "adapter", None)
    first = adapter.adapters[0] if hasattr(adapter, "adapters") else adapter
    return picture.convert("L") if first is not None and first.config.in_channels == 1 else picture
