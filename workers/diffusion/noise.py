"""The noise of each image: that of its seed, or a mixture with that of another seed.

Pipelines, schedulers and decoders all draw with ``torch.randn`` from the generator they are given. A mixture is made
there, of every noise of a run, so that it works for each family, and that a share of 1 is exactly the other seed's
picture. Noise that is drawn in another way is noticed by the generator's state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from jobs.errors import ExecutionError
from jobs.requests.generation import GenerationRequest

#: Noises that are closer than this, by the sine of the angle between them, are mixed along the straight line.
_LEAST_SINE = 1e-3


class MixedGenerator(torch.Generator):
    """A generator of two seeds. ``torch.randn`` inside :func:`mixed` gives what lies between their noises."""

    _other: torch.Generator
    _share: float
    #: As it was left by the last mixture.
    _state: torch.Tensor
    _drawn = False

    @classmethod
    def of(cls, seed: int, other_seed: int, share: float) -> MixedGenerator:
        """On the CPU; ``share`` of the other seed, 0 to 1."""
        made = cls("cpu")
        made.manual_seed(seed)
        made._other, made._share = torch.Generator("cpu").manual_seed(other_seed), share
        made._state = made.get_state()
        return made

    def draw(self, randn: Callable[[torch.Generator], torch.Tensor]) -> torch.Tensor:
        """``randn`` of both, mixed. Raises: ExecutionError: see :meth:`check`."""
        self._check_state()
        noise = between(randn(self), randn(self._other), self._share)
        self._state, self._drawn = self.get_state(), True
        return noise

    def check(self) -> None:
        """At the end of a call.

        Raises:
            ExecutionError: not all noise of this generator was mixed, or there was none.
        """
        self._check_state()
        if not self._drawn:
            raise ExecutionError("variation: this model draws no noise of a seed")

    def _check_state(self) -> None:
        if not torch.equal(self._state, self.get_state()):
            raise ExecutionError("variation: this model draws noise in a way that cannot be mixed")


def generators(request: GenerationRequest, images: Sequence[int]) -> list[torch.Generator]:
    """One for each of the images with these indexes. On the CPU a seed gives the same noise for every device."""
    found: list[torch.Generator] = []
    for index in images:
        seeds = request.seeds(index)
        if request.variation:
            share = request.variation["strength"]
            found.append(MixedGenerator.of(seeds["seed"], seeds["variation_seed"], share))
        else:
            found.append(torch.Generator("cpu").manual_seed(seeds["seed"]))
    return found


@contextmanager
def mixed(used: Sequence[torch.Generator]) -> Iterator[None]:
    """Around a pipeline's call with these generators; ordinary ones pass unchanged.

    Raises:
        ExecutionError: the pipeline draws noise in a way that cannot be mixed.
    """
    mixtures = [one for one in used if isinstance(one, MixedGenerator)]
    if not mixtures:
        yield
        return
    plain = torch.randn

    def randn(*args: Any, generator: torch.Generator | None = None, **kwargs: Any) -> torch.Tensor:
        if isinstance(generator, MixedGenerator):
            return generator.draw(lambda one: plain(*args, generator=one, **kwargs))
        return plain(*args, generator=generator, **kwargs)

    torch.randn = randn
    try:
        yield
    finally:
        torch.randn = plain
    for one in mixtures:
        one.check()


def between(first: torch.Tensor, second: torch.Tensor, share: float) -> torch.Tensor:
    """On the arc from the first noise (0) to the second (1): as strong as both, which a straight line is not."""
    one, other = first.float(), second.float()
    cosine = (one * other).sum() / (one.norm() * other.norm())
    angle = torch.acos(cosine.clamp(-1, 1))
    if torch.sin(angle) < _LEAST_SINE:
        return torch.lerp(one, other, share).to(first.dtype)
    shares = torch.sin(torch.stack([(1 - share) * angle, share * angle])) / torch.sin(angle)
    return (shares[0] * one + shares[1] * other).to(first.dtype)
