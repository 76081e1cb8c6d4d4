"""Masked aggregation with dropout recovery: SecAgg, and SecAgg+ on a sparse graph."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import ClassVar

from fedprivacy.crypto import Directory, Identity
from fedprivacy.randomness import Rng
from fedprivacy.secagg.cohort import Cohort, Membership
from fedprivacy.secagg.contract import Adversary, SumPlan
from fedprivacy.secagg.masking.client import RAND_BYTES, ClientPhase, MaskingClient
from fedprivacy.secagg.masking.complete import CompleteClient, CompleteServer
from fedprivacy.secagg.masking.server import MaskingServer
from fedprivacy.secagg.masking.sizes import download_sizes, upload_sizes
from fedprivacy.secagg.masking.sparse import SparseClient, SparseServer
from fedprivacy.secagg.masking.work import count_work

__all__ = ["ClientPhase", "MaskingClient", "MaskingServer", "SecAgg", "SecAggPlus"]


class _Masking:
    """What both have in common."""

    rand_bytes: ClassVar[int] = RAND_BYTES
    upload_sizes = staticmethod(upload_sizes)
    download_sizes = staticmethod(download_sizes)
    work = staticmethod(count_work)


class SecAgg(_Masking):
    """SecAgg on the complete graph (Bonawitz et al., CCS 2017), its entry in the registry."""

    name: ClassVar[str] = "secagg"
    claim: ClassVar[str] = "secagg-hiding"
    sparse: ClassVar[bool] = False
    adversaries: ClassVar[frozenset[Adversary]] = frozenset(
        {Adversary.HONEST_BUT_CURIOUS, Adversary.MALICIOUS}
    )

    @staticmethod
    def server(
        plan: SumPlan,
        cohort: Cohort,
        directory: Directory | None,
        *,
        rng: Rng,
        pool: Executor | None = None,
    ) -> MaskingServer:
        return MaskingServer(plan, cohort, CompleteServer(plan, directory), directory, pool)

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
        graph = CompleteClient(plan, directory, floor)
        return MaskingClient(
            plan, membership, graph, identity=identity, directory=directory, rand=rand
        )


class SecAggPlus(_Masking):
    """SecAgg+ on a sparse random graph (Bell et al., CCS 2020), its entry in the registry.

    A malicious server is not withstood: it could draw a graph in which its own clients are all of a
    victim's neighbours.
    """

    name: ClassVar[str] = "secagg+"
    claim: ClassVar[str] = "secagg-plus-hiding"
    sparse: ClassVar[bool] = True
    adversaries: ClassVar[frozenset[Adversary]] = frozenset(
        {Adversary.HONEST_BUT_CURIOUS, Adversary.SEMI_MALICIOUS}
    )

    @staticmethod
    def server(
        plan: SumPlan,
        cohort: Cohort,
        directory: Directory | None,
        *,
        rng: Rng,
        pool: Executor | None = None,
    ) -> MaskingServer:
        return MaskingServer(plan, cohort, SparseServer(plan, rng=rng), directory, pool)

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
        graph = SparseClient(plan, directory, floor)
        return MaskingClient(
            plan, membership, graph, identity=identity, directory=directory, rand=rand
        )
