"""Compare runs that go on from a checkpoint with one that was never interrupted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jobs.models.spec import Kind
from tests.support.computing import Worker
from tests.support.folder_keeper import FolderKeeper


class Forwards:
    """Counts the modules below the denoisers that were really computed."""

    count = 0

    def __call__(self, *_: Any) -> None:
        self.count += 1


@contextmanager
def counted(worker: Worker, model: str) -> Iterator[Forwards]:
    """Count inside the block."""
    from workers.pipelines.load_options import denoisers

    spec, forwards = worker.models.get(model), Forwards()
    pipelines = [worker.pipelines.get(spec, kind) for kind in spec.kinds]
    modules = {id(module): module for pipeline in pipelines for module in denoisers(pipeline).values()}
    with ExitStack() as stack:
        for denoiser in modules.values():
            for name, part in denoiser.named_modules():
                if name:
                    stack.callback(part.register_forward_hook(forwards).remove)
        yield forwards


def check_resumed(worker: Worker, folder: Path, model: str, at: tuple[int, ...] = (), **fields: Any) -> None:
    """Check that a run ends bit-equal if it goes on after the first, a middle or the last step, or after steps ``at``.

    Each of its steps takes as many computed modules as in the calm run, and no module is computed before them.
    """
    kind = fields.get("kind", Kind.TEXT2IMG)
    with counted(worker, model) as forwards:
        calm = worker.compute(model, **fields)
        assert forwards.count > 0
        sound = b"" if worker.sound is None else worker.sound.samples.tobytes()
        steps, computed = worker.reporter.steps_done[-1], forwards.count
        keeper = FolderKeeper(folder / "all", steps=at or {1, steps // 2, steps})
        assert np.array_equal(worker.compute(model, keeper=keeper, **fields), calm), kind
        assert not keeper.obstacles, keeper.obstacles
        assert keeper.asked == list(range(1, steps + 1))
        for step in sorted(keeper.steps):
            alone = FolderKeeper(folder / f"after{step}")
            shutil.copy(keeper.path(step), alone.path(step))
            forwards.count = 0
            resumed = worker.compute(model, keeper=alone, **fields)
            assert (alone.resumed_at, alone.refusals, alone.obstacles) == ([step], [], [])
            assert np.array_equal(resumed, calm), (kind, step)
            assert sound == (b"" if worker.sound is None else worker.sound.samples.tobytes())
            assert worker.reporter.steps_done == [0, *range(step + 1, steps + 1)]
            assert forwards.count * steps == computed * (steps - step)
