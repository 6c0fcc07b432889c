"""Equal requests: the digest by which the job of an earlier one is found."""

from __future__ import annotations

import hashlib
import json
import re

from jobs.models.spec import ModelSpec
from jobs.requests.generation import GenerationRequest

#: The part of an input's key that differs when the same content is stored again.
_TOKEN = re.compile(r"(inputs/[0-9a-f]{64})\.\w+(?=\.)")


def digest_of(request: GenerationRequest, spec: ModelSpec) -> str:
    """Return a digest that is equal for requests whose outputs are the same.

    Args:
        request: the complete request, with the keys of its stored inputs.
        spec: its model: what changes in the models file makes other outputs.
    """
    text = json.dumps([request.to_dict(), repr(spec)], sort_keys=True)
    return hashlib.sha256(_TOKEN.sub(r"\1", text).encode()).hexdigest()
