"""Signed outputs, read back by the reader of the C2PA library; the certificates are made here."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jobs.errors import BadSetting
from jobs.files.signing import check_signing
from jobs.models.spec import Kind
from jobs.settings import Settings
from jobs.settings.provenance import C2paOptions
from stack.checks import findings
from tests.support.harness import Stack
from tests.worker.test_formats import clip, request
from workers.delivery import encode, provenance, signing

NO_USE = dict.fromkeys(
    ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
     "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False
)  # fmt: skip


def name(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, text), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x")]
    )


def builder(subject: str, public_key: Any) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name("root"))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> C2paOptions:
    """Return options with a certificate of a root of our own."""
    folder = tmp_path_factory.mktemp("certificates")
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = (
        builder("root", root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{**NO_USE, "key_cert_sign": True}), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        builder("signer", key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{**NO_USE, "digital_signature": True}), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "chain.pem").write_bytes(leaf.public_bytes(pem) + root.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return C2paOptions(certificate=str(folder / "chain.pem"), private_key=str(folder / "key.pem"))


def read(path: Path, media_type: str) -> dict[str, Any]:
    with path.open("rb") as file, c2pa.Reader(media_type, file) as reader:
        return dict(json.loads(reader.json()))


@pytest.mark.parametrize(("name", "media_type"), [
    ("png", "image/png"), ("jpeg", "image/jpeg"), ("webp", "image/webp"), ("gif", "image/gif"), ("mp4", "video/mp4"),
])  # fmt: skip
def test_a_signed_file_says_how_it_was_made_and_shows_changes(
    tmp_path: Path, options: C2paOptions, name: str, media_type: str
) -> None:
    wanted = request(name, is_video=name in ("gif", "mp4"), embed_metadata=False)
    path, pictures = tmp_path / f"file.{name}", clip(wanted.frames)
    encode.write(pictures, path, wanted, {"index": 0})
    provenance.mark(path, media_type, wanted, (48, 32))
    signing.sign(path, media_type, wanted, options)
    found = read(path, media_type)
    assert found["validation_state"] == "Valid"
    assert [one["code"] for one in found["validation_status"]] == ["signingCredential.untrusted"]
    manifest = found["manifests"][found["active_manifest"]]
    [actions] = [one["data"]["actions"] for one in manifest["assertions"] if one["label"].startswith("c2pa.actions")]
    assert [(one["action"], one["digitalSourceType"]) for one in actions] == [("c2pa.created", provenance.COMPOSITE)]
    assert manifest["signature_info"]["issuer"] == "x"
    assert b"circle" not in path.read_bytes()
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    changed = bytearray(path.read_bytes())
    changed[-60 if name != "mp4" else -300] ^= 1  # within the pixels, or the packet of XMP
    path.write_bytes(changed)
    assert read(path, media_type)["validation_state"] == "Invalid"


def test_nothing_is_signed_without_a_certificate_or_a_place(tmp_path: Path, options: C2paOptions) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    signing.sign(path, "image/png", request("png"), C2paOptions())
    signing.sign(path, "video/webm", request("webm"), options)
    assert path.read_bytes() == b"content"
    text = signing.manifest(request("png", kind=Kind.TEXT2IMG, image=None))["assertions"][0]["data"]["actions"][0]
    assert text["digitalSourceType"] == provenance.TRAINED


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path, options: C2paOptions) -> None:
    with pytest.raises(BadSetting, match="must be set together"):
        Settings.of(c2pa_certificate="a.pem")
    with pytest.raises(BadSetting, match="C2PA_CERTIFICATE must be a file"):
        check_signing(replace(options, certificate=str(tmp_path / "none")))
    check_signing(C2paOptions())


def trial(options: C2paOptions, folder: Path, certificate: bytes | None = None, key: bytes | None = None) -> str:
    """Return why outputs cannot be signed with another certificate or key; '' if they can."""
    for name, content in (("certificate", certificate), ("private_key", key)):
        if content is not None:
            (folder / name).write_bytes(content)
            options = replace(options, **{name: str(folder / name)})
    try:
        check_signing(options)
    except BadSetting as exc:
        return exc.message
    return ""


def test_a_key_that_cannot_sign_is_named_at_the_start(tmp_path: Path, options: C2paOptions) -> None:
    assert trial(options, tmp_path) == ""
    other = ec.generate_private_key(ec.SECP256R1())
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat
    plain = other.private_bytes(pem, form.PKCS8, serialization.NoEncryption())
    older = other.private_bytes(pem, form.TraditionalOpenSSL, serialization.NoEncryption())
    root = Path(options.certificate).read_bytes().partition(b"-----END CERTIFICATE-----\n")[2]
    assert trial(options, tmp_path, key=plain).startswith("C2PA_PRIVATE_KEY is not the key of C2PA_CERTIFICATE (")
    assert "in PKCS #8 (BEGIN PRIVATE KEY), without a password" in trial(options, tmp_path, key=older)
    assert "fits C2PA_ALGORITHM=ps256" in trial(replace(options, algorithm="ps256"), tmp_path)
    assert trial(options, tmp_path, certificate=b"no certificate").startswith("C2PA_CERTIFICATE must be a PEM file")
    assert trial(options, tmp_path, certificate=root).endswith("the certificate was self-signed")


def test_the_doctor_names_a_key_that_cannot_sign(tmp_path: Path, options: C2paOptions) -> None:
    key = tmp_path / "key.pem"
    key.write_text("no key")
    settings = Settings.of(c2pa_certificate=options.certificate, c2pa_private_key=str(key))
    [finding] = [one for one in findings(settings) if one.name == "signing"]
    assert finding.state == "problem"
    assert finding.text.startswith("C2PA_PRIVATE_KEY must be a PEM file with a key")


def test_a_delivered_output_is_signed(start: Callable[..., Stack], options: C2paOptions, tmp_path: Path) -> None:
    files = {"C2PA_CERTIFICATE": options.certificate, "C2PA_PRIVATE_KEY": options.private_key}
    stack = start("gpu0", "io", EMBED_METADATA=0, **files)
    [output] = stack.wait(stack.submit(steps=1))["outputs"]
    path = tmp_path / "output.png"
    path.write_bytes(stack.get(output["url"]).content)
    assert read(path, "image/png")["validation_state"] == "Valid"
    assert b"DigitalSourceType" in path.read_bytes()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == output["sha256"]
