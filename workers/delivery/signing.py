"""Sign outputs: a C2PA manifest says that a model made them, and changes of the file show.

Source: C2PA Technical Specification 2.2, actions (``c2pa.actions.v2``). Needs the extra ``c2pa``.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jobs.files.signing import signer_of
from jobs.requests.generation import GenerationRequest
from jobs.settings.provenance import C2paOptions
from workers.delivery.provenance import source_type

#: Formats that are signed; C2PA has no place in WebM.
MEDIA_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "video/mp4"})
_NAME = "Framemill"


def sign(path: Path, media_type: str, request: GenerationRequest, options: C2paOptions) -> None:
    """Sign a file in place, if a certificate is set and the format has a place for it.

    Raises:
        c2pa.C2paError: certificate and key do not fit, or the time-stamp server does not answer.
        OSError: a file cannot be read.
    """
    if not options.certificate or media_type not in MEDIA_TYPES:
        return
    import c2pa

    signed, signer = path.with_name(f"signed-{path.name}"), signer_of(options)
    with c2pa.Builder(json.dumps(manifest(request))) as builder, path.open("rb") as source, signed.open("wb+") as file:
        builder.sign(signer, media_type, source, file)
    signed.replace(path)


def manifest(request: GenerationRequest) -> dict[str, Any]:
    """Return what is signed: that the file was created, how, and by which software. Not the request."""
    action = {"action": "c2pa.created", "digitalSourceType": source_type(request), "softwareAgent": {"name": _NAME}}
    return {
        "claim_generator_info": [{"name": _NAME, "version": version("framemill")}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
