"""Masked aggregation with dropout recovery: SecAgg, and SecAgg+ on a sparse graph."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import ClassVar, Protocol

from fedprivacy.crypto import Directory, Identity
from fedprivacy.randomness import Rng
from fedprivacy.secagg.cohort import Cohort, Membership
from fedprivacy.secagg.contract import Adversary, SumPlan
from fedprivacy.secagg.masking.client import MaskingClient
from fedprivacy.secagg.masking.client_secrets import RAND_BYTES
from fedprivacy.secagg.masking.client_state import ClientPhase, MaskingState
from fedprivacy.secagg.masking.complete import CompleteClient, CompleteServer
from fedprivacy.secagg.masking.neighbours import ClientGraph, ServerGraph
from fedprivacy.secagg.masking.server import MaskingServer
from fedprivacy.secagg.masking.sizes import download_sizes, upload_sizes
from fedprivacy.secagg.masking.sparse import SparseClient, SparseServer
from fedprivacy.secagg.masking.work import count_work
from fedprivacy.wire import decode

__all__ = ["ClientPhase", "MaskingClient", "MaskingServer", "SecAgg", "SecAggPlus"]


class _ClientGraphOf(Protocol):
    def __call__(self, plan: SumPlan, directory: Directory | None, floor: int) -> ClientGraph: ...


class _ServerGraphOf(Protocol):
    def __call__(self, plan: SumPlan, directory: Directory | None, *, rng: Rng) -> ServerGraph: ...


class _Masking:
    """What both have in common: all but the graph."""

    rand_bytes: ClassVar[int] = RAND_BYTES
    upload_sizes = staticmethod(upload_sizes)
    download_sizes = staticmethod(download_sizes)
    work = staticmethod(count_work)
    _client_graph: ClassVar[_ClientGraphOf]
    _server_graph: ClassVar[_ServerGraphOf]

    @classmethod
    def server(
        cls,
        plan: SumPlan,
        cohort: Cohort,
        directory: Directory | None,
        *,
        rng: Rng,
        pool: Executor | None = None,
    ) -> MaskingServer:
        graph = cls._server_graph(plan, directory, rng=rng)
        return MaskingServer(plan, cohort, graph, directory, pool)

    @classmethod
    def client(
        cls,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
        rand: bytes,
    ) -> MaskingClient:
        return cls._client(
            MaskingState(ClientPhase.NEW, rand), plan, membership, identity, directory, floor
        )

    @classmethod
    def resume(
        cls,
        state: bytes,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
    ) -> MaskingClient:
        found = decode(MaskingState, state, limit=len(state))
        return cls._client(found, plan, membership, identity, directory, floor)

    @classmethod
    def _client(
        cls,
        state: MaskingState,
        plan: SumPlan,
        membership: Membership,
        identity: Identity,
        directory: Directory | None,
        floor: int,
    ) -> MaskingClient:
        graph = cls._client_graph(plan, directory, floor)
        return MaskingClient(
            plan, membership, graph, identity=identity, directory=directory, state=state
        )


class SecAgg(_Masking):
    """SecAgg on the complete graph (Bonawitz et al., CCS 2017), its entry in the registry."""

    name: ClassVar[str] = "secagg"
    claim: ClassVar[str] = "secagg-hiding"
    sparse: ClassVar[bool] = False
    adversaries: ClassVar[frozenset[Adversary]] = frozenset(
        {Adversary.HONEST_BUT_CURIOUS, Adversary.MALICIOUS}
    )
    _client_graph = CompleteClient
    _server_graph = CompleteServer


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
    _client_graph = SparseClient
    _server_graph = SparseServer
