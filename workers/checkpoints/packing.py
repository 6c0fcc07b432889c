"""Turn the values of a run into JSON and tensors, and back.

JSON values stand for themselves; every other value becomes a table with one of the keys ``tensor``, ``array``,
``size``, ``list``, ``tuple``, ``dict`` and ``output`` (an output class of diffusers or transformers).
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from workers.checkpoints.contract import CheckpointRefused

#: Packages whose output classes are stored by name.
_LIBRARIES = ("diffusers", "transformers")
#: Number formats that a file can hold.
_DTYPES = frozenset(
    {
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    }
)  # fmt: skip

Node = Any
#: Returns the node of a tensor, or the tensor of a node.
PackTensor = Callable[[torch.Tensor], Node]
UnpackTensor = Callable[[Node], torch.Tensor]


def pack(value: Any, tensor: PackTensor) -> Node:
    """Return the JSON of a value. Raises: CheckpointRefused: it contains something that cannot be stored."""
    if isinstance(value, torch.Tensor):
        return tensor(value)
    if isinstance(value, np.ndarray | np.generic):
        return {"array": tensor(_tensor_of(value)), "scalar": isinstance(value, np.generic)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Size):
        return {"size": list(value)}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return {type(value).__name__: [pack(item, tensor) for item in value]}
    if (name := _output_name(type(value))) is not None:
        items = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
        return {"output": name, "items": [[key, pack(item, tensor)] for key, item in items]}
    if type(value) is dict and all(isinstance(key, str | int) for key in value):
        return {"dict": [[key, pack(item, tensor)] for key, item in value.items()]}
    raise CheckpointRefused(f"a {type(value).__name__} cannot be stored")


def unpack(node: Node, tensor: UnpackTensor) -> Any:
    """Return the value of a node. Raises: CheckpointRefused: this version of the libraries has no such output class."""
    if not isinstance(node, dict):
        return node
    if "size" in node:
        return torch.Size(node["size"])
    if "list" in node:
        return [unpack(item, tensor) for item in node["list"]]
    if "tuple" in node:
        return tuple(unpack(item, tensor) for item in node["tuple"])
    if "dict" in node:
        return {key: unpack(item, tensor) for key, item in node["dict"]}
    if "output" in node:
        return _output_class(node["output"])(**{key: unpack(item, tensor) for key, item in node["items"]})
    if "array" in node:
        array = tensor(node["array"]).cpu().numpy()
        return array[()] if node["scalar"] else array
    return tensor(node)


def mapped(value: Any, tensor: Callable[[torch.Tensor], Any]) -> Any:
    """Return a copy of the lists, tuples, dicts and outputs of a value, with its tensors replaced."""
    if isinstance(value, torch.Tensor):
        return tensor(value)
    if type(value) in (list, tuple):
        return type(value)(mapped(item, tensor) for item in value)
    if _output_name(type(value)) is not None:
        fields = dataclasses.fields(value)
        return type(value)(**{field.name: mapped(getattr(value, field.name), tensor) for field in fields})
    if type(value) is dict:
        return {key: mapped(item, tensor) for key, item in value.items()}
    return value


class _Tensors:
    """Collects the tensors of a value, each one once."""

    def __init__(self) -> None:
        self.list: list[torch.Tensor] = []
        self._index_of: dict[int, int] = {}

    def __call__(self, tensor: torch.Tensor) -> Node:
        if tensor.dtype not in _DTYPES or tensor.layout is not torch.strided:
            raise CheckpointRefused(f"a tensor of {tensor.dtype} and layout {tensor.layout} cannot be stored")
        if id(tensor) not in self._index_of:
            self._index_of[id(tensor)] = len(self.list)
            self.list.append(tensor)
        node = {"tensor": self._index_of[id(tensor)], "device": tensor.device.type}
        # The order in memory may decide how later results are rounded.
        return node if tensor.is_contiguous() else {**node, "strides": list(torch.empty_like(tensor).stride())}


@dataclasses.dataclass(frozen=True)
class Packed:
    """A value as JSON and tensors."""

    structure: Node
    tensors: list[torch.Tensor]

    @classmethod
    def of(cls, value: Any) -> Packed:
        """Pack a value. The tensors are those of the value, and may still change.

        Raises:
            CheckpointRefused: it contains something that cannot be stored.
        """
        tensors = _Tensors()
        return cls(pack(value, tensors), tensors.list)

    @property
    def bytes(self) -> int:
        """Size of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def copied(self) -> Packed:
        """Return it with contiguous copies of the tensors in RAM."""
        contiguous = torch.contiguous_format
        tensors = [tensor.detach().to("cpu", copy=True, memory_format=contiguous) for tensor in self.tensors]
        return Packed(self.structure, tensors)

    def value(self) -> Any:
        """Return the value, with new tensors on the devices where they were."""
        return unpack(self.structure, _Restored(self.tensors))


class _Restored:
    """Gives tensors back on the devices where they were; equal nodes are the same tensor."""

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        self._tensors, self._restored = tensors, dict[int, torch.Tensor]()

    def __call__(self, node: Node) -> torch.Tensor:
        index = node["tensor"]
        if index not in self._restored:
            stored = self._tensors[index]
            strides = node.get("strides") or stored.stride()
            tensor = torch.empty_strided(stored.shape, strides, dtype=stored.dtype, device=node["device"])
            self._restored[index] = tensor.copy_(stored)
        return self._restored[index]


def _tensor_of(array: Any) -> torch.Tensor:
    try:
        return torch.from_numpy(np.array(array, order="C"))
    except TypeError as exc:
        raise CheckpointRefused(f"an array of {array.dtype} cannot be stored") from exc


def _output_name(cls: type) -> str | None:
    """Return the full name of an output class of the libraries; None for any other class."""
    is_output = dataclasses.is_dataclass(cls) and cls.__module__.partition(".")[0] in _LIBRARIES
    return f"{cls.__module__}:{cls.__qualname__}" if is_output else None


def _output_class(name: str) -> Any:
    module, _, class_name = name.partition(":")
    try:
        if module.partition(".")[0] not in _LIBRARIES:
            raise AttributeError(module)
        cls = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError) as exc:
        raise CheckpointRefused(f"the class {name} is unknown") from exc
    if _output_name(cls) != name:
        raise CheckpointRefused(f"the class {name} is no output class")
    return cls
