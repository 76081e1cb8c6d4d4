"""A member's word to each dealer that its input carries the mask which the two have in common.

On a sparse graph nobody sees who dealt to whom, and a server that lies could keep most dealers from
one client: whoever of its neighbours would then give away a share of its seed has no mask in its
input, and the input stands in a smaller sum than was promised. So each dealer commits, in each box,
to 16 random bytes, and reveals with its input those for the dealers that it masked with. The server
passes them on, and a client takes for a survivor only who has acknowledged it: whoever answers for
an input is masked with it.

They are ours. In the protocol of Bell et al., CCS 2020, a client asks only how many dealt to it.
"""

from __future__ import annotations

from collections.abc import Iterable

from fedprivacy.errors import PeerError, Reason
from fedprivacy.secagg.contract import Adversary, SumPlan
from fedprivacy.secagg.masking.keys import acknowledgement_commitment
from fedprivacy.secagg.masking.messages import ACKNOWLEDGEMENT_BYTES, SealedBox

__all__ = ["are_acknowledged", "check_boxes", "check_committed", "split_acknowledgements"]


def are_acknowledged(plan: SumPlan) -> bool:
    """Whether inputs are: where the server may lie, and nobody sees all dealers."""
    return plan.degree > 0 and plan.adversary is Adversary.SEMI_MALICIOUS


def check_boxes(plan: SumPlan, boxes: Iterable[SealedBox]) -> None:
    """Raise `PeerError(MALFORMED)` unless each box has as many commitments as it must."""
    wanted = 96 if are_acknowledged(plan) else 64
    if any(len(box.commitments) != wanted for box in boxes):
        raise PeerError(Reason.MALFORMED, f"a box without {wanted} bytes of commitments")


def split_acknowledgements(acknowledgements: bytes, count: int) -> tuple[bytes, ...]:
    """One for each of so many members; raises `PeerError(NOT_ACKNOWLEDGED)` for another number."""
    size = ACKNOWLEDGEMENT_BYTES
    if len(acknowledgements) != count * size:
        detail = f"{len(acknowledgements)} bytes of acknowledgements where {count * size} are due"
        raise PeerError(Reason.NOT_ACKNOWLEDGED, detail)
    return tuple(acknowledgements[i * size : (i + 1) * size] for i in range(count))


def check_committed(
    session: bytes, dealer: int, recipient: int, acknowledgement: bytes, commitment: bytes
) -> None:
    """Raise `PeerError(NOT_ACKNOWLEDGED)` for another than this dealer committed to."""
    if acknowledgement_commitment(session, dealer, recipient, acknowledgement) != commitment:
        detail = f"member {dealer} has not acknowledged member {recipient}"
        raise PeerError(Reason.NOT_ACKNOWLEDGED, detail)
