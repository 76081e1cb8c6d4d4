"""The error family: one exception a kind of failure, one registered code a reason.

A family has an exit code of the command line, a `Reason` has the code that goes over the wire and
stands in the SPEC of the protocol. Bytes that come from a peer raise `PeerError` and nothing else;
an exception that is not a `FedPrivacyError` is a bug.
"""

from __future__ import annotations

import enum
from typing import ClassVar

__all__ = [
    "BudgetExhausted",
    "ConfigurationError",
    "FedPrivacyError",
    "MissingExtra",
    "PeerError",
    "PolicyRefused",
    "Reason",
    "RoundAborted",
]


class Reason(enum.Enum):
    """Why a message, a plan or a round was refused; the value is the registered code.

    Codes are never reused, and each has one meaning; 81 was one that nobody raised. 1-19 speak of
    bytes, 20-39 of the plan and the directory, 40-59 of keys and shares, 60-79 of survivors,
    unmasking and what a client's store remembers, 80-99 of how a round ended, 100-119 of the
    channel, 120-139 of ciphertexts under a key that clients share, 140-159 of a committee.
    """

    MALFORMED = 1
    """The bytes are not a message of the expected kind."""
    NON_CANONICAL = 2
    """The bytes decode, but encoding the result again gives other bytes."""
    OVERSIZED = 3
    """The message is longer than the plan allows."""
    UNEXPECTED = 4
    """A message that this party does not take in its present phase."""
    LATE = 5
    """The phase for this message has ended."""
    DUPLICATE = 6
    """The sender has already answered in this phase."""
    UNKNOWN_SENDER = 7
    """The channel's sender is not a member of this round."""
    WRONG_ROUND = 8
    """The envelope names another round or attempt."""
    CHUNK_ORDER = 9
    """A chunk out of sequence, of the wrong size, or one too many."""
    DIGEST = 10
    """The uploaded bytes do not have the digest that was announced."""
    PADDING = 11
    """Bits after the last value are not zero."""

    CODEPOINT = 20
    """A protocol, version or suite that this party does not speak."""
    POLICY_PROTOCOL = 21
    """The client's policy does not allow this protocol."""
    POLICY_SUITE = 22
    """The client's policy does not allow this cipher suite."""
    POLICY_ADVERSARY = 23
    """The plan defends against a weaker adversary than the policy demands."""
    POLICY_COHORT = 24
    """The cohort, or the promised least number of survivors, is below the policy's floor."""
    POLICY_THRESHOLD = 25
    """The threshold is below the policy's floor."""
    POLICY_CORRUPT = 26
    """The plan tolerates fewer corrupt clients than the policy demands."""
    POLICY_DATASET = 27
    """The policy does not offer this data set, unit or adjacency."""
    POLICY_UPDATE = 28
    """The update's clip, bits of a value or units exceed what the policy allows."""
    POLICY_NOISE = 29
    """The plan's noise is below the policy's floor."""
    QUORUM = 30
    """The threshold breaks 2t > n + c, t > c, t <= n, or a sum may hold one honest client only."""
    MODULUS = 31
    """The modulus is not the one that the plan's bounds imply."""
    BROADCAST = 32
    """The broadcast does not have the hash that the plan names."""
    DIRECTORY_SIGNATURE = 33
    """The directory is not signed by the pinned authority."""
    DIRECTORY_STALE = 34
    """The directory's epoch is older than one already seen."""
    DIRECTORY_MISMATCH = 35
    """The directory is not the one whose hash the plan names."""
    ROUND_SEEN = 36
    """This attempt at this round, or a later one, was already begun."""
    ATTEMPTS = 37
    """More attempts at one round than the plan allows."""
    PLAN = 38
    """The plan contradicts itself or names what the client cannot derive."""
    ATTEMPT_CHANGED = 39
    """A later attempt at a round names another plan or another cohort than the first."""

    COHORT_PROOF = 40
    """A member's proof does not lead to the committed cohort."""
    NOT_ENROLLED = 41
    """A member is not in the directory."""
    KEY_SIGNATURE = 42
    """A member's round keys are not signed by its enrolled identity for this round."""
    OWN_ENTRY = 43
    """The roster shows this client with other keys than it sent, or not at all."""
    DUPLICATE_MEMBER = 44
    """Two roster entries share a name, an identity or a key."""
    ROSTER_SIZE = 45
    """Fewer members than the threshold or the floor, or more than the cohort."""
    UNKNOWN_DEALER = 46
    """A share from, or for, someone who is not in the roster."""
    WEAK_KEY = 47
    """A public key of small order."""
    SHARE_UNOPENED = 48
    """A dealer's share does not open, or is not the one it committed to."""
    SHARE_COMMITMENT = 49
    """A responder's share is not the one that the dealer committed to."""
    SHARE_POLYNOMIAL = 50
    """A dealer's shares match its commitments but do not lead to its secret."""
    SHARE_MISSING = 51
    """A responder withheld a share that it had accepted."""
    GRAPH = 52
    """The neighbours are not those of the committed graph, or the graph is not a safe one."""

    SURVIVOR_UNKNOWN = 60
    """A survivor who dealt no shares to this client."""
    NOT_SURVIVOR = 61
    """The client is asked about a survivor set that leaves it out."""
    SURVIVORS_FEW = 62
    """Fewer survivors than the threshold, the plan's min_clients or the client's own floor."""
    SURVIVORS_OVERLAP = 63
    """Under one broadcast, this survivor set is too close to one already answered."""
    CONSISTENCY_SIGNATURE = 64
    """A signature over the survivor set does not hold for the set that this client signed."""
    CONSISTENCY_QUORUM = 65
    """Fewer valid signatures than the threshold."""
    ANSWERED = 66
    """This client has already signed or unmasked in this round."""
    SPENT = 67
    """This client's input was already sent in this attempt."""
    STORE_ROLLED_BACK = 68
    """The client's store is older than the last state that was anchored."""
    RECEIPT_CHANGED = 69
    """A ledger's head that contradicts one that was kept, or does not go on from it."""
    DIRECTORY_EQUIVOCATED = 70
    """A second directory for one epoch, which differs from the first."""
    NOT_ACKNOWLEDGED = 71
    """A survivor, or an input, without the acknowledgements that its sender committed to."""
    BUDGET = 72
    """This client's own budget for its data does not hold the round."""
    SEALED_STATE = 73
    """Not the sealed state in which this client was suspended, or one that was resumed before."""

    TOO_FEW = 80
    """Fewer able clients than the threshold."""
    FAILED = 82
    """A party ended for a reason of its own: a client does not tell it, a server's disk is full."""
    SUM_RANGE = 83
    """The sum is out of the range that honest clients can reach."""
    SHARES_DISAGREE = 84
    """More of a committee's answers are wrong than can be told from the right ones."""
    NOISE_RANGE = 85
    """The recovered key leaves more noise on the sum than honest clients put there."""

    CHANNEL_AUTHORITY = 100
    """The peer's certificate is not of the authority that this side trusts."""
    CHANNEL_EXPIRED = 101
    """The certificate's time is over."""
    CHANNEL_NOT_YET_VALID = 102
    """The certificate's time has not begun."""
    CHANNEL_REVOKED = 103
    """The certificate is on the authority's list of those that are revoked."""
    CHANNEL_NAME = 104
    """The certificate is for another host, or names no client."""
    CHANNEL_ANONYMOUS = 105
    """The peer shows no certificate."""
    CHANNEL_TLS_VERSION = 106
    """The peer does not speak TLS 1.3."""
    CHANNEL_PLAINTEXT = 107
    """The peer does not speak TLS at all."""
    CHANNEL_IDENTITY = 108
    """Whom the certificate names is not enrolled, or with another key."""
    CHANNEL_VERSION = 109
    """The peer speaks another version of the channel's protocol."""
    CHANNEL_RATE = 110
    """The peer connects or sends more often than is allowed."""
    CHANNEL_BUSY = 111
    """Another connection of the same identity is open."""
    CHANNEL_SILENT = 112
    """The peer said nothing, or less than a whole frame, for too long."""
    CHANNEL_CUT = 113
    """The connection ended without a word."""
    CHANNEL_CLOSING = 114
    """The peer is about to end and takes nothing new."""
    CHANNEL_CERTIFICATE = 115
    """The certificate was refused, and the peer does not say why."""
    CHANNEL_REVOCATION_LIST = 116
    """The authority's list of revoked certificates is missing or out of date."""
    CHANNEL_DAMAGED = 117
    """TLS found that bytes were changed on the way."""

    CIPHERTEXT = 120
    """The bytes are not one ciphertext of the plan's parameters."""
    CIPHERTEXT_MAC = 121
    """A ciphertext that no holder of this ceremony's key sealed for this round and place."""
    SUM_MEMBERS = 122
    """An encrypted sum of other ciphertexts than those of the survivors who are named."""
    SUM_DISAGREES = 123
    """Most of those who decrypted the sum say another than the one that is kept."""

    POLICY_COMMITTEE = 140
    """The committee is smaller, opens more easily or has other members than the policy demands."""
    COMMITTEE = 141
    """The server is itself enrolled: it could be of the committee that is to hold it in check."""


