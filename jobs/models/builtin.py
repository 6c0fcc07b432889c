"""Built-in models of back ends: what a back end of a type offers when its table lists no models.

They use the defaults of such a server and set wide limits, so that the server itself decides what it accepts.
"""

from __future__ import annotations

from jobs.models import schedulers
from jobs.models.spec import Kind, ModelSpec, Range

#: Samplers that AUTOMATIC1111 offers under the name used here.
_A1111_SAMPLERS = {
    "Euler", "Euler a", "Heun", "LMS", "DPM2", "DPM2 a", "DPM++ 2M", "DPM++ 2M SDE", "DPM++ 2M SDE Heun",
    "DPM++ 3M SDE", "DPM++ SDE", "UniPC", "DDIM", "PLMS", "LCM",
}  # fmt: skip


def _samplers() -> tuple[str, ...]:
    choices = map(schedulers.parse, schedulers.names_of("diffusion"))
    return tuple(str(choice) for choice in choices if choice is not None and choice.sampler in _A1111_SAMPLERS)


_WIDE = {"steps": Range(1, 1000), "guidance_scale": Range(0, 100)}

#: By type of back end, which is also the model's name.
BUILT_IN = {
    "automatic1111": ModelSpec(
        name="automatic1111",
        source="",
        executor="remote",
        description="The checkpoint that the AUTOMATIC1111 server has loaded",
        kinds=(Kind.TEXT2IMG, Kind.IMG2IMG, Kind.INPAINT),
        defaults={"steps": 50, "width": 512, "height": 512, "guidance_scale": 7.0, "strength": 0.75},
        limits={**_WIDE, "num_images": Range(1, 64)},
        size_multiple_px=1,
        schedulers=_samplers(),
        fields={"clip_skip": "CLIP_stop_at_last_layers", "distilled_guidance_scale": "distilled_cfg_scale"},
    ),
    "kandinsky": ModelSpec(
        name="kandinsky",
        source="",
        executor="remote",
        description="Kandinsky 2.1 on a server of its API",
        kinds=(Kind.TEXT2IMG, Kind.MIX2IMG),
        prior_arguments={},
        defaults={"steps": 30, "width": 512, "height": 512, "guidance_scale": 4.0},
        limits={**_WIDE, "num_images": Range(1, 1)},
        size_multiple_px=1,
    ),
}
