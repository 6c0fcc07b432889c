"""How the latents that a pipeline denoises differ from those that its decoder takes: mean, spread and scale.

Each family of diffusers stores these numbers in another place, and some pipelines ignore what their decoder states.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

#: Pipelines that do not add the ``shift_factor`` of their decoder.
_WITHOUT_SHIFT = ("Kandinsky5", "Kandinsky6")


def decoder_of(pipeline: Any) -> Any:
    """Return the autoencoder that decodes a pipeline's latents; None if it has none. Kandinsky calls it ``movq``."""
    return next((part for name in ("vae", "movq") if (part := getattr(pipeline, name, None)) is not None), None)


class LatentSpace:
    """The numbers of one pipeline.

    Args:
        pipeline: a pipeline with a decoder.
    """

    def __init__(self, pipeline: Any) -> None:
        self._vae = vae = decoder_of(pipeline)
        config = vae.config
        self.channels = int(config.get("latent_channels") or config["z_dim"])
        #: Mean and deviation of each channel at each cell of a patch, (channels, patch, patch): FLUX.2.
        self._patch: tuple[np.ndarray, np.ndarray] | None = None
        if type(vae).__name__ == "VQModel":  # the pipelines do not use its scaling_factor
            self._mean, self._deviation = torch.zeros(1), torch.ones(1)
        elif normalisation := getattr(vae, "bn", None):
            side = round((normalisation.num_features / self.channels) ** 0.5)
            shape = (self.channels, side, side)
            mean = normalisation.running_mean.detach().float().cpu().reshape(shape)
            variance = normalisation.running_var.detach().float().cpu().reshape(shape)
            deviation = (variance + float(config["batch_norm_eps"])).sqrt()
            self._patch = (mean.numpy(), deviation.numpy())
            self._mean, self._deviation = mean.mean((1, 2)), deviation.mean((1, 2))
        else:
            name = type(pipeline).__name__
            scale = self._constant("scaling_factor", 1.0)
            if name.startswith("Cosmos") and "sigma_data" in pipeline.scheduler.config:
                scale = torch.tensor(float(pipeline.scheduler.config.sigma_data))
            shift = 0.0 if name.startswith(_WITHOUT_SHIFT) else self._constant("shift_factor", 0.0)
            self._mean = self._constant("latents_mean", 0.0) + shift
            self._deviation = self._constant("latents_std", 1.0) / scale

    def decodable(self, latents: torch.Tensor) -> torch.Tensor:
        """Return (n, channels, height, width) latents as the decoder takes them."""
        mean, deviation = (value.to(latents.device).view(1, -1, 1, 1) for value in (self._mean, self._deviation))
        return latents * deviation + mean

    def even(self, latents: np.ndarray) -> np.ndarray:
        """Return (channels, rows, columns) latents with the same mean and deviation at each cell of a patch."""
        if self._patch is None:
            return latents
        mean, deviation = (
            np.tile(value, (1, latents.shape[1] // value.shape[1], latents.shape[2] // value.shape[2]))
            for value in self._patch
        )
        common_mean, common_deviation = (value.numpy()[:, None, None] for value in (self._mean, self._deviation))
        even: np.ndarray = (latents * deviation + mean - common_mean) / common_deviation
        return even

    def _constant(self, name: str, default: float) -> torch.Tensor:
        """Return a number of the decoder, one or one for each channel."""
        config = self._vae.config
        value = config[name] if name in config else getattr(self._vae, name, None)
        number = torch.as_tensor(default if value is None else value, dtype=torch.float32).detach().cpu()
        if number.numel() > self.channels:  # Cosmos 1: one for each channel and frame
            number = number.reshape(self.channels, -1)[:, 0]
        return number.reshape(-1)
