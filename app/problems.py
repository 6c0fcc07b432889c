"""Collects what is wrong with a request, so that one response names all of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

from jobs.errors import InvalidRequest, MalformedBody, ModerationRefused, Problem


class Problems:
    """The problems of a request that were found so far.

    Args:
        found: those of the types of its fields.
    """

    def __init__(self, found: Iterable[Problem] = ()) -> None:
        self._found = list(found)

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def names(self) -> set[str]:
        """The refused fields and parts: ``loras[0].weight``."""
        return {problem.field for problem in self._found}

    @property
    def fields(self) -> set[str]:
        """The refused fields, without the parts of lists and objects: ``loras`` for ``loras[0].weight``."""
        return {root_of(problem.field) for problem in self._found}

    def add(self, problems: Iterable[Problem]) -> None:
        """Add problems, except those that are known and further ones of fields that were refused before."""
        before = {known.field for known in self._found}
        self._found += [problem for problem in problems if problem.field not in before]

    @contextmanager
    def collected(self, renamed: Callable[[InvalidRequest], InvalidRequest] = lambda exc: exc) -> Iterator[None]:
        """Collect the problems of the error that the block raises, and go on after it.

        Args:
            renamed: returns the error with the names that the client uses.
        """
        try:
            yield
        except (MalformedBody, ModerationRefused):
            if not self._found:
                raise
        except InvalidRequest as exc:
            self.add(renamed(exc).problems)

    def besides(self, refused: Collection[str]) -> list[Problem]:
        """Return the problems of other fields and parts than those that were refused before, and were left out."""
        return [problem for problem in self._found if not {problem.field, root_of(problem.field)} & {*refused}]

    def check(self) -> None:
        """Raise InvalidRequest if there is a problem."""
        if self._found:
            raise InvalidRequest(*self._found)


def root_of(field: str) -> str:
    """Return the field of a request that a part belongs to."""
    return re.split(r"[.\[]", field, maxsplit=1)[0]
