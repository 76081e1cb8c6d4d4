"""Clients that lie to an honest server: c003 does, among five with t = 4 and one corrupt at most.

A lie is a function of the house and of a message that c003 would honestly send; it gives the
messages that are sent in its place. What it does stands in the docstring.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from fedprivacy.arithmetic import pack, unpack
from fedprivacy.crypto import Checksum, KeyPair
from fedprivacy.errors import Reason
from fedprivacy.rounds import Envelope, Refusal
from fedprivacy.secagg import SERVER
from fedprivacy.secagg.masking import messages as m
from fedprivacy.secagg.masking.keys import KEYS_LABEL, signed_keys
from fedprivacy.secagg.uploads import MaskedChunk
from fedprivacy.transport import Delivery
from fedprivacy.wire import Message, decode, digest, encode
from rounddrive import Consortium

LIAR = "c003"
ANY = 1 << 24


class Clients(Message, frozen=True, tag="never-sent"):
    """Keeps the union below one of messages."""


BODIES = (
    m.KeyAdvertisement
    | m.SealedShares
    | MaskedChunk
    | m.MaskedInput
    | m.AcknowledgedInput
    | m.ConsistencySignature
    | m.UnmaskShares
    | Clients
)


@dataclass(frozen=True)
class ClientLie:
    """A lie, with what an honest server makes of it."""

    name: str
    reason: Reason
    script: Callable
    without: bool = True
    """The liar's input is not in the sum."""


@dataclass
class Liar:
    """A channel in which c003 lies, and others may be lost before a phase."""

    house: object
    script: Callable
    lost: dict = field(default_factory=dict)
    notes: dict = field(default_factory=dict)

    def __call__(self, delivery):
        if delivery.recipient != SERVER:
            return (delivery,)
        if self.lost.get(delivery.sender) == delivery.phase:
            return ()
        envelope = decode(Envelope | Refusal, delivery.message, limit=ANY)
        if isinstance(envelope, Refusal):
            return (delivery,)
        body = decode(BODIES, envelope.body, limit=ANY)
        if delivery.sender != LIAR:
            self.notes[type(body), delivery.sender] = body
            return (delivery,)
        self.notes["round"] = envelope.round_id
        return [
            Delivery(LIAR, SERVER, delivery.phase, self._sealed(envelope, said))
            for said in self.script(self, body)
        ]

    def _sealed(self, envelope, said):
        if isinstance(said, Refusal):
            return encode(said)
        return encode(msgspec.structs.replace(envelope, body=encode(said)))

    def signed(self, seal_key, mask_key):
        """An advertisement of these keys with the liar's good signature."""
        plan = self.house.round_plan().sum_plan()
        parts = (self.notes["round"], *signed_keys(plan, 3, seal_key, mask_key)[1:])
        signature = self.house.identities[LIAR].key.sign(KEYS_LABEL, *parts)
        return m.KeyAdvertisement(seal_key, mask_key, signature)


def tell(lie):
    """The outcomes of a round in which c003 tells the lie, and the house in which it was told."""
    with Consortium() as house:
        return house, house.attempts(channel=Liar(house, lie.script))


def succeeded(lie):
    """The liar is not found out, or it costs the others their exact sum."""
    try:
        house, (outcome, *_) = tell(lie)
    except (KeyError, ValueError):
        return True  # the server fell over
    found = {name: error.reason for name, error in outcome.excluded.items()}
    if found != {LIAR: lie.reason} or outcome.aggregate is None:
        return True
    exact = sum(house.updates[name] for name in outcome.survivors)
    return outcome.aggregate.sum.tolist() != exact.tolist()


CLIENT_LIES = {}


def lie(reason, **ends):
    def register(script):
        name = script.__name__.replace("_", "-")
        CLIENT_LIES[name] = ClientLie(name, reason, script, **ends)
        return script

    return register


def changed(kind, **changes):
    """One kind of message with fields changed by functions of it; all others as they are."""

    def script(_, body):
        if not isinstance(body, kind):
            return [body]
        return [msgspec.structs.replace(body, **{k: f(body) for k, f in changes.items()})]

    return script


# ---------------------------------------------------------------------- keys and shares


@lie(Reason.KEY_SIGNATURE)
def unsigned_keys(liar, body):
    """Its round keys have no signature of its identity."""
    return changed(m.KeyAdvertisement, signature=lambda _: bytes(64))(liar, body)


@lie(Reason.DUPLICATE_MEMBER)
def keys_of_another(liar, body):
    """It signs another member's mask key as its own."""
    if not isinstance(body, m.KeyAdvertisement):
        return [body]
    return [liar.signed(body.seal_key, liar.notes[m.KeyAdvertisement, "c000"].mask_key)]


@lie(Reason.DUPLICATE_MEMBER)
def one_key_for_both_uses(liar, body):
    """Its two keys are one."""
    if not isinstance(body, m.KeyAdvertisement):
        return [body]
    return [liar.signed(body.seal_key, body.seal_key)]


@lie(Reason.WEAK_KEY)
def weak_key(liar, body):
    """It signs a key with which every agreement gives zero."""
    if not isinstance(body, m.KeyAdvertisement):
        return [body]
    return [liar.signed(KeyPair(b"w" * 32).public, bytes(32))]


