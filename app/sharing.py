"""Paths that two protocols have in common: one view looks at the request first and may leave it to the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from flask import Flask

#: A view that is given the one it shares the path with, and the arguments of the path.
SharingView = Callable[..., Any]


def share(app: Flask, endpoint: str, view: SharingView) -> None:
    """Let ``view(other, **arguments)`` answer ``endpoint``; ``other`` is the view that answered it until now.

    Who may call, and what the description says of the route, stay as they are.
    """
    other = app.view_functions[endpoint]
    app.view_functions[endpoint] = wraps(other)(partial(view, other))
