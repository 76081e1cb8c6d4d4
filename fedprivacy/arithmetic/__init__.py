"""Pure functions on arrays: residues, bit packing, secret sharing, the Hadamard transform."""

from fedprivacy.arithmetic.hadamard import hadamard_inflation, walsh_hadamard
from fedprivacy.arithmetic.packed_sum import PackedSum
from fedprivacy.arithmetic.packing import pack, packed_size, unpack
from fedprivacy.arithmetic.residues import (
    MAX_BITS,
    Residues,
    from_residues,
    modulus_bits,
    to_residues,
    word_dtype,
)
from fedprivacy.arithmetic.shamir import (
    PRIME,
    combine,
    lagrange_at_zero,
    limbs_of,
    reconstruct,
    secret_from_limbs,
    share_from_bytes,
    share_to_bytes,
    split,
)

__all__ = [
    "MAX_BITS",
    "PRIME",
    "PackedSum",
    "Residues",
    "combine",
    "from_residues",
    "hadamard_inflation",
    "lagrange_at_zero",
    "limbs_of",
    "modulus_bits",
    "pack",
    "packed_size",
    "reconstruct",
    "secret_from_limbs",
    "share_from_bytes",
    "share_to_bytes",
    "split",
    "to_residues",
    "unpack",
    "walsh_hadamard",
    "word_dtype",
]