@lie(Reason.UNKNOWN_DEALER)
def no_box_for_a_member(liar, body):
    """It deals to all but one."""
    return changed(m.SealedShares, boxes=lambda b: b.boxes[1:])(liar, body)


@lie(Reason.UNKNOWN_DEALER)
def a_box_for_a_stranger(liar, body):
    """It deals to somebody who is not in the roster."""

    def more(dealt):
        return (*dealt.boxes, msgspec.structs.replace(dealt.boxes[-1], peer=9))

    return changed(m.SealedShares, boxes=more)(liar, body)


# ---------------------------------------------------------------------- input


@lie(Reason.DIGEST)
def wrong_checksum(liar, body):
    """Its upload is not what it announces."""
    return changed(m.MaskedInput, checksum=lambda _: bytes(16))(liar, body)


@lie(Reason.CHUNK_ORDER)
def a_chunk_twice(liar, body):
    """A chunk too many."""
    return [body, body] if isinstance(body, MaskedChunk) else [body]


@lie(Reason.CHUNK_ORDER)
def no_chunk_at_all(liar, body):
    """It closes an upload of which nothing came."""
    return [] if isinstance(body, MaskedChunk) else [body]


def with_data(change):
    """The chunk's bytes changed, and the checksum to match."""

    def script(liar, body):
        if isinstance(body, MaskedChunk):
            data = change(liar, bytes(body.data))
            liar.notes["checksum"] = Checksum(digest("upload", liar.notes["round"]), 3)
            liar.notes["checksum"].update(data)
            return [msgspec.structs.replace(body, data=data)]
        if isinstance(body, m.MaskedInput):
            return [msgspec.structs.replace(body, checksum=liar.notes["checksum"].value())]
        return [body]

    return script


@lie(Reason.PADDING)
def bits_after_the_last_value(liar, body):
    """The upload's padding is not zero."""
    return with_data(lambda _, data: data[:-1] + bytes([data[-1] | 0x80]))(liar, body)


@lie(Reason.UNKNOWN_DEALER)
def complaint_about_a_stranger(liar, body):
    """It complains about somebody who dealt nothing."""
    return changed(m.MaskedInput, unopened=lambda _: (9,))(liar, body)


@lie(Reason.DUPLICATE, without=False)
def input_twice(liar, body):
    """It closes its upload a second time: the input is in the sum already, and stays there."""
    return [body, body] if isinstance(body, m.MaskedInput) else [body]


# ---------------------------------------------------------------------- answers


@lie(Reason.CONSISTENCY_SIGNATURE, without=False)
def signature_over_something_else(liar, body):
    """Its signature does not hold for the survivors."""
    return changed(m.ConsistencySignature, signature=lambda _: bytes(64))(liar, body)


@lie(Reason.SHARE_COMMITMENT, without=False)
def wrong_share(liar, body):
    """It reveals another share than it was dealt."""

    def one_wrong(answer):
        first = msgspec.structs.replace(answer.shares[0], share=bytes(m.SHARE_BYTES))
        return (first, *answer.shares[1:])

    return changed(m.UnmaskShares, shares=one_wrong)(liar, body)


@lie(Reason.SHARE_MISSING, without=False)
def withheld_share(liar, body):
    """It keeps a share that it had accepted to itself."""
    return changed(m.UnmaskShares, shares=lambda b: b.shares[1:])(liar, body)


@lie(Reason.UNEXPECTED, without=False)
def share_of_nobody(liar, body):
    """It reveals a share of somebody who dealt nothing."""

    def one_more(answer):
        return (*answer.shares, msgspec.structs.replace(answer.shares[0], dealer=9))

    return changed(m.UnmaskShares, shares=one_more)(liar, body)


# ---------------------------------------------------------------------- not refused on the spot


def complain_about_the_first(liar, body):
    """It says that c000's box did not open, and so owes no share of it."""
    if isinstance(body, m.UnmaskShares):
        return [msgspec.structs.replace(body, shares=body.shares[1:])]
    return changed(m.MaskedInput, unopened=lambda _: (0,))(liar, body)


def commit_to_another_seed(liar, body):
    """Its shares are all as committed, and do not lead to the seed that it committed to."""
    return changed(m.SealedShares, seed_commitment=lambda _: bytes(32))(liar, body)


def leave_after_the_input(liar, body):
    """It declares that it takes no further part, once its input is in the sum."""
    if isinstance(body, m.MaskedInput):
        return [body, Refusal(liar.notes["round"], Reason.FAILED.value)]
    return [] if isinstance(body, m.ConsistencySignature | m.UnmaskShares) else [body]


def count_for_too_much(liar, body):
    """Its weight, the last value, is off by half the modulus."""

    def heavier(_, data):
        plan = liar.house.round_plan()
        count, bits = plan.pipeline.total_length, plan.modulus_bits
        values = unpack(data, count, bits)
        values[-1] ^= 1 << (bits - 1)
        return pack(values, bits)

    return with_data(heavier)(liar, body)


def say_everything(_, body):
    """Nothing but the truth."""
    return [body]
