"""``python -m tests.support.tiny FOLDER [families]``: make tiny pipelines and their models file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from jobs.settings import PROJECT_ROOT
from tests.support.tiny import BASE, FAMILIES, write_broken
from tests.support.tiny.anima import build_anima
from tests.support.tiny.controls import build_controls
from tests.support.tiny.flux import build_flux, build_flux_fill
from tests.support.tiny.kandinsky import build_kandinsky
from tests.support.tiny.loras import build_loras
from tests.support.tiny.ltx2 import build_ltx2
from tests.support.tiny.references import build_flux2, build_flux_kontext
from tests.support.tiny.stable_diffusion import (
    build_endless_sd,
    build_sd,
    build_sd_fill,
    build_sdxl,
    build_unconditional,
)
from tests.support.tiny.video import build_cogvideox, build_ltx, build_wan

_BASE: dict[str, Callable[[Path], None]] = {"tiny-image": build_endless_sd, "tiny-video": build_ltx}
_FAMILIES = {
    "sd": build_sd, "sdxl": build_sdxl, "flux": build_flux, "kandinsky": build_kandinsky, "ltx": build_ltx,
    "sd-fill": build_sd_fill, "flux-fill": build_flux_fill, "flux-kontext": build_flux_kontext, "flux2": build_flux2,
    "wan": build_wan, "cogvideox": build_cogvideox, "unconditional": build_unconditional,
    "ltx2": build_ltx2, "anima": build_anima,
}  # fmt: skip


def own_class() -> str:
    """Return the custom class that the documentation shows."""
    page = (PROJECT_ROOT / "docs" / "own-pipelines.md").read_text()
    return page.split("```python\n")[1].split("```")[0]


def build(folder: Path, *, families: bool) -> Path:
    """Make the missing pipelines; return the models file."""
    for name, builder in (_FAMILIES if families else _BASE).items():
        if not (folder / name).exists():
            builder(folder / name)
    if families and not (folder / "loras").exists():
        build_loras(folder / "sd", folder / "flux", folder / "loras")
    if families and not (folder / "controls").exists():
        build_controls(folder, folder / "controls")
    if not families:
        write_broken(folder)
    models = folder / ("families.toml" if families else "models.toml")
    models.write_text(FAMILIES if families else BASE)
    if families:
        (folder / "talking.py").write_text(own_class())
    return models


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), families=sys.argv[2:] == ["families"]))
