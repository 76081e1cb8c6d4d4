"""How long a round will compute on this machine: work, times what each operation takes right now.

Each operation of `Work` is done by the very function that a round calls, on values of the plan's
own width, for a hundredth of a second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import PRIME, PackedSum, combine, lagrange_at_zero, limbs_of, split
from fedprivacy.crypto import KeyPair, MaskStream, SigningKey, verify
from fedprivacy.randomness import InsecureTestRng, Keystream
from fedprivacy.reporting.machine_homomorphic import homomorphic_probes
from fedprivacy.reporting.machine_lattice import lattice_probes
from fedprivacy.rounds import Plan
from fedprivacy.rounds.traffic import member_work, nominal_sum_plan, round_work
from fedprivacy.secagg import SHARED_KEYS, Membership, SumPlan, Work
from fedprivacy.secagg.masking.keys import Secret, self_seed
from fedprivacy.secagg.masking.masks import MaskedVector, add_terms
from fedprivacy.secagg.masking.messages import (
    SECRET_BYTES,
    Neighbourhood,
    OpenedShare,
    PlacedEntry,
    RosterEntry,
    SealedBox,
    SealedShares,
    UnmaskShares,
)
from fedprivacy.secagg.masking.recovery import Dealt, check_shares, recover_secrets
from fedprivacy.secagg.masking.shares import deal, open_box
from fedprivacy.secagg.uploads import CHUNK_VALUES, MaskedChunk, PackedUpload, Uploads, chunk_slices
from fedprivacy.vector import Update
from fedprivacy.wire import MerkleTree, decode, encode, verify_path

__all__ = ["expected_seconds"]

_PROBE_SECONDS = 0.01
_MEMBERS = 8
_POINTS = 64
_LEAVES = 1 << 10
_CHUNKS = 4
_32 = bytes(range(32))  # every key, seed and hash here: what they are takes no time


class _Probe(NamedTuple):
    """Something that a round does, and how many operations it is."""

    call: Callable[[], object]
    operations: int


class Expected(NamedTuple):
    """Computing seconds of one client, of the server and of a committee's member, if any."""

    client: float
    server: float
    member: float | None


def expected_seconds(plan: Plan, *, clients: int, length: int) -> Expected:
    """Computing seconds of each party, on one core of this machine.

    In a round that loses what the plan is ready for; training and the network are apart. Raises
    `ConfigurationError` where no modulus holds the sum.
    """
    client, server = round_work(plan, clients=clients, length=length)
    member = member_work(plan, clients=clients, length=length)
    bits = plan.pipeline(length, clients).modulus_bits(clients)
    probes = _probes_of_keys() | _probes_of_shares()
    probes |= _probes_of_values(plan, clients, length, bits)
    if member is not None:
        agreed = nominal_sum_plan(plan, clients, length)
        probes |= {name: _Probe(*probe) for name, probe in lattice_probes(agreed).items()}
    if plan.aggregation.protocol in SHARED_KEYS:
        agreed = nominal_sum_plan(plan, clients, length)
        found = homomorphic_probes(plan.aggregation.protocol, agreed)
        probes |= {name: _Probe(*probe) for name, probe in found.items()}
    rates = {name: _seconds(probe) for name, probe in probes.items()}
    return Expected(
        _priced(client, rates),
        _priced(server, rates),
        None if member is None else _priced(member, rates),
    )


def _priced(work: Work, rates: dict[str, float]) -> float:
    counts = dataclasses.asdict(work)
    return float(sum(count * rates[name] for name, count in counts.items() if count))


def _seconds(probe: _Probe) -> float:
    """Seconds of one operation, on the mean: a machine that is busy now is a slower one."""
    probe.call()  # the first one finds everything cold
    started, calls = perf_counter(), 0
    while (spent := perf_counter() - started) < _PROBE_SECONDS:
        probe.call()
        calls += 1
    return spent / (calls * probe.operations)


def _probes_of_keys() -> dict[str, _Probe]:
    pair, peer = KeyPair(_32), KeyPair(_32[::-1]).public
    identity = SigningKey.from_seed(_32)
    signature = identity.sign("machine", _32)
    tree = MerkleTree([bytes([i % 256]) for i in range(_LEAVES)])
    path = tree.path(0)
    who = Membership(0, "c", _32, path)

    def place() -> bytes:
        entries = (
            PlacedEntry(RosterEntry(who, _32, _32, signature), i, tree.path(i))
            for i in range(_MEMBERS)
        )
        return encode(Neighbourhood(_LEAVES, tree.root, tuple(entries)))

    return {
        "key_pairs": _Probe(lambda: KeyPair(_32), 1),
        "agreements": _Probe(lambda: pair.agree(peer), 1),
        "signatures": _Probe(lambda: identity.sign("machine", _32), 1),
        "verifications": _Probe(lambda: verify(identity.public, signature, "machine", _32), 1),
        "proof_steps": _Probe(lambda: verify_path(tree.root, _LEAVES, 0, b"\x00", path), len(path)),
        "entries_placed": _Probe(place, _MEMBERS),
    }


def _dealt(dealer: int) -> SealedShares:
    """What one member deals to all, two of whom recover its secrets."""
    return deal(
        _32,
        dealer,
        dict.fromkeys(Secret, _32),
        dict.fromkeys(range(_MEMBERS), _32),
        {},
        threshold=2,
        coefficients=Keystream(_32),
        salts=Keystream(_32),
    )


def _boxes_for(recipient: int, dealt: Sequence[SealedShares]) -> list[SealedBox]:
    boxes = [message.boxes[recipient] for message in dealt]
    return [SealedBox(dealer, b.box, b.commitments) for dealer, b in enumerate(boxes)]


