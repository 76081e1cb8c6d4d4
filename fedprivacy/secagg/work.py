"""What a party computes, counted: what an estimate of its seconds is made from."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Work"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How often one party does what takes time."""

    key_pairs: int = 0
    agreements: int = 0
    signatures: int = 0
    verifications: int = 0
    proof_steps: int = 0
    """Siblings hashed on the way from a leaf to a root."""
    boxes_sealed: int = 0
    boxes_opened: int = 0
    rows: int = 0
    """Of messages, read or written: a box, an entry, a signature or a share each."""
    entries_placed: int = 0
    """Neighbours shown to a client, each with the proof of its place."""
    dealing_products: int = 0
    """In the field, to evaluate the polynomials of the shares."""
    shares_checked: int = 0
    basis_products: int = 0
    """In the field, for the weights of an interpolation at zero."""
    shares_combined: int = 0
    secrets_recovered: int = 0
    mask_seeds: int = 0
    mask_values: int = 0
    """Words of keystream, each added to a value."""
    values_encoded: int = 0
    """Clipped and rounded, of every unit."""
    values_packed: int = 0
    values_folded: int = 0
    key_shares_dealt: int = 0
    """Of a lattice key, a member's share each: dealt and sealed, the agreement apart."""
    key_shares_opened: int = 0
    """Opened and added up, the agreement apart."""
    keys_recovered: int = 0
    """Sums of lattice keys, from the answers of a committee."""
    coefficients_encrypted: int = 0
    """Of ciphertexts: encrypted, packed and digested."""
    coefficients_folded: int = 0
    """Parsed, digested and added."""
    coefficients_decrypted: int = 0
    ciphertexts_encrypted: int = 0
    """Of a homomorphic scheme, each with its MAC."""
    ciphertexts_added: int = 0
    """Authenticated, checked, loaded twice by the library, and added."""
    ciphertexts_decrypted: int = 0
    values_released: int = 0
    """Unpacked and decoded."""
