"""How many jobs of a model may be computed together, as it was measured by ``framemill models profile``.

The file stands beside the models file: ``models.batch.toml`` beside ``models.toml``. Without it, or without a table for
the model on this device, each job is computed alone::

    [sdxl."NVIDIA H200"."1024x1024"]
    jobs = 4                                                # the most that are computed together
    steps = 10                                              # of the measurement
    images_per_s = { 1 = 0.8, 2 = 1.4, 4 = 2.1, 8 = 2.2 }
    memory_bytes = { 1 = 9000000000, 2 = 10000000000, 4 = 12000000000, 8 = 16000000000 }
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marshmallow import fields, validate

from jobs.errors import BadSetting
from jobs.model_commands import why_alone
from jobs.models.spec import ModelSpec
from jobs.models.toml_fields import CountField, NumberField, TableSchema
from jobs.process.toml_lines import TomlFile
from jobs.requests.generation import GenerationRequest

#: A run that jobs share cannot be interrupted. It is expected to take this many seconds at most.
LONGEST_S = 60.0
#: Twice as many jobs pay if this many times as many images are made in a second.
LEAST_GAIN = 1.1
_SIZE = re.compile(r"([1-9]\d{1,4})x([1-9]\d{1,4})")


@dataclass(frozen=True, kw_only=True)
class SizeProfile:
    """What was measured for pictures of one size."""

    width: int
    height: int
    #: Most jobs that are computed together; 1: none are.
    jobs: int
    #: Denoising steps of the measurement.
    steps: int
    #: By number of jobs: images a second, and bytes of the device's memory at the peak.
    images_per_s: Mapping[int, float]
    memory_bytes: Mapping[int, int] = field(default_factory=dict)

    def most(self, steps: int) -> int:
        """Return how many jobs of so many steps may be computed together."""
        return max((n for n in self._allowed() if n == 1 or self._seconds(n, steps) <= LONGEST_S), default=1)

    def _allowed(self) -> list[int]:
        return [n for n in {self.jobs, *self.images_per_s} if n <= self.jobs]

    def _seconds(self, jobs: int, steps: int) -> float:
        measured = self.images_per_s[max(n for n in self.images_per_s if n <= jobs)]
        return jobs / measured * steps / self.steps


class _CountsField(fields.Dict):
    """Numbers by number of jobs."""

    def __init__(self, values: fields.Field[Any], **options: Any) -> None:
        counts = fields.Integer(validate=validate.Range(min=1))
        super().__init__(keys=counts, values=values, **options)


class _SizeSchema(TableSchema):
    jobs = CountField(required=True)
    steps = CountField(required=True)
    images_per_s = _CountsField(
        NumberField(validate=validate.Range(min=0, min_inclusive=False, error="must be above 0")), required=True
    )
    memory_bytes = _CountsField(CountField())


#: By model, then by name of the device.
Profiles = Mapping[str, Mapping[str, Sequence[SizeProfile]]]


def path_beside(models_file: Path) -> Path:
    """Return the path of the file that belongs to a models file."""
    return models_file.with_suffix(".batch.toml")


def read(path: Path) -> dict[str, dict[str, list[SizeProfile]]]:
    """Read and check the whole file; empty if there is none.

    Raises:
        BadSetting: unreadable file, syntax error, unknown key, wrong type or value.
    """
    if not path.exists():
        return {}
    file, profiles = TomlFile.read(path), dict[str, dict[str, list[SizeProfile]]]()
    for model, devices in file.tables.items():
        for device, sizes in _table(file, (model,), devices).items():
            tables = _table(file, (model, device), sizes)
            profiles.setdefault(model, {})[device] = [
                _size(file, (model, device, size), table) for size, table in tables.items()
            ]
    return profiles


def _table(file: TomlFile, keys: Sequence[str], value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise file.error(keys, "must be a table")
    return value


def _size(file: TomlFile, keys: tuple[str, ...], table: Any) -> SizeProfile:
    match = _SIZE.fullmatch(keys[-1])
    if match is None:
        raise file.error(keys, "must be a size such as 1024x1024")
    values = file.load_at(_SizeSchema(), keys, table)
    if 1 not in values["images_per_s"]:
        raise file.error((*keys, "images_per_s"), "must have a number for 1 job")
    return SizeProfile(width=int(match[1]), height=int(match[2]), **values)


def written(profiles: Profiles) -> str:
    """Return the text of a file."""
    blocks = ['# Written by "framemill models profile". Lower "jobs" to have fewer jobs share a run.\n']
    for model, devices in profiles.items():
        for device, sizes in devices.items():
            for size in sizes:
                name = ".".join(_quoted(key) for key in (model, device, f"{size.width}x{size.height}"))
                speed = ", ".join(f"{n} = {rate:.4g}" for n, rate in sorted(size.images_per_s.items()))
                memory = ", ".join(f"{n} = {count}" for n, count in sorted(size.memory_bytes.items()))
                blocks.append(
                    f"[{name}]\njobs = {size.jobs}\nsteps = {size.steps}\n"
                    f"images_per_s = {{ {speed} }}\nmemory_bytes = {{ {memory} }}\n"
                )
    return "\n".join(blocks)


def _quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def write(path: Path, model: str, device: str, sizes: Sequence[SizeProfile]) -> None:
    """Replace the sizes of a model on a device in the file; those that were not measured again stay.

    Raises:
        BadSetting: the file is not valid.
        OSError: it cannot be written.
    """
    profiles = read(path)
    known = {(size.width, size.height): size for size in profiles.get(model, {}).get(device, [])}
    known |= {(size.width, size.height): size for size in sizes}
    profiles.setdefault(model, {})[device] = sorted(known.values(), key=lambda size: size.width * size.height)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(written(profiles), encoding="utf-8")
    partial.replace(path)


def best(images_per_s: Mapping[int, float]) -> int:
    """Return the number of jobs up to which more jobs at a time pay."""
    counts = sorted(images_per_s)
    jobs = counts[0]
    for n in counts[1:]:
        if images_per_s[n] < images_per_s[jobs] * LEAST_GAIN ** math.log2(n / jobs):
            break
        jobs = n
    return jobs


class BatchProfiles:
    """The profiles of a file, which is read again when it has changed.

    Args:
        models_file: the models file.
        warn: called with what is wrong with the file; each job is computed alone then.
    """

    def __init__(self, models_file: Path, warn: Callable[[str], None]) -> None:
        self._path, self._warn = path_beside(models_file), warn
        self._version: tuple[int, int] | None = None
        self._profiles: Profiles = {}

    def has(self, model: str) -> bool:
        """Return whether there is a profile of a model on some device. Reads the file if it has changed."""
        self._update()
        return model in self._profiles

    def most_together(self, spec: ModelSpec, device: str, request: GenerationRequest) -> int:
        """Return how many jobs like this one may be computed together; 1: only this one."""
        sizes = self._profiles.get(spec.name, {}).get(device, ())
        if not sizes or why_alone(spec, request):
            return 1
        area = request.width * request.height
        larger = [size for size in sizes if size.width * size.height >= area]
        return min(larger, key=lambda size: size.width * size.height).most(request.steps) if larger else 1

    def _update(self) -> None:
        try:
            status = os.stat(self._path)
        except OSError:
            self._version, self._profiles = None, {}
            return
        version = (status.st_mtime_ns, status.st_size)
        if version == self._version:
            return
        self._version = version
        try:
            self._profiles = read(self._path)
        except BadSetting as exc:
            self._profiles = {}
            self._warn(exc.message)
