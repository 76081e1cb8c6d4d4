"""What a client of a round, or a member, is between two messages, as one message to itself."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from fedprivacy.rounds.messages import MAX_BODY
from fedprivacy.rounds.round_plan import RoundPlan
from fedprivacy.secagg import Membership
from fedprivacy.wire import Message

__all__ = ["ClientState", "SeatState"]


class ClientState(Message, frozen=True, tag="client-state"):
    """The plan that it accepted, its place, and the state of its protocol's client.

    Of the broadcast only the hash is here, in the plan. The directory is with the store; what the
    round costs follows from the plan and the policy.
    """

    round_plan: RoundPlan
    membership: Membership
    party: Annotated[bytes, Meta(max_length=MAX_BODY)]

    def __repr__(self) -> str:
        # The party's state holds every secret that the client still needs.
        return f"ClientState({self.membership.client_id})"


class SeatState(Message, frozen=True, tag="seat-state"):
    """As a client's, of one who is a member of the committee."""

    round_plan: RoundPlan
    membership: Membership
    party: Annotated[bytes, Meta(max_length=MAX_BODY)]

    def __repr__(self) -> str:
        return f"SeatState({self.membership.client_id})"
