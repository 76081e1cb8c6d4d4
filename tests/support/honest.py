"""The messages of honest runs, by kind: what hostile ones are made from."""

import contextlib
import functools
from collections import defaultdict

import msgspec

from budgets import KEY, RUN, PlainSum, opened, pure
from budgets import found as founded
from fedprivacy.crypto import MAC_BYTES, Directory, SigningKey
from fedprivacy.errors import BudgetExhausted
from fedprivacy.flower.records import Answer, Broadcast, Exchange, Hello, Present
from fedprivacy.ledger import BudgetTerms, Charge, ClientBudget, ClientStore
from fedprivacy.rounds import Envelope, Invitation, Refusal
from fedprivacy.rounds.client_state import ClientState, SeatState
from fedprivacy.rounds.messages import MemberEnvelope, MemberRefusal, Summons
from fedprivacy.secagg.ceremony import Admission, GroupKey
from fedprivacy.secagg.homomorphic.client import _State as HomomorphicState
from fedprivacy.secagg.homomorphic.messages import CiphertextChunk, DecryptedSum, EncryptedSum
from fedprivacy.secagg.oneshot.client import RAND_BYTES, OneShotState
from fedprivacy.secagg.oneshot.member_state import DealtState, MemberPhase, MemberState
from fedprivacy.transport.tls import frames as channel
from fedprivacy.wire import Message, Transcript, decode, encode
from oneshotdrive import OneShotDrive, OneShotSum
from rounddrive import house_of, make_plan
from sleepers import Sleeper, moments
from sumdrive import MALICIOUS, SETTINGS, Drive, Sum

ANY = 1 << 30


def kind_of(message):
    """The tag with which a message begins."""
    return msgspec.msgpack.decode(message)[0]


@functools.cache
def kinds():
    """Every message that the package defines, by its tag."""
    found, todo = {}, [Message]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if kind is not Message and kind.__module__.startswith("fedprivacy."):
            found[kind.__struct_config__.tag] = kind
    return found


@functools.cache
def transcript(setting):
    """All that passes in one round of five or six clients, one of whom is lost before the input."""
    passed = Transcript()

    def lose(delivery):
        dies = delivery.client == "c004" and delivery.phase in setting.phases[-3:]
        return () if dies else (delivery,)

    with house_of(setting) as consortium:
        outcome = consortium.drive(channel=lose, transcript=passed).run()
        assert outcome.aggregate is not None or setting.protocol == "plain"
    return passed.entries


@functools.cache
def messages():
    """Honest messages by tag, at least one of every kind."""
    found = defaultdict(set)
    for setting in SETTINGS:
        for entry in transcript(setting):
            found[kind_of(entry.message)].add(entry.message)
            if kind_of(entry.message) == "envelope":
                body = decode(Envelope, entry.message, limit=ANY).body
                found[kind_of(body)].add(body)
    directory = Sum(MALICIOUS).directory
    assert isinstance(directory, Directory)
    found["directory"].add(encode(directory))
    found["refusal"].add(encode(Refusal(bytes(range(32)), 21)))
    found["refusal"].add(encode(Refusal(bytes(32), 200)))
    invited = decode(Invitation, min(found["invitation"]), limit=ANY)
    told = (
        *ledger_rows(),
        *client_rows(),
        *client_states(),
        *one_shot(),
        *of_committees(invited),
        *homomorphic(),
        *in_flower(),
        *in_the_channel(),
    )
    for message in told:
        found[kind_of(message)].add(message)
    return {tag: sorted(found[tag]) for tag in sorted(found)}


@functools.cache
def one_shot():
    """All that passes in one round of one-shot aggregation, but for its long chunks."""
    outcome = OneShotDrive(OneShotSum(clients=2, members=1, threshold=1)).run()
    assert outcome.done is not None
    said = {body for bodies in outcome.sent.values() for body in bodies}
    return sorted(body for body in said if kind_of(body) != "masked-chunk")


def of_committees(invited):
    """What passes between the server and a member, and what a client of such a round keeps."""
    terms = invited.round_plan, invited.membership, invited.directory, invited.ledger
    said = (
        Summons(*terms),
        MemberEnvelope(bytes(range(32)), b"a message of the protocol"),
        MemberRefusal(bytes(32), 21),
        OneShotState(bytes(RAND_BYTES), ()),
        MemberState(MemberPhase.HOLDING, bytes(32), (), (DealtState(2, "c002", 3, bytes(8)),), ()),
        SeatState(invited.round_plan, invited.membership, b"the state of its protocol's member"),
    )
    return [encode(message) for message in said]


