"""What the operations of one-shot aggregation are probed with; `machine` times them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from fedprivacy.arithmetic import PRIME, split_elements
from fedprivacy.crypto import KeyPair, seal, unseal
from fedprivacy.randomness import Keystream
from fedprivacy.secagg import SumPlan
from fedprivacy.secagg.oneshot.cipher import Encryption, open_sum, values_per_chunk
from fedprivacy.secagg.oneshot.client import as_upload
from fedprivacy.secagg.oneshot.keys import CiphertextDigest
from fedprivacy.secagg.oneshot.parameters import committee_of, parameters_of
from fedprivacy.secagg.oneshot.shares import recover_key
from fedprivacy.secagg.uploads import MaskedChunk, PackedUpload, Uploads
from fedprivacy.wire import decode

__all__ = ["lattice_probes"]

_32 = bytes(range(32))


def lattice_probes(plan: SumPlan) -> dict[str, tuple[Callable[[], object], int]]:
    """By field of `Work`: a call, and how many operations it is.

    On one chunk of the update, or on all of a shorter one.
    """
    whole = parameters_of(plan)
    plan = dataclasses.replace(plan, length=min(plan.length, values_per_chunk(whole)))
    parameters, committee = parameters_of(plan), committee_of(plan)
    encryption = Encryption(parameters, _32, secret=_32, errors=_32[::-1])
    values = np.zeros(plan.length, dtype=np.int64)
    elements = encryption.key_elements()
    points = np.arange(1, committee.size + 1, dtype=np.uint64)
    key, count = KeyPair(_32).agree(KeyPair(_32[::-1]).public), parameters.coefficients
    uploads = Uploads(as_upload(plan, parameters), CiphertextDigest)

    def encrypted() -> tuple[bytes, bytes]:
        upload = PackedUpload(as_upload(plan, parameters), 0, CiphertextDigest)
        chunk = upload.chunk(Encryption(parameters, _32, secret=_32, errors=_32).next(values))
        return chunk, upload.checksum()

    chunk, checksum = encrypted()

    def folded() -> None:
        uploads.take(0, decode(MaskedChunk, chunk, limit=len(chunk)))
        uploads.fold(0, checksum)

    def dealt() -> list[bytes]:
        shares = split_elements(elements, committee.threshold, points, stream=Keystream(_32))
        return [seal(key, s.astype(">u4").tobytes(), associated=_32) for s in shares]

    boxes = dealt()
    total = np.zeros(parameters.key_elements, dtype=np.uint64)

    def opened() -> None:
        share = np.frombuffer(unseal(key, boxes[0], associated=_32), dtype=">u4")
        np.add(total, share, out=total)

    shares = split_elements(elements, committee.threshold, points, stream=Keystream(_32))
    answers = {i: share % np.uint64(PRIME) for i, share in enumerate(shares)}

    def decrypted() -> object:
        # What is opened is overwritten: a new sum of one each time.
        one = Uploads(as_upload(plan, parameters), CiphertextDigest)
        one.take(0, decode(MaskedChunk, chunk, limit=len(chunk)))
        one.fold(0, checksum)
        clear = Encryption(parameters, _32, secret=_32, errors=_32).key.astype(np.int64)
        return open_sum(one.total, clear, parameters, _32, 1)

    def recovered() -> object:
        return recover_key(answers, parameters, threshold=committee.threshold, clients=1)

    return {
        "key_shares_dealt": (dealt, committee.size),
        "key_shares_opened": (opened, 1),
        "keys_recovered": (recovered, 1),
        "coefficients_encrypted": (encrypted, count),
        "coefficients_folded": (folded, count),
        "coefficients_decrypted": (decrypted, count),
    }