class FedPrivacyError(Exception):
    """The base of every error that this package raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigurationError(FedPrivacyError):
    """What this side was given cannot work: a value, its bound and the remedy."""

    exit_code = 2


class PolicyRefused(FedPrivacyError):
    """A client declines what a plan, or a server, asks of it.

    `path` names the offending key, `value` what it is, `floor` what the policy wants; `relation`
    says how the two stand: below a floor, above a ceiling, or simply not it.
    """

    exit_code = 3

    def __init__(
        self,
        reason: Reason,
        path: str,
        value: object,
        floor: object,
        remedy: str,
        *,
        relation: str = "below",
    ) -> None:
        self.reason = reason
        self.path = path
        self.value = value
        self.floor = floor
        self.remedy = remedy
        super().__init__(f"{path} = {value} is {relation} your policy's {floor}: {remedy}")


class BudgetExhausted(FedPrivacyError):
    """A step would spend more privacy than the budget holds."""

    exit_code = 4


class RoundAborted(FedPrivacyError):
    """A round ended without a sum, safely: nothing but what the protocol allows was revealed."""

    exit_code = 5

    def __init__(self, reason: Reason, detail: str, culprits: tuple[str, ...] = ()) -> None:
        self.reason = reason
        self.detail = detail
        self.culprits = culprits
        super().__init__(f"round aborted ({reason.name.lower().replace('_', '-')}): {detail}")


class PeerError(FedPrivacyError):
    """A peer sent something that an honest peer does not send.

    `culprits` are the names that the channel or a proof assigns the fault to; it may be empty.
    """

    exit_code = 6

    def __init__(self, reason: Reason, detail: str, culprits: tuple[str, ...] = ()) -> None:
        self.reason = reason
        self.detail = detail
        self.culprits = culprits
        who = f" from {', '.join(culprits)}" if culprits else ""
        super().__init__(f"{reason.name.lower().replace('_', '-')}{who}: {detail}")

    def blame(self, *culprits: str) -> PeerError:
        """The same error with the culprits named."""
        return PeerError(self.reason, self.detail, culprits)


class MissingExtra(FedPrivacyError):
    """An optional dependency is absent; the message names the install command."""

    exit_code = 7

    def __init__(self, extra: str, needed_for: str) -> None:
        self.extra = extra
        super().__init__(f"{needed_for} needs an extra: pip install 'fedprivacy[{extra}]'")
