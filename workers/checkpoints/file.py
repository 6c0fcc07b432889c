"""The file of a checkpoint: safetensors, with everything else as JSON in its metadata, and a checksum of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from workers.checkpoints.contract import CheckpointRefused
from workers.checkpoints.packing import Packed

#: Version of the format: of the metadata, and of what a run stores in it.
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a step. It holds copies in RAM, so it can be written while the run goes on."""

    #: Finished steps of the whole run.
    step: int
    #: What the run must be equal in to go on from here (:mod:`workers.checkpoints.fingerprint`).
    fingerprint: Mapping[str, str]
    _packed: Packed

    @classmethod
    def of(cls, step: int, fingerprint: Mapping[str, str], packed: Packed) -> Checkpoint:
        """Copy the state of a run into RAM."""
        return cls(step, fingerprint, packed.copied())

    @property
    def bytes(self) -> int:
        """Size of its tensors."""
        return self._packed.bytes

    def state(self) -> Any:
        """Return the state of the run, on the devices where it was."""
        return self._packed.value()

    def write(self, path: Path) -> None:
        """Write a complete file. May be called in a thread. Raises: OSError."""
        header = {"format": FORMAT, "step": self.step, "fingerprint": dict(self.fingerprint)}
        text = json.dumps({**header, "structure": self._packed.structure}, separators=(",", ":"))
        tensors = {str(index): tensor for index, tensor in enumerate(self._packed.tensors)}
        save_file(tensors, path, {"checkpoint": text, "sha256": _digest(text, self._packed.tensors)})

    @classmethod
    def read(cls, path: Path, fingerprint: Mapping[str, str]) -> Checkpoint:
        """Read a file of :meth:`write`.

        Raises:
            CheckpointRefused: the file is damaged, of another format, or of a run with another fingerprint.
        """
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata()
                text, digest = metadata["checkpoint"], metadata["sha256"]
                tensors = [file.get_tensor(str(index)).clone() for index in range(len(file.keys()))]
            found = json.loads(text)
            version, step, of_run = found["format"], found["step"], dict(found["fingerprint"])
        except Exception as exc:  # a foreign file fails in many ways
            raise CheckpointRefused(f"the file cannot be read ({type(exc).__name__})") from exc
        if version != FORMAT:
            raise CheckpointRefused(f"the file has format {version}, not {FORMAT}")
        if digest != _digest(text, tensors):
            raise CheckpointRefused("the file is damaged (its checksum is another one)")
        if different := [name for name in {**fingerprint, **of_run} if fingerprint.get(name) != of_run.get(name)]:
            raise CheckpointRefused(f"it was made with another {', '.join(different)}")
        return cls(step, of_run, Packed(found["structure"], tensors))


def _digest(text: str, tensors: list[torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for tensor in tensors:
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