def _opened(box: SealedBox, recipient: int) -> OpenedShare:
    held = open_box(_32, recipient, _32, box)
    return OpenedShare(box.peer, held.shares[Secret.SEED], held.salts[Secret.SEED])


def _probes_of_shares() -> dict[str, _Probe]:
    dealt = [_dealt(dealer) for dealer in range(_MEMBERS)]
    boxes = _boxes_for(0, dealt)
    points = np.arange(1, _POINTS + 1, dtype=np.uint64)
    many = encode(SealedShares(_32, tuple(boxes) * (_POINTS // _MEMBERS)))
    kept: list[SealedShares] = []

    def relay() -> bytes:
        # A server keeps what it was sent, and Python goes through all that is kept now and then.
        kept.append(decode(SealedShares, many, limit=len(many)))
        return encode(kept[-1])

    return {
        "boxes_sealed": _Probe(lambda: _dealt(0), _MEMBERS),
        "boxes_opened": _Probe(lambda: [open_box(_32, 0, _32, b) for b in boxes], _MEMBERS),
        "rows": _Probe(relay, 2 * _POINTS),
        "dealing_products": _Probe(
            lambda: split([_32, _32], _POINTS, points, stream=Keystream(_32)),
            2 * limbs_of(SECRET_BYTES) * _POINTS**2,
        ),
        **_probes_of_recovery(dealt, points),
    }


def _probes_of_recovery(
    dealt: Sequence[SealedShares], points: NDArray[np.uint64]
) -> dict[str, _Probe]:
    everyone = frozenset(range(_MEMBERS))
    by_dealer = {dealer: Dealt.of(message) for dealer, message in enumerate(dealt)}
    answers = {
        r: UnmaskShares(tuple(_opened(box, r) for box in _boxes_for(r, dealt))) for r in everyone
    }
    roster = {i: RosterEntry(Membership(i, "c", _32, ()), _32, _32, b"") for i in range(_MEMBERS)}
    basis = lagrange_at_zero(points)

    def check(responder: int = 0) -> dict[int, NDArray[np.uint64]]:
        return check_shares(
            _32,
            responder,
            answers[responder],
            dealt=by_dealer,
            survivors=everyone,
            unopened=frozenset(),
        )

    shares = {responder: check(responder) for responder in everyone}
    # No two dealers on a ring have their shares at the same members.
    held = {r: {d: shares[r][d] for d in (r, (r + 1) % _MEMBERS)} for r in everyone}
    column = [shares[0][0]] * _POINTS

    def recover() -> object:
        return recover_secrets(_32, 2, held, roster=roster, dealt=by_dealer, survivors=everyone)

    return {
        "shares_checked": _Probe(check, _MEMBERS),
        "basis_products": _Probe(
            lambda: lagrange_at_zero(np.tile(points, (_MEMBERS, 1))),
            _MEMBERS * _POINTS * (_POINTS + PRIME.bit_length()),
        ),
        "shares_combined": _Probe(lambda: combine(basis, np.stack(column)), _POINTS),
        "secrets_recovered": _Probe(recover, _MEMBERS),
    }


def _encoding(plan: Plan, clients: int, length: int) -> _Probe:
    """Some chunks, since what a client does once for its vector weighs little on a long one."""
    length = min(length, _CHUNKS * CHUNK_VALUES)
    units = plan.update.max_units_per_client if plan.protects_units else 1
    rows = min(units, max(_CHUNKS * CHUNK_VALUES // length, 1))
    pipeline = plan.pipeline(length, clients)
    update = Update(np.ones((rows, length) if plan.protects_units else length))
    rng = InsecureTestRng(_32)  # rounds figures that nobody sees

    def encoded() -> None:
        source = pipeline.encode(update, rng=rng)
        for part in chunk_slices(len(source)):
            source[part]

    return _Probe(encoded, rows * length)


def _probes_of_values(plan: Plan, clients: int, length: int, bits: int) -> dict[str, _Probe]:
    """On one chunk of the update, or on all of a shorter one."""
    # A weight beside them fits the chunk.
    pipeline = plan.pipeline(min(length, CHUNK_VALUES - 1), clients)
    values = np.zeros(pipeline.total_length, dtype=np.int64)
    stream, words = MaskStream(_32, bits), MaskedVector(bits, ()).add_to(values)
    sum_plan = _sum_plan(plan, len(values), bits)
    uploads, total = Uploads(sum_plan), PackedSum(len(values), bits)

    def packed() -> tuple[bytes, bytes]:
        upload = PackedUpload(sum_plan, 0)
        return upload.chunk(MaskedVector(bits, ()).add_to(values)), upload.checksum()

    chunk, checksum = packed()

    def folded() -> None:
        uploads.take(0, decode(MaskedChunk, chunk, limit=len(chunk)))
        uploads.fold(0, checksum)

    def released() -> object:
        return pipeline.decode(add_terms(total, ()), clients=1)

    return {
        "mask_seeds": _Probe(lambda: MaskStream(self_seed(_32, _32, 0), bits), 1),
        "mask_values": _Probe(lambda: stream.add_to(words), len(values)),
        "values_encoded": _encoding(plan, clients, length),
        "values_packed": _Probe(packed, len(values)),
        "values_folded": _Probe(folded, len(values)),
        "values_released": _Probe(released, len(values)),
    }


def _sum_plan(plan: Plan, length: int, bits: int) -> SumPlan:
    return SumPlan(
        round_id=_32,
        broadcast=_32,
        suite=plan.suite,
        adversary=plan.aggregation.adversary,
        cohort_size=_MEMBERS,
        cohort_root=_32,
        threshold=2,
        corrupt=0,
        min_clients=2,
        length=length,
        modulus_bits=bits,
    )
