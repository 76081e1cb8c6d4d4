"""Pure functions on arrays: residues, bit packing, secret sharing, lattice rings, Hadamard."""

from fedprivacy.arithmetic.binomial import (
    BINOMIAL_BOUND,
    BINOMIAL_VARIANCE,
    centred_binomial,
    sum_tail,
)
from fedprivacy.arithmetic.correction import Corrected, correct_shares
from fedprivacy.arithmetic.hadamard import hadamard_inflation, walsh_hadamard
from fedprivacy.arithmetic.packed_sum import RUN_VALUES, PackedSum
from fedprivacy.arithmetic.packing import pack, packed_size, unpack
from fedprivacy.arithmetic.residues import (
    MAX_BITS,
    Residues,
    from_residues,
    modulus_bits,
    to_residues,
    word_dtype,
)
from fedprivacy.arithmetic.ring import FixedFactor
from fedprivacy.arithmetic.shamir import (
    PRIME,
    combine,
    lagrange_at_zero,
    limbs_of,
    parity_check,
    reconstruct,
    secret_from_limbs,
    share_from_bytes,
    share_to_bytes,
    split,
    split_elements,
)
from fedprivacy.arithmetic.slots import Slots

__all__ = [
    "BINOMIAL_BOUND",
    "BINOMIAL_VARIANCE",
    "MAX_BITS",
    "PRIME",
    "RUN_VALUES",
    "Corrected",
    "FixedFactor",
    "PackedSum",
    "Residues",
    "Slots",
    "centred_binomial",
    "combine",
    "correct_shares",
    "from_residues",
    "hadamard_inflation",
    "lagrange_at_zero",
    "limbs_of",
    "modulus_bits",
    "pack",
    "packed_size",
    "parity_check",
    "reconstruct",
    "secret_from_limbs",
    "share_from_bytes",
    "share_to_bytes",
    "split",
    "split_elements",
    "sum_tail",
    "to_residues",
    "unpack",
    "walsh_hadamard",
    "word_dtype",
]
