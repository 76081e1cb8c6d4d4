"""Thin labelled wrappers over pyca/cryptography, identities, and the signed directory."""

from fedprivacy.crypto.aead import OVERHEAD_BYTES, seal, unseal
from fedprivacy.crypto.agreement import KEY_BYTES, KeyPair, is_weak
from fedprivacy.crypto.authority import Authority
from fedprivacy.crypto.authority_folder import AuthorityFolder
from fedprivacy.crypto.certificate_names import CertifiedName, fingerprint
from fedprivacy.crypto.certificate_requests import CertificateRequest
from fedprivacy.crypto.certificates import (
    CertificateAuthority,
    Certified,
    NodeKey,
    new_tls_key,
    tls_key_pem,
)
from fedprivacy.crypto.checksum import CHECKSUM_BYTES, Checksum
from fedprivacy.crypto.directory import MAX_ENTRIES, Directory
from fedprivacy.crypto.draft import DirectoryDraft
from fedprivacy.crypto.identity import CLIENT_ID_PATTERN, Enrolment, Identity, check_client_id
from fedprivacy.crypto.kdf import derive
from fedprivacy.crypto.mac import MAC_BYTES, mac, verify_mac
from fedprivacy.crypto.masks import MaskStream
from fedprivacy.crypto.revocation import read_revocations, revocation_list
from fedprivacy.crypto.secret_files import check_private, read_secret, write_secret
from fedprivacy.crypto.signing import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    SigningKey,
    has_small_order,
    verify,
)
from fedprivacy.crypto.suites import Suite

__all__ = [
    "CHECKSUM_BYTES",
    "CLIENT_ID_PATTERN",
    "KEY_BYTES",
    "MAC_BYTES",
    "MAX_ENTRIES",
    "OVERHEAD_BYTES",
    "PUBLIC_KEY_BYTES",
    "SIGNATURE_BYTES",
    "Authority",
    "AuthorityFolder",
    "CertificateAuthority",
    "CertificateRequest",
    "Certified",
    "CertifiedName",
    "Checksum",
    "Directory",
    "DirectoryDraft",
    "Enrolment",
    "Identity",
    "KeyPair",
    "MaskStream",
    "NodeKey",
    "SigningKey",
    "Suite",
    "check_client_id",
    "check_private",
    "derive",
    "fingerprint",
    "has_small_order",
    "is_weak",
    "mac",
    "new_tls_key",
    "read_revocations",
    "read_secret",
    "revocation_list",
    "seal",
    "tls_key_pem",
    "unseal",
    "verify",
    "verify_mac",
    "write_secret",
]
