"""The key that signs outputs (C2PA), and the check that it can. Needs the extra ``c2pa``."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from typing import Any

from jobs.errors import BadSetting
from jobs.settings.option import PROJECT_ROOT
from jobs.settings.provenance import C2paOptions

#: What the library says, in part, and what that means.
_MEANINGS = {
    "does not match the provided data or public key": "C2PA_PRIVATE_KEY is not the key of C2PA_CERTIFICATE",
    "not valid at time of signing": "C2PA_CERTIFICATE has expired, or is not valid yet",
    "the certificate is invalid": (
        "C2PA_CERTIFICATE must be made for signing: key usage digitalSignature, and an extended key usage such as "
        "emailProtection"
    ),
    "does not contain signing certificate": (
        "C2PA_CERTIFICATE must be a PEM file with the certificate, and those up to its root below it"
    ),
    "invalid signing credentials": (
        "C2PA_PRIVATE_KEY must be a PEM file with a key in PKCS #8 (BEGIN PRIVATE KEY), without a password, that fits "
        "C2PA_ALGORITHM={algorithm}"
    ),
}
#: A picture of one pixel.
_PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
_MANIFEST = {
    "claim_generator_info": [{"name": "Framemill", "version": "0"}],
    "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [{
        "action": "c2pa.created",
        "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
    }]}}],
}  # fmt: skip
_PATIENCE_S = 60


@cache
def signer_of(options: C2paOptions) -> Any:
    """Return the ``c2pa.Signer`` of these options. Raises: OSError, c2pa.C2paError."""
    import c2pa

    certificate = (PROJECT_ROOT / options.certificate).read_bytes()
    key = (PROJECT_ROOT / options.private_key).read_bytes()
    url = options.timestamp_url.encode() or None
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(options.algorithm.encode(), certificate, key, url))


def check_signing(options: C2paOptions) -> None:
    """Sign a picture, if a certificate is set; the time-stamp server is not asked.

    A process of its own does it: the library starts a thread, which must not live in a process that forks.

    Raises:
        BadSetting: outputs cannot be signed; says why.
    """
    files = {"C2PA_CERTIFICATE": options.certificate, "C2PA_PRIVATE_KEY": options.private_key}
    for name, file in files.items():
        if file and not (PROJECT_ROOT / file).is_file():
            raise BadSetting(f"{name} must be a file (got {file})")
    if not options.certificate:
        return
    if find_spec("c2pa") is None:
        raise BadSetting("C2PA_CERTIFICATE is set, but c2pa-python is not installed: run pip install c2pa-python")
    command = [sys.executable, "-m", __name__, options.certificate, options.private_key, options.algorithm]
    try:
        done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise BadSetting(f"C2PA_CERTIFICATE: signing a picture took more than {_PATIENCE_S} s") from None
    if done.returncode:
        raise BadSetting(_meaning(done.stderr.strip().rpartition("\n")[2], options))


def _meaning(error: str, options: C2paOptions) -> str:
    for part, meaning in _MEANINGS.items():
        if part in error:
            return f"{meaning.format(algorithm=options.algorithm)} ({error})"
    return f"outputs cannot be signed with C2PA_CERTIFICATE and C2PA_PRIVATE_KEY: {error}"


def _sign_a_picture(options: C2paOptions) -> None:
    """Sign a picture in memory; the library verifies what it has signed. Raises: OSError, c2pa.C2paError."""
    import c2pa

    with c2pa.Builder(json.dumps(_MANIFEST)) as builder:
        builder.sign(signer_of(options), "image/png", io.BytesIO(_PNG), io.BytesIO())


if __name__ == "__main__":
    try:
        _sign_a_picture(C2paOptions(certificate=sys.argv[1], private_key=sys.argv[2], algorithm=sys.argv[3]))
    except Exception as exc:  # whatever keeps outputs from being signed
        raise SystemExit(" ".join(str(exc).split()) or type(exc).__name__) from None