def homomorphic():
    """What is said under a key that clients share, and the two parts of its ceremony."""
    said = (
        CiphertextChunk(0, bytes(MAC_BYTES), memoryview(bytes(range(40)))),
        EncryptedSum(("c000", "c001")),
        DecryptedSum(bytes(32)),
        HomomorphicState(sent=True),
        Admission("bfv", bytes(range(32))),
        GroupKey("bfv", bytes(range(32)), bytes(32), b"parameters and a key"),
    )
    return [encode(message) for message in said]


def in_the_channel():
    """The first and last words of both sides of a connection."""
    said = (
        channel.Hello(channel.VERSION, "client", bytes(range(16)), 0),
        channel.Welcome(channel.VERSION, bytes(range(16)), 1, 7, 5000, 1 << 20),
        channel.Close(0),
        channel.Close(103),
    )
    return [encode(message) for message in said]


def in_flower():
    """What strategy and node say to each other inside Flower's messages."""
    frames = (bytes(40), b"a message of the round")
    said = (
        Hello(bytes(range(16)), None, b""),
        Hello(bytes(range(16)), make_plan(protocol="oneshot", committee="size = 4"), b"signed"),
        Present("c001", bytes(32), bytes(64)),
        Exchange(1, frames, b""),
        Exchange(0, frames[1:], b"an encoded broadcast"),
        Answer(frames),
        Answer(()),
        Broadcast("train", "1", bytes(32), "num-examples", ("b", "w"), (("arrays", bytes(32)),)),
    )
    return [encode(message) for message in said]


def ledger_rows():
    """A ledger in which everything happens once, and a head of it."""
    how = {"approver": "board", "reason": "study 12"}
    with opened(founded(":memory:"), epsilon=10.0) as ledger:
        one, two = (ledger.reserve(KEY, RUN, n, 1, [pure(2)]) for n in (1, 2))
        with contextlib.suppress(BudgetExhausted):
            ledger.reserve(KEY, RUN, 3, 1, [pure(20)])
        ledger.journal_unmasking(one)
        ledger.settle(one, [pure(1)])
        ledger.void(two, reason="nobody came")
        ledger.amend_budget(KEY, epsilon=11.0, **how)
        ledger.close_budget(KEY, **how)
        head = ledger.signed_head(SigningKey.from_seed(bytes(32)))
        return [*map(encode, ledger.history().entries), encode(head)]


def client_rows():
    """What a client's store keeps of a charge."""
    terms = BudgetTerms("replace-one", 10.0, 1e-5)
    budget = ClientBudget("cohort-7", "cohort-7", "patient", terms)
    return [Charge.of(budget, [pure(2), pure(3)], PlainSum()).record[-1]]


def client_states():
    """What a client is suspended as at every moment, sealed and open."""
    for setting in SETTINGS:
        with house_of(setting) as house:
            store = house.stores["c001"] = Listening(":memory:")
            store.pin_authority(house.stores["c002"].authority())
            sleeper = Sleeper(house, "c001", naps=moments(setting))
            clients = {n: house.client(n) for n in house.names} | {"c001": sleeper}
            house.drive(clients=clients).run()
            for state in store.states:
                yield state
                if party := decode(ClientState, state, limit=ANY).party:
                    yield party
        yield from sleeper.blobs.values()


class Listening(ClientStore):
    """A store that remembers the states which slept in it."""

    states = ()

    def resume(self, sealed, *, identity):
        state, directory = super().resume(sealed, identity=identity)
        self.states = (*self.states, state)
        return state, directory


@functools.cache
def session(setting, round_id=b"r" * 32):
    """A sum of four that ended well; what each sent, by phase; what each was asked."""
    sent = {}

    def note(name, phase, bodies):
        sent[name, phase] = bodies
        return bodies

    case = Sum(setting, clients=4, round_id=round_id, seed=round_id)
    outcome = Drive(case, tamper=note).run()
    assert outcome.done
    return case, sent, outcome.asked


def bodies(setting, round_id=b"r" * 32):
    """Everything that passed in such a sum, in both directions."""
    _, sent, asked = session(setting, round_id)
    return sorted({b for many in (*sent.values(), *asked.values()) for b in many})
