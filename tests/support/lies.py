"""Every lie of a server, and those to a server that are told in the same way."""

import lies_of_committees
import lies_of_dealers
import lies_of_holders
import lies_of_inclusion
import lies_of_members
import lies_of_noise
import lies_of_plans
import lies_of_rings
import lies_of_rounds
import lies_of_shared_keys
import lies_of_survivors
from lie_registry import LIES, LIES_TO_SERVERS, Lie

__all__ = [
    "LIES",
    "LIES_TO_SERVERS",
    "Lie",
    "lies_of_committees",
    "lies_of_dealers",
    "lies_of_holders",
    "lies_of_inclusion",
    "lies_of_members",
    "lies_of_noise",
    "lies_of_plans",
    "lies_of_rings",
    "lies_of_rounds",
    "lies_of_shared_keys",
    "lies_of_survivors",
]
