"""Record a run of several pipeline calls, and go on from a checkpoint of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from workers.checkpoints.call import RecordedCall
from workers.checkpoints.contract import CheckpointRefused, Keeper
from workers.checkpoints.file import Checkpoint
from workers.checkpoints.packing import Packed

logger = logging.getLogger(__name__)


class RunRecorder:
    """The checkpoints of one run: the results of the calls that are over, and the state of the present one.

    Args:
        keeper: stores them; None: the run makes none, and nothing is recorded.
        fingerprint: of the run.
        checkpoint: to go on from; None: from the start.

    Raises:
        CheckpointRefused: the checkpoint does not contain the state of a run.
    """

    def __init__(
        self, keeper: Keeper | None, fingerprint: Mapping[str, str] | None = None, checkpoint: Checkpoint | None = None
    ) -> None:  # fmt: skip
        self._keeper, self._fingerprint = keeper, fingerprint or {}
        #: Results that an earlier attempt computed and this one has not asked for; and all results.
        self._known, self._results = list[Any](), list[Any]()
        #: State of the call that an earlier attempt did not finish, until that call begins.
        self._state: Any = None
        #: Steps of all calls, as far as an earlier attempt knew them.
        self.plan: list[int] = []
        if checkpoint is not None:
            self._known, self._state, self.plan = _parts_of(checkpoint)
        self._call: RecordedCall | None = None
        self._snapshot: Checkpoint | None = None

    @property
    def is_replaying(self) -> bool:
        """Whether the state of the checkpoint has not been reached."""
        return self._state is not None or (self._call is not None and not self._call.has_replayed)

    @property
    def is_silent(self) -> bool:
        """Whether the present step is not one of this attempt: replayed, or of a draft."""
        return self._call is not None and self._call.is_silent

    @property
    def has_replayed(self) -> bool:
        """Whether the present step is the last one that was replayed."""
        return self._call is not None and self._call.has_replayed and not self.has_draft

    @property
    def drafted_step(self) -> int:
        """The step after which the draft was made."""
        return self._snapshot.step if self._snapshot else 0

    @property
    def has_draft(self) -> bool:
        """Whether the present call makes a draft instead of its result."""
        return self._snapshot is not None

    def result(self, make: Callable[[], Any]) -> Any:
        """Return the result of a call: the one that is known, or a new one."""
        result = self._known.pop(0) if self._known else make()
        if self._keeper is not None:
            self._results.append(result)
        return result

    @contextmanager
    def call(
        self, pipeline: Any, generators: Sequence[torch.Generator], *, has_callback: bool
    ) -> Iterator[Callable[[Any], None] | None]:
        """Record the call of a pipeline inside the block. Yields the function to call with each of its schedulers.

        Args:
            pipeline: the pipeline.
            generators: those that the call is given.
            has_callback: whether :meth:`after_step` is called when all steps of one timestep are made, not inside one.

        Raises:
            CheckpointRefused: the checkpoint is of another run.
        """
        if self._keeper is None:
            yield None
            return
        self._call = RecordedCall(pipeline, generators, self._state, has_callback=has_callback)
        self._state = None
        with self._call.observed():
            yield self._call.watch

    def after_step(self, step: int, plan: Sequence[int]) -> None:
        """Take a checkpoint if one is due.

        Args:
            step: finished steps of the whole run.
            plan: steps of all calls, as far as they are known.

        Raises:
            RunInterrupted: the run is to end here, and its checkpoint is stored.
        """
        call, keeper = self._call, self._keeper
        if call is None or keeper is None or call.is_silent:
            return
        try:
            if not call.is_checked:
                self._pack(call, plan)
                call.is_checked = True
            if not keeper.is_due(step):
                return
            snapshot = Checkpoint.of(step, self._fingerprint, self._pack(call, plan))
        except CheckpointRefused as exc:
            self._give_up(str(exc))
            return
        if keeper.wants_draft:
            self._snapshot = snapshot
            call.draft()
        else:
            keeper.keep(snapshot)

    def keep_draft(self) -> None:
        """Store the snapshot of which a draft was made. The next call goes on from it.

        Raises:
            RunInterrupted: the run is to end here.
        """
        assert self._keeper is not None
        assert self._snapshot is not None
        snapshot, self._snapshot = self._snapshot, None
        self._keeper.keep(snapshot)
        self._state = snapshot.state()["call"]

    def _pack(self, call: RecordedCall, plan: Sequence[int]) -> Packed:
        """Return the state of the run. Raises: CheckpointRefused: it cannot be stored."""
        assert self._keeper is not None
        packed = Packed.of({"results": self._results, "call": call.state(), "plan": list(plan)})
        if self._keeper.max_bytes and packed.bytes > self._keeper.max_bytes:
            raise CheckpointRefused(f"a checkpoint has {packed.bytes} bytes, and may have {self._keeper.max_bytes}")
        return packed

    def _give_up(self, why: str) -> None:
        """Go on without checkpoints."""
        assert self._keeper is not None
        assert self._call is not None
        self._keeper.unable(why)
        self._keeper = None
        self._call.stop()
        self._results.clear()


def _parts_of(checkpoint: Checkpoint) -> tuple[list[Any], Any, list[int]]:
    """Return the results, the state of the call and the plan in a checkpoint."""
    try:
        state = checkpoint.state()
        return state["results"], state["call"], state["plan"]
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as exc:
        raise CheckpointRefused(f"the file contains no state of a run ({type(exc).__name__})") from exc
