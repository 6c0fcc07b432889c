"""Options of the signed statement that a model made an output."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.errors import BadSetting
from jobs.settings.option import Group, matching, one_of, option

#: Signature algorithms of C2PA, by their names in COSE.
ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")


@dataclass(frozen=True, kw_only=True)
class C2paOptions(Group):
    """C2PA manifests (Content Credentials)."""

    #: File with the certificate that signs outputs, and those up to its root, as PEM. Empty: outputs are not signed.
    certificate: str = option("C2PA_CERTIFICATE", "")
    #: File with the key of that certificate, as PEM (PKCS #8).
    private_key: str = option("C2PA_PRIVATE_KEY", "")
    #: How the key signs.
    algorithm: str = option("C2PA_ALGORITHM", "es256", one_of(*ALGORITHMS))
    #: Time-stamp server (RFC 3161) that confirms when an output was signed. Empty: none.
    timestamp_url: str = option("C2PA_TIMESTAMP_URL", "", matching(r"(https?://\S+)?", "start with http:// or https://"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.certificate) != bool(self.private_key):
            raise BadSetting("C2PA_CERTIFICATE and C2PA_PRIVATE_KEY must be set together")
