"""A client's request for a certificate: its own fresh key, vouched for by its enrolled identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fedprivacy.crypto.certificate_names import CertifiedName, fingerprint
from fedprivacy.crypto.directory import Directory
from fedprivacy.crypto.identity import CLIENT_ID_PATTERN, Identity
from fedprivacy.crypto.signing import SIGNATURE_BYTES, verify
from fedprivacy.errors import ConfigurationError, PeerError

__all__ = ["CertificateRequest"]

_PROOF_LABEL = "certificate-request"


class _RequestText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["fedprivacy/certificate-request/1"]
    id: Annotated[str, msgspec.Meta(pattern=CLIENT_ID_PATTERN)]
    csr: Annotated[str, msgspec.Meta(max_length=8192)]
    proof: Annotated[str, msgspec.Meta(pattern=rf"^[0-9a-f]{{{2 * SIGNATURE_BYTES}}}\Z")]


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A request that the directory bears out."""

    name: CertifiedName
    key: EllipticCurvePublicKey

    @staticmethod
    def of(identity: Identity, key: EllipticCurvePrivateKey) -> str:
        """The JSON text for the authority; nothing secret."""
        name = CertifiedName(identity.client_id, fingerprint(identity.key.public))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.client_id)])
        uri = x509.UniformResourceIdentifier(name.uri)
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(subject)
            .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
            .sign(key, SHA256(), ecdsa_deterministic=True)
            .public_bytes(Encoding.PEM)
        )
        proof = identity.key.sign(_PROOF_LABEL, identity.client_id.encode(), csr)
        text = _RequestText(
            "fedprivacy/certificate-request/1", identity.client_id, csr.decode(), proof.hex()
        )
        return msgspec.json.format(msgspec.json.encode(text), indent=2).decode() + "\n"

    @classmethod
    def parse(cls, text: str, directory: Directory) -> CertificateRequest:
        """The request in a text; raises `ConfigurationError` where the directory does not bear it
        out: whom it names is enrolled, and the enrolled key signed it."""
        try:
            asked = msgspec.json.decode(text, type=_RequestText)
            csr = x509.load_pem_x509_csr(asked.csr.encode())
            key, name = csr.public_key(), CertifiedName.of(csr)
            name.check_enrolled(directory)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ConfigurationError(f"certificate request: {error}") from None
        except PeerError as error:
            raise ConfigurationError(f"certificate request: {error.detail}") from None
        except ValueError:
            raise ConfigurationError("certificate request: $.csr is no request in PEM") from None
        if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
            raise ConfigurationError(f"certificate request: the key of {asked.id} is not P-256")
        enrolled = directory.key_of(name.client_id) or b""
        signed = verify(
            enrolled,
            bytes.fromhex(asked.proof),
            _PROOF_LABEL,
            asked.id.encode(),
            asked.csr.encode(),
        )
        if asked.id != name.client_id or not csr.is_signature_valid or not signed:
            raise ConfigurationError(
                f"certificate request: its proof does not hold for {asked.id}: ask for a new one"
            )
        return cls(name, key)
