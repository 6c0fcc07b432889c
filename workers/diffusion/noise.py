"""The noise of each image: from its seed, or mixed with that of another seed.

Pipelines, schedulers and decoders all draw with ``torch.randn`` from the generator they are given. The mixing happens
there, for every noise of a run: so it works for every family, and a share of 1 gives exactly the picture of the other
seed. Noise that is drawn in another way is detected by the generator's state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from jobs.errors import ExecutionError
from jobs.requests.generation import GenerationRequest

#: Noises with a smaller sine of the angle interpolated them are mixed linearly.
_LEAST_SINE = 1e-3


class MixedGenerator(torch.Generator):
    """A generator of two seeds. Inside :func:`mixed`, ``torch.randn`` returns a mixture of their noises."""

    _other: torch.Generator
    _share: float
    #: The generator's state after the last mixture.
    _state: torch.Tensor
    _drawn = False

    @classmethod
    def of(cls, seed: int, other_seed: int, share: float) -> MixedGenerator:
        """Return a generator on the CPU; ``share``: of the other seed, 0 to 1."""
        generator = cls("cpu")
        generator.manual_seed(seed)
        generator._other, generator._share = torch.Generator("cpu").manual_seed(other_seed), share
        generator._state = generator.get_state()
        return generator

    def draw(self, randn: Callable[[torch.Generator], torch.Tensor]) -> torch.Tensor:
        """Draw from both seeds and mix. Raises: ExecutionError: see :meth:`check`."""
        self._check_state()
        noise = interpolated(randn(self), randn(self._other), self._share)
        self._state, self._drawn = self.get_state(), True
        return noise

    def check(self) -> None:
        """Check at the end of a call that all noise was mixed.

        Raises:
            ExecutionError: some noise of this generator was not mixed, or none was drawn.
        """
        self._check_state()
        if not self._drawn:
            raise ExecutionError("variation: this model draws no noise of a seed")

    def _check_state(self) -> None:
        if not torch.equal(self._state, self.get_state()):
            raise ExecutionError("variation: this model draws noise in a way that cannot be mixed")


def generators(request: GenerationRequest, images: Sequence[int]) -> list[torch.Generator]:
    """Return a generator for each image. They are on the CPU, where a seed gives the same noise for every device."""
    result: list[torch.Generator] = []
    for index in images:
        seeds = request.seeds(index)
        if request.variation:
            share = request.variation["strength"]
            result.append(MixedGenerator.of(seeds["seed"], seeds["variation_seed"], share))
        else:
            result.append(torch.Generator("cpu").manual_seed(seeds["seed"]))
    return result


@contextmanager
def mixed(used: Sequence[torch.Generator]) -> Iterator[None]:
    """Mix the noise of a pipeline's call with these generators inside the block; plain generators are unaffected.

    Raises:
        ExecutionError: the pipeline draws noise in a way that cannot be mixed.
    """
    mixtures = [generator for generator in used if isinstance(generator, MixedGenerator)]
    if not mixtures:
        yield
        return
    plain = torch.randn

    def randn(*args: Any, generator: torch.Generator | None = None, **kwargs: Any) -> torch.Tensor:
        if isinstance(generator, MixedGenerator):
            return generator.draw(lambda source: plain(*args, generator=source, **kwargs))
        return plain(*args, generator=generator, **kwargs)

    torch.randn = randn
    try:
        yield
    finally:
        torch.randn = plain
    for mixture in mixtures:
        mixture.check()


def interpolated(first: torch.Tensor, second: torch.Tensor, share: float) -> torch.Tensor:
    """Interpolate on the arc from the first noise (0) to the second (1), which preserves their strength."""
    start, end = first.float(), second.float()
    cosine = (start * end).sum() / (start.norm() * end.norm())
    angle = torch.acos(cosine.clamp(-1, 1))
    if torch.sin(angle) < _LEAST_SINE:
        return torch.lerp(start, end, share).to(first.dtype)
    shares = torch.sin(torch.stack([(1 - share) * angle, share * angle])) / torch.sin(angle)
    return (shares[0] * start + shares[1] * end).to(first.dtype)
