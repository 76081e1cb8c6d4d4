"""Masked aggregation with dropout recovery: SecAgg."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fedprivacy.crypto import Directory, Identity
from fedprivacy.secagg.cohort import Cohort, Membership
from fedprivacy.secagg.contract import Adversary, SumPlan
from fedprivacy.secagg.masking.client import RAND_BYTES, ClientPhase, MaskingClient
from fedprivacy.secagg.masking.server import MaskingServer
from fedprivacy.secagg.masking.sizes import upload_sizes

__all__ = ["ClientPhase", "MaskingClient", "MaskingServer", "SecAgg"]


class SecAgg:
    """SecAgg on the complete graph (Bonawitz et al., CCS 2017), its entry in the registry."""

    name: ClassVar[str] = "secagg"
    claim: ClassVar[str] = "secagg-hiding"
    adversaries: ClassVar[frozenset[Adversary]] = frozenset(
        {Adversary.HONEST_BUT_CURIOUS, Adversary.MALICIOUS}
    )
    rand_bytes: ClassVar[int] = RAND_BYTES

    @staticmethod
    def upload_sizes(
        adversary: Adversary, *, members: int, length: int, modulus_bits: int
    ) -> Iterator[tuple[str, int]]:
        return upload_sizes(adversary, members=members, length=length, modulus_bits=modulus_bits)

    @staticmethod
    def server(plan: SumPlan, cohort: Cohort, directory: Directory | None) -> MaskingServer:
        return MaskingServer(plan, cohort, directory)

    @staticmethod
    def client(
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
        rand: bytes,
    ) -> MaskingClient:
        return MaskingClient(
            plan, membership, identity=identity, directory=directory, floor=floor, rand=rand
        )
