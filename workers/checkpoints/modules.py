"""The modules that run in every step: what they return, and how to skip them.

What a module returned is described by its structure, shapes and number formats, for each structure of its arguments.
A skipped forward returns zeros of the same description. A call with arguments that were never seen is computed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

from workers.checkpoints.contract import CheckpointRefused
from workers.checkpoints.packing import Node, pack, unpack
from workers.pipelines.load_options import DENOISERS

#: Description of what each module returned: module → structure of its arguments → description.
Described = dict[str, dict[str, Node]]


class StepModules:
    """Observes the modules of a pipeline during a call.

    Args:
        pipeline: the pipeline.
        described: what is known of them from an earlier attempt.
    """

    def __init__(self, pipeline: Any, described: Mapping[str, Mapping[str, Node]]) -> None:
        self._modules = {
            name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)
        }  # fmt: skip
        self.described: Described = {name: dict(nodes) for name, nodes in described.items()}
        #: What ran since the last step. None instead of a description: it cannot be described.
        self._ran: dict[tuple[str, str], Node] = {}
        #: Why a module cannot be skipped in another attempt; '' if nothing is known against it.
        self.obstacle = ""
        self.is_skipping = False
        self._restored = ExitStack()

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Observe, and skip while ``is_skipping``, inside the block."""
        with ExitStack() as stack:
            for name, module in self._modules.items():
                given: list[str] = []
                before = module.register_forward_pre_hook(self._noter(given), with_kwargs=True)
                after = module.register_forward_hook(self._observer(name, given), with_kwargs=True)
                stack.callback(before.remove)
                stack.callback(after.remove)
            stack.callback(self.stop_skipping)
            yield

    def step_ended(self, *, is_first: bool) -> None:
        """Sort what ran before this step. Before the first step of a loop, encoders run as well as denoisers."""
        for (name, arguments), node in self._ran.items():
            if is_first and name not in DENOISERS and not name.startswith("controlnet"):
                continue
            if arguments.startswith(_CARRIED):
                carried = arguments.removeprefix(_CARRIED)
                self.obstacle = f"the {name} is given a {carried}, which lasts from step to step"
            elif node is not None:
                self.described.setdefault(name, {})[arguments] = node
        self._ran.clear()

    def skip(self) -> None:
        """Skip forwards from now on."""
        self.is_skipping = True
        for name, module in self._modules.items():
            self._restored.callback(_restore, module, dict(module.__dict__))
            # Compiled modules do not call their attribute ``forward``.
            module.__dict__["_compiled_call_impl"] = None
            module.__dict__["forward"] = self._skipper(name, module.forward)

    def stop_skipping(self) -> None:
        """Compute all forwards from now on."""
        self.is_skipping = False
        self._restored.close()

    def _noter(self, given: list[str]) -> Callable[..., None]:
        """Return a hook that notes the structure of the arguments: some forwards take items out of their lists."""

        def note(_module: Any, args: Any, kwargs: Any) -> None:
            if not self.is_skipping:
                given[:] = [_structure_of(args, kwargs)]

        return note

    def _observer(self, name: str, given: list[str]) -> Callable[..., None]:
        def observe(_module: Any, _args: Any, _kwargs: Any, output: Any) -> None:
            if self.is_skipping:
                return
            [arguments] = given
            if arguments not in self.described.get(name, ()) and (name, arguments) not in self._ran:
                self._ran[name, arguments] = _described(output)

        return observe

    def _skipper(self, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)  # modular pipelines inspect its parameters
        def skipped(*args: Any, **kwargs: Any) -> Any:
            arguments = _structure_of(args, kwargs)
            # A denoiser that takes over in later steps returns what the one before it returned.
            nodes = [self.described.get(name, {}), *(self.described.values() if name in DENOISERS else ())]
            node = next((known[arguments] for known in nodes if arguments in known), None)
            return forward(*args, **kwargs) if node is None else unpack(node, _zeros)

        return skipped


def _restore(module: torch.nn.Module, attributes: dict[str, Any]) -> None:
    for name in ("_compiled_call_impl", "forward"):
        if name in attributes:
            module.__dict__[name] = attributes[name]
        else:
            module.__dict__.pop(name, None)


#: Begins the structure of arguments that contain an object that may carry results from step to step.
_CARRIED = "carried:"


def _structure_of(args: Any, kwargs: Any) -> str:
    try:
        return repr((_of_value(args), _of_value(kwargs)))
    except _Carried as exc:
        return f"{_CARRIED}{exc}"


class _Carried(Exception):
    """An argument is an object that may carry results from step to step. The message is its class."""


def _of_value(value: Any) -> Any:
    """Return the structure of an argument. Numbers differ from step to step and do not belong to it."""
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape), value.dtype)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float | np.generic | torch.Generator | torch.dtype | torch.device):
        return type(value).__name__
    if isinstance(value, np.ndarray):
        return ("array", value.shape)
    if isinstance(value, list | tuple):
        return tuple(_of_value(item) for item in value)
    if isinstance(value, Mapping):
        return tuple((key, _of_value(item)) for key, item in value.items())
    raise _Carried(type(value).__name__)


def _described(output: Any) -> Node:
    """Return the description of an output; None if it contains more than tensors and plain values."""
    try:
        return pack(output, _description)
    except CheckpointRefused:
        return None


def _description(tensor: torch.Tensor) -> Node:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return {"shape": list(tensor.shape), "dtype": dtype, "device": tensor.device.type}


def _zeros(node: Node) -> torch.Tensor:
    return torch.zeros(node["shape"], dtype=getattr(torch, node["dtype"]), device=node["device"])
