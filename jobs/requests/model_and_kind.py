"""The model and the kind of job that a request means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from jobs.errors import InvalidRequest, ModelNotFound, Problem
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind, ModelSpec
from jobs.requests.inputs import INPUTS
from jobs.suggestions import did_you_mean, listed


def model_and_kind(
    registry: ModelRegistry, fields: Mapping[str, Any]
) -> tuple[ModelSpec, Kind, Mapping[str, Any], list[str]]:
    """Return model and kind. A missing kind follows from model and inputs, a missing model from the kind.

    Args:
        registry: the models.
        fields: the fields that the caller sent.

    Returns:
        Model, kind, the fields as this kind takes them, and a warning if one of them has no effect.

    Raises:
        InvalidRequest: names the field ``model`` or ``kind``.
    """
    try:
        kind = Kind(fields["kind"]) if "kind" in fields else None
    except ValueError:
        raise InvalidRequest(Problem("kind", f"must be one of {', '.join(Kind)}", fields["kind"])) from None
    inputs = fields.keys() & INPUTS.keys()
    if "model" in fields:
        try:
            spec: ModelSpec | None = registry.get(fields["model"])
        except ModelNotFound:
            rule = f"must be one of {listed(registry.names(), fields['model']) or 'none'}"
            rule += did_you_mean(fields["model"], registry.names())
            raise InvalidRequest(Problem("model", rule, fields["model"])) from None
    else:
        spec = registry.default_for(kind or _closest(tuple(Kind), inputs), inputs)
    if spec is None:
        rule = f"is required: no model has {kind or 'these inputs'}; known: {listed(registry.names())}"
        raise InvalidRequest(Problem("model", rule))
    requested = kind or _closest(spec.kinds, inputs)
    done = spec.kind_for(requested)
    if done is None:
        raise InvalidRequest(
            Problem("kind", f"must be one of {', '.join(spec.kinds)} for model {spec.name}", str(requested))
        )
    return spec, done, *_as_edit(fields, requested, done)


def _closest(kinds: tuple[Kind, ...], inputs: Collection[str]) -> Kind:
    """Return the first of the kinds whose inputs differ least from these; one that lacks an input, before one without
    a use for it."""

    def difference(kind: Kind) -> tuple[int, int]:
        given = _inputs_for(kind, inputs)
        unused = given - kind.inputs - kind.optional_inputs
        return len(unused | (kind.inputs - given)), len(unused)

    return min(kinds, key=difference)


def _inputs_for(kind: Kind, inputs: Collection[str]) -> set[str]:
    """Return the inputs as a kind takes them: for edit, ``image`` is the only one of ``images``."""
    given = set(inputs)
    return (given - {"image"}) | {"images"} if kind is Kind.EDIT and "image" in given else given


def _as_edit(fields: Mapping[str, Any], requested: Kind, kind: Kind) -> tuple[Mapping[str, Any], list[str]]:
    """Return the fields of a request for edit with ``images``, and a warning about what img2img has beside it."""
    if kind is not Kind.EDIT:
        return fields, []
    fields, warnings = dict(fields), list[str]()
    if "image" in fields and "images" not in fields:
        fields["images"] = [fields.pop("image")]
    if requested is Kind.IMG2IMG:
        if fields.pop("strength", None) is not None:
            warnings.append("strength has no effect: the model edits images as the prompt says")
        if "resize" in fields:  # it says that the image does not decide about the size
            fields["resize"] = "stretch"
    return fields, warnings
