"""The field ``audio_output``: whether a video has sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.errors import Problem
from jobs.formats import FORMATS
from jobs.models.spec import Kind, ModelSpec


def audio_output_of(
    spec: ModelSpec, kind: Kind, fields: Mapping[str, Any], output_format: str | None, problems: list[Problem],
    warnings: list[str],
) -> bool | None:  # fmt: skip
    """Return whether the output has sound; None: as the pipeline does it.

    Args:
        spec: the model. Its default is set if it makes sound.
        kind: the kind of job.
        fields: the fields that the caller sent.
        output_format: name of the format; None if the caller's is refused.
        problems: the problems found so far; new ones are added.
        warnings: the warnings so far; new ones are added.
    """
    default = spec.default("audio_output")
    wanted: bool | None = fields.get("audio_output", default if kind.is_video else None)
    if not kind.is_video:
        if wanted:
            problems.append(Problem("audio_output", f"does not apply to {kind}", wanted))
        return None
    if wanted and default is None and spec.executor != "remote":
        problems.append(Problem("audio_output", f"must be false: model {spec.name} makes no sound", wanted))
    elif wanted and output_format and not FORMATS[output_format].has_sound:
        warnings.append(f"output_format: {output_format} has no sound; mp4 and webm have")
    return wanted
