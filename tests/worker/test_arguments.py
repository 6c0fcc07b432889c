"""Fields that a pipeline receives only if the models file names an argument for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import ExecutionError
from jobs.models.registry import ModelRegistry
from tests.support.resolving import resolve

MODELS = """
[flux]
source = "hub/flux"
kinds = ["text2img"]
fields = { guidance_scale = "true_cfg_scale", distilled_guidance_scale = "guidance_scale" }

[wrong]
source = "hub/flux"
kinds = ["text2img"]
fields = { clip_skip = "clip_skip" }
"""


class Distilled:
    """A pipeline with the arguments of FLUX."""

    def __call__(
        self, prompt: str, guidance_scale: float = 3.5, true_cfg_scale: float = 1.0, clip: int = 0
    ) -> None:  # fmt: skip
        raise NotImplementedError


def test_distilled_guidance_is_passed_beside_the_other(tmp_path: Path) -> None:
    import torch

    from workers.diffusion import arguments

    (tmp_path / "models.toml").write_text(MODELS)
    models = ModelRegistry.from_file(tmp_path / "models.toml")

    def of(**fields: object) -> dict[str, object]:
        request, _ = resolve(models, fields)
        return arguments.of(Distilled(), models.get(request.model), request, {}, [torch.Generator()])

    sent = {"model": "flux", "prompt": "x", "guidance_scale": 2}
    assert of(**sent) == {"prompt": "x", "true_cfg_scale": 2.0}
    assert of(**sent, distilled_guidance_scale=3) == {"prompt": "x", "true_cfg_scale": 2.0, "guidance_scale": 3.0}
    with pytest.raises(ExecutionError, match="has no argument 'clip_skip'"):
        of(model="wrong", prompt="x")
