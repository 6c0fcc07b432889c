"""IP-Adapters: layers that are put into a denoiser for the time of one run, and taken out again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers.loaders.transformer_flux import FluxTransformer2DLoadersMixin
from diffusers.loaders.unet import UNet2DConditionLoadersMixin
from diffusers.models.embeddings import MultiIPAdapterImageProjection
from safetensors import safe_open

from jobs.errors import ModelLoadFailed

#: Classes whose IP-Adapters are known here.
_DENOISERS = (UNet2DConditionLoadersMixin, FluxTransformer2DLoadersMixin)
#: Beginnings of the names in a file: of the projection of images, and of the attention layers.
_PROJECTION, _ATTENTION = ("image_proj.", "ip_adapter_proj_model."), ("ip_adapter.", "double_blocks.")
#: Parts of names in the files for FLUX → their names in diffusers.
_RENAMED = {
    "ip_adapter_double_stream_k_proj": "to_k_ip", "ip_adapter_double_stream_v_proj": "to_v_ip", "processor.": "",
}  # fmt: skip


class Layers(torch.nn.Module):
    """The layers of one or more IP-Adapters for one denoiser.

    Args:
        denoiser: the module that they are for; it is not changed.
        files: contents of the files (:func:`read`), one for each adapter.

    Raises:
        ModelLoadFailed: the denoiser takes no IP-Adapters.
        Exception: the files are for another model.
    """

    def __init__(self, denoiser: Any, files: Sequence[dict[str, dict[str, torch.Tensor]]]) -> None:
        super().__init__()
        if not isinstance(denoiser, _DENOISERS):
            raise ModelLoadFailed(f"{type(denoiser).__name__} takes no IP-Adapters")
        convert = denoiser._convert_ip_adapter_image_proj_to_diffusers
        processors = denoiser._convert_ip_adapter_attn_to_diffusers(list(files))
        # The others are new instances of what the denoiser has.
        added = {name: part for name, part in processors.items() if isinstance(part, torch.nn.Module)}
        self._names = list(added)
        self.attention = torch.nn.ModuleList(added.values())
        self.projection = MultiIPAdapterImageProjection([convert(file["image_proj"]) for file in files])

    @property
    def processors(self) -> dict[str, torch.nn.Module]:
        """The attention processors by the names that the denoiser has for them."""
        return dict(zip(self._names, self.attention, strict=True))


#: The layers that the pipeline of a job needs.
_layers: WeakKeyDictionary[Any, Layers] = WeakKeyDictionary()


def note(pipeline: Any, layers: Layers) -> None:
    """Note that the runs of a pipeline need these layers."""
    _layers[pipeline] = layers


def of(pipeline: Any) -> Layers | None:
    """Return the layers that the runs of a pipeline need; None: none."""
    return _layers.get(pipeline)


def read(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Read a file of an IP-Adapter: ``image_proj`` and ``ip_adapter``, each name → weights.

    Raises:
        ModelLoadFailed: it is none, or reads faces.
    """
    weights: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    with safe_open(path, framework="pt", device="cpu") as file:
        for key in file.keys():  # noqa: SIM118 (not a mapping)
            name = key.partition(".")[2]
            for part, renamed in _RENAMED.items():
                name = name.replace(part, renamed)
            if key.startswith(_PROJECTION):
                weights["image_proj"][name] = file.get_tensor(key)
            elif key.startswith(_ATTENTION):
                weights["ip_adapter"][name] = file.get_tensor(key)
    if not all(weights.values()):
        raise ModelLoadFailed(f"{path.name} contains no IP-Adapter")
    if _reads_faces(weights["image_proj"].keys()):
        raise ModelLoadFailed(f"{path.name} reads embeddings of faces, not images")
    return weights


def _reads_faces(names: Collection[str]) -> bool:
    """Return whether a projection reads the embedding of a face, not an image (IP-Adapter-FaceID)."""
    reads_images = {"proj.weight", "proj.3.weight", "latents"} & set(names)
    return "perceiver_resampler.proj_in.weight" in names or not reads_images


def denoiser_of(pipeline: Any) -> Any:
    """Return the module that IP-Adapters are put into."""
    return getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)


@contextmanager
def applied(pipeline: Any) -> Iterator[None]:
    """Put the layers that a pipeline needs into its denoiser inside the block; afterwards it is what it was."""
    layers = of(pipeline)
    if layers is None:
        yield
        return
    denoiser = denoiser_of(pipeline)
    before, projection = denoiser.attn_processors, getattr(denoiser, "encoder_hid_proj", None)
    image_type = denoiser.config.get("encoder_hid_dim_type")
    is_text = projection is not None and image_type == "text_proj"  # Kolors
    try:
        denoiser.encoder_hid_proj = None  # it may contain attention layers, which would be counted
        denoiser.set_attn_processor({**before, **layers.processors})
        if is_text:
            denoiser.text_encoder_hid_proj = projection
        denoiser.encoder_hid_proj = layers.projection
        denoiser.config.encoder_hid_dim_type = "ip_image_proj"
        yield
    finally:
        denoiser.encoder_hid_proj = None
        denoiser.set_attn_processor(dict(before))
        denoiser.encoder_hid_proj = projection
        denoiser.config.encoder_hid_dim_type = image_type
        if is_text:
            del denoiser.text_encoder_hid_proj
