"""The controls that aggregation among many parties wants, each tried over real TLS.

Named by the checklist of the field's deployed systems: floors at the client (5), replay (6),
collecting once (7), downgrades (8), fresh keys (9), admission (14), strict parsers (15), secrets in
no log and erased (17), reasons of an abort (18). Each attack stands beside its honest twin, which
completes. What goes wrong below the messages of a round, at frames and certificates, has its tests
in `test_tls_bad_peers.py`, `test_tls_sessions.py` and `test_tls_fuzz.py`; what a whole run leaves
on the disk, in `test_tls_secrets.py`.
"""

import dataclasses
from collections import Counter

import msgspec
import pytest

from fedprivacy.crypto import Directory
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import ClientPolicy, Invitation
from fedprivacy.secagg import SERVER, Adversary
from fedprivacy.transport import Delivery
from fedprivacy.transport.tls.frames import Kind, frame
from fedprivacy.transport.tls.hub import Arrived
from fedprivacy.vector import Update
from fedprivacy.wire import decode, encode
from lying_clients import CLIENT_LIES, LIAR, Liar
from rounddrive import make_plan, make_policy
from tlsdrive import LIMITS, Certificates, Network, Raw, Waits, house, wait_until

# Generous: a busy machine must not look like a client that is lost.
CALM = dataclasses.replace(LIMITS, handshake=20.0, heartbeat=3.0)
WAITS = Waits(30.0, 30.0, 10.0)
INVITATION = 1 << 24


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """One authority's, of more clients than any test here has."""
    issued, parties = Certificates(tmp_path_factory.mktemp("ca") / "certs"), house(6)
    for identity in parties.identities.values():
        issued.client(identity)
    return issued


@pytest.fixture
def up(certificates, tmp_path):
    """Makes a network of which all are connected, and takes it down."""
    networks = []

    def make(parties, *, waits=WAITS, join=True, limits=CALM):
        network = Network(parties, tmp_path, waits=waits, certificates=certificates, limits=limits)
        networks.append(network)
        if join:
            network.join()
        return network

    yield make
    for network in networks:
        network.__exit__()


def on_the_disk(folder, clients=4, **named):
    (folder / "anchors").mkdir()
    return house(clients, folder=folder, **named)


def tag_of(message):
    """The kind of the protocol's message in an envelope; of any other message, its own."""
    kind, *fields = msgspec.msgpack.decode(message)
    return msgspec.msgpack.decode(fields[1])[0] if kind == "envelope" else kind


class Heard:
    """Every message that the server's hub hands on."""

    def __init__(self, network):
        self.messages, take = [], network.hub.next

        def listening(timeout):
            event = take(timeout)
            if isinstance(event, Arrived):
                self.messages.append((event.client, event.message))
            return event

        network.hub.next = listening

    def bodies(self, kind):
        for client, message in self.messages:
            if tag_of(message) == kind:
                yield client, msgspec.msgpack.decode(msgspec.msgpack.decode(message)[2])


def saying(network, name, change):
    """What this client sends is `change(message)`: a list of messages."""
    link = network.joined[name][0].link
    send = link.send

    def changed(session, message):
        for said in change(message):
            send(session, said)

    link.send = changed


def leaves_after(network, name, messages):
    """This client goes for good once so many of its messages are dealt with."""
    link, sent = network.joined[name][0].link, []
    send = link.send

    def leaving(session, message):
        send(session, message)
        sent.append(message)
        if len(sent) == messages:
            link.close(flush=5.0)

    link.send = leaving


def complete(network, number=1, survivors=None, **named):
    """A round that ends in the exact sum over these."""
    outcome = network.round(number, **named)
    network.house.assert_exact(outcome)
    assert set(outcome.survivors) == set(survivors or network.house.names)
    return outcome


def refused_by_all(network, reasons, number=1, **named):
    """A round that everyone declines for one of these reasons."""
    outcome = network.round(number, **named)
    assert outcome.aggregate is None
    assert set(outcome.refused) == set(network.house.names)
    assert set(outcome.refused.values()) <= reasons
    return outcome


class Test05ClientsHaveFloorsOfTheirOwn:
    """The least cohort and the least threshold are the client's, whatever the plan says."""

    def test_a_cohort_below_the_floor_is_refused(self, up):
        refused_by_all(up(house(4, policy=make_policy(floor=6))), {Reason.POLICY_COHORT})

    def test_a_threshold_below_the_floor_is_refused(self, up):
        policy = make_policy(more="threshold = 4")
        refused_by_all(up(house(4, policy=policy)), {Reason.POLICY_THRESHOLD})

    def test_at_both_floors_the_round_completes(self, up):
        policy = make_policy(floor=4, more="threshold = 4")
        complete(up(house(4, plan=make_plan(min_clients=4, threshold=4), policy=policy)))

    def test_no_plan_and_no_policy_has_a_floor_of_one(self):
        with pytest.raises(ConfigurationError, match="at least 2"):
            make_plan(min_clients=1)
        with pytest.raises(ConfigurationError, match=">= 2"):
            make_policy(floor=1)
        assert ClientPolicy.parse('schema = "fedprivacy/policy/1"').require.aggregation


class Test06NothingIsTakenTwice:
    """An attempt, and a message in it. A session's id, a frame's place: test_tls_bad_peers.py."""

    def test_an_attempt_that_was_begun_is_refused_and_the_next_round_is_not(self, up, tmp_path):
        network = up(on_the_disk(tmp_path))
        complete(network, 1)
        refused_by_all(network, {Reason.ROUND_SEEN, Reason.ANSWERED}, 1)
        complete(network, 2)

    @pytest.mark.parametrize("kind", ["key-advertisement", "sealed-shares"])
    def test_a_message_that_is_sent_again_costs_its_sender_its_place(self, kind, up):
        network = up(house(5))
        saying(network, "c002", lambda m: [m, m] if tag_of(m) == kind else [m])
        outcome = complete(network, survivors=set(network.house.names) - {"c002"})
        # Where everyone has answered by then, it is none of the next phase's messages.
        assert outcome.excluded["c002"].reason in (Reason.DUPLICATE, Reason.MALFORMED)

    def test_two_rounds_with_the_same_content_have_ids_of_their_own(self, up):
        parties = house(3)
        plans = [parties.round_plan(number, attempt) for number in (1, 2) for attempt in (1, 2)]
        assert len({plan.round_id for plan in plans}) == len({plan.nonce for plan in plans}) == 4


class Test07ASumIsCollectedOnce:
    def test_a_report_that_comes_after_the_sum_counts_for_nothing(self, up):
        network = up(house(4))
        heard, late = Heard(network), network.house.names[0]
        complete(network, 1)
        link = network.joined[late][0].link
        for client, message in tuple(heard.messages):
            if client == late:
                link.send(link.session, message)
        complete(network, 2)

    def test_an_input_after_its_phase_is_late_and_in_no_sum(self, up):
        """It is held back until the survivors are fixed, and then sent with the next message."""
        network, held = up(house(5), waits=Waits(30.0, 2.0, 10.0)), []

        def late(message):
            if tag_of(message) in ("masked-chunk", "masked-input"):
                held.append(message)
                return []
            return [*held, message] if held else [message]

        saying(network, "c002", late)
        released = []

        def observe(meter):
            if meter.phase == "input" and not released:
                released.append(True)
                link = network.joined["c002"][0].link
                for message in held:
                    type(link).send(link, link.session, message)

        outcome = complete(network, survivors=set(network.house.names) - {"c002"}, observe=observe)
        assert held
        assert released
        assert outcome.excluded["c002"].reason is Reason.LATE

    def test_a_second_query_at_a_round_that_was_answered_is_refused(self, up, tmp_path):
        """Over fewer clients, as attempt 2: the difference would tell one."""
        network = up(on_the_disk(tmp_path, 5))
        first = complete(network, 1)
        assert first.unmasking_requested
        again = network.round(1, 2, members=network.house.names[:4])
        assert again.aggregate is None
        assert again.refused == dict.fromkeys(network.house.names[:4], Reason.ANSWERED)

    def test_a_second_attempt_where_nothing_was_answered_completes(self, up, tmp_path):
        network = up(on_the_disk(tmp_path, 5))
        for name in network.house.names[:3]:
            saying(network, name, lambda m: [] if tag_of(m) == "sealed-shares" else [m])
        network.waits = Waits(2.5, 30.0, 10.0)
        assert network.round(1).aggregate is None
        for name in network.house.names[:3]:
            del network.joined[name][0].link.send
        network.waits = WAITS
        complete(network, 1, attempt=2)


class Test08ParametersAreBound:
    """TLS 1.2 and another version of the channel: test_tls_bad_peers.py."""

    def test_a_weaker_adversary_than_the_policy_wants_is_refused(self, up):
        plan = make_plan(adversary=Adversary.HONEST_BUT_CURIOUS)
        parties = house(4, plan=plan, policy=make_policy(Adversary.MALICIOUS))
        refused_by_all(up(parties), {Reason.POLICY_ADVERSARY})

    def test_a_round_without_masks_is_refused(self, up):
        plan = make_plan(adversary=Adversary.HONEST_BUT_CURIOUS, protocol="plain", corrupt=0)
        parties = house(4, plan=plan, policy=make_policy(Adversary.HONEST_BUT_CURIOUS))
        refused_by_all(up(parties), {Reason.POLICY_PROTOCOL})

    @pytest.mark.parametrize(
        ("change", "reason"),
        [({"version": 2}, Reason.CODEPOINT), ({"threshold": 2}, Reason.QUORUM)],
    )
    def test_an_invitation_to_weaker_terms_is_refused(self, change, reason, up):
        network = up(house(5))
        told = {"c001"}
        outcome = self.misled(network, told, change)
        participant, _ = network.joined["c001"]
        wait_until(lambda: participant.error)
        assert participant.error.reason is reason
        assert set(outcome.survivors) == set(network.house.names) - told

    def test_who_is_told_another_plan_is_in_no_round_with_the_others(self, up):
        """It accepts: but keys, boxes and signatures are bound to another round's id."""
        network = up(house(5))
        outcome = self.misled(network, {"c001"}, {"nonce": b"another-nonce-16"})
        assert set(outcome.survivors) == set(network.house.names) - {"c001"}

    def test_who_is_told_the_same_is(self, up):
        assert self.misled(up(house(5)), {"c001"}, {}).survivors == house(5).names

    @staticmethod
    def misled(network, told, change):
        """A round in which these clients' invitations name another plan."""
        send = network.hub.send

        def lying(client, message, *, timeout):
            if client in told and tag_of(message) == "invitation":
                shown = decode(Invitation, message, limit=INVITATION)
                plan = msgspec.structs.replace(shown.round_plan, **change)
                message = encode(msgspec.structs.replace(shown, round_plan=plan))
            send(client, message, timeout=timeout)

        network.hub.send = lying
        for name in told if change else ():
            leaves_after(network, name, 1)
        outcome = network.round()
        network.house.assert_exact(outcome)
        return outcome


class Stuck:
    """A source that gives the same in every round: what a client must never have."""

    def __init__(self, seed):
        self.seed = seed

    def bytes(self, count):
        return InsecureTestRng(self.seed).bytes(count)

    def child(self, _purpose):
        return self


class Test09KeysLiveForOneRound:
    @staticmethod
    def reused(network, rounds):
        """Public keys that anyone sent more than once in these rounds."""
        heard = Heard(network)
        for number in rounds:
            complete(network, number)
        keys = [key for _, body in heard.bodies("key-advertisement") for key in body[1:3]]
        assert len(keys) == 2 * len(rounds) * len(network.house.names)
        return {key for key, times in Counter(keys).items() if times > 1}

    def test_every_round_has_keys_of_its_own_and_every_session_an_id(self, up):
        network = up(house(4))
        assert not self.reused(network, (1, 2, 3))
        assert len(network.sessions) == 4

    def test_keys_that_are_used_again_are_detected(self, up):
        network = up(house(4))
        network.joined["c001"][0].rng = Stuck(3)
        assert len(self.reused(network, (1, 2))) == 2

    @pytest.mark.parametrize("stuck", [False, True])
    def test_no_mask_is_expanded_from_a_seed_that_was_used(self, stuck, up, monkeypatch):
        """Even of a client whose source fails: the session is in each seed."""
        import fedprivacy.secagg.masking.client as client_module

        seeds = []
        for name in ("self_seed", "pairwise_seed"):
            original = getattr(client_module, name)

            def derived(*args, original=original):
                seeds.append(original(*args))
                return seeds[-1]

            monkeypatch.setattr(client_module, name, derived)
        network = up(house(4))
        if stuck:
            network.joined["c001"][0].rng = Stuck(3)
        for number in (1, 2):
            complete(network, number)
        # Two have each pairwise seed: one of the pair adds its mask, the other takes it off.
        uses = Counter(seeds)
        assert len(uses) == 2 * (4 + 6)
        assert max(uses.values()) == 2


class Test14OnlyWhoIsEnrolledIsAdmitted:
    """One connection a client, whatever it holds: test_tls_bad_peers.py."""

    def test_who_is_not_enrolled_or_comes_too_often_is_turned_away(self, up):
        limits = dataclasses.replace(CALM, connects=2.0)
        network = up(house(4), limits=limits, join=False)
        left_out = network.house.names[-1]
        network.hub._directory = Directory(
            1, network.directory.entries[:-1], network.directory.signature
        )
        reasons = []
        for name in (left_out, *network.house.names[:1] * 3):
            with Raw(network, network.certificates.of(name)) as peer:
                peer.hello(version=9)
                reasons.append(peer.closed())
        rated = [Reason.CHANNEL_VERSION] * 2 + [Reason.CHANNEL_RATE]
        assert reasons == [Reason.CHANNEL_IDENTITY, *rated]

    def test_the_others_are_served_while_one_is_turned_away(self, up):
        limits = dataclasses.replace(CALM, connects=2.0)
        network = up(house(4), limits=limits)
        for _ in range(3):
            with Raw(network, network.certificates.of("c000")) as peer:
                peer.hello(b"x" * 16)
                assert peer.closed() in (Reason.CHANNEL_BUSY, Reason.CHANNEL_RATE)
        complete(network)

    def test_no_certificate_makes_a_second_client_of_one_identity(self, up):
        network = up(house(4))
        files = network.certificates.client(network.house.identities["c000"], name="sybil")
        with Raw(network, files) as peer:
            peer.hello(b"x" * 16)
            assert peer.closed() is Reason.CHANNEL_BUSY
        complete(network)


MANGLED = {
    "cut short": lambda m: m[:-1],
    "with more behind it": lambda m: m + b"\x00",
    "another end": lambda m: m[:-1] + b"\x00\x00",
    "nested for ever": lambda _: b"\x91" * 10_000,
    "a pickle": lambda _: b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00K\x01.",
}


class Test15ParsersAreStrict:
    """Frames, fuzzed: test_tls_sessions.py, test_tls_fuzz.py."""

    @pytest.mark.parametrize("mangle", MANGLED.values(), ids=list(MANGLED))
    def test_a_message_that_no_client_sends_costs_its_sender_alone(self, mangle, up):
        network = up(house(5))
        saying(network, "c002", lambda m: [mangle(m)])
        outcome = complete(network, survivors=set(network.house.names) - {"c002"})
        assert outcome.excluded["c002"].reason in (Reason.MALFORMED, Reason.NON_CANONICAL)
        assert outcome.excluded["c002"].culprits == ("c002",)

    def test_the_same_message_as_it_was_is_taken(self, up):
        network = up(house(5))
        saying(network, "c002", lambda m: [m])
        complete(network)

    def test_a_message_above_what_the_plan_allows_ends_at_its_first_frame(self, up):
        network = up(house(3), join=False)
        most = network.hub._message_limit
        for size, is_taken in ((most, True), (most + 1, False)):
            with Raw(network, network.certificates.of("c000")) as peer:
                peer.hello(bytes(15) + bytes([is_taken]))
                assert peer.frame()[0] is Kind.WELCOME
                head = bytes(7) + b"\x01" + size.to_bytes(4, "big")
                peer.send(frame(Kind.MESSAGE, head, b"x") + frame(Kind.PING, b"malformed"))
                assert peer.closed() is (Reason.MALFORMED if is_taken else Reason.OVERSIZED)


class Test17SecretsAreErased:
    """What is logged and left on the disk: test_tls_secrets.py."""

    def test_after_its_answer_a_client_holds_no_secret(self, up):
        network, kept = up(house(4)), {}

        def look(message):
            secrets = network.joined["c001"][0]._client._party._secrets
            kept[tag_of(message)] = bytes(secrets.rand), dict(secrets.held)
            return [message]

        saying(network, "c001", look)
        complete(network)
        assert any(kept["key-advertisement"][0])
        assert kept["consistency-signature"][1]
        # Its shares leave when they are erased here.
        assert kept["unmask-shares"] == (bytes(len(kept["unmask-shares"][0])), {})

    def test_nor_does_one_that_had_to_leave(self, up):
        network = up(house(5))
        participant, clients = network.joined["c001"][0], []

        def too_short(client):
            clients.append(client)
            return Update(network.house.updates["c001"][:3])

        participant.train = too_short
        leaves_after(network, "c001", 2)
        complete(network, survivors=set(network.house.names) - {"c001"})
        assert clients[0].has_left
        assert not any(clients[0]._party._secrets.rand)


PHASES = {
    "keys": "key-advertisement",
    "shares": "sealed-shares",
    "input": "masked-chunk",
    "consistency": "consistency-signature",
    "unmasking": "unmask-shares",
}
NAMED = ["weak-key", "wrong-checksum", "bits-after-the-last-value", "wrong-share", "withheld-share"]


class Test18AnAbortHasItsReason:
    """And whom it was traced to. Reasons of a connection's end: test_tls_bad_peers.py."""

    @pytest.mark.parametrize("phase", PHASES)
    def test_too_few_are_left_in_a_phase(self, phase, up):
        network = up(house(4))
        for name in network.house.names[:2]:
            link = network.joined[name][0].link

            def leaves(message, link=link):
                if tag_of(message) == PHASES[phase]:
                    link.close(flush=0.0)
                    return []
                return [message]

            saying(network, name, leaves)
        outcome = network.round()
        assert outcome.aggregate is None
        assert outcome.error.reason is Reason.TOO_FEW
        assert outcome.error.exit_code == 5
        assert outcome.phases[-1].phase == phase
        assert set(outcome.phases[-1].lost) == set(network.house.names[:2])

    def test_as_many_as_are_needed_are_enough(self, up):
        network = up(house(4))
        network.joined["c003"][0].link.close(flush=0.0)
        complete(network, survivors=network.house.names[:3])

    @pytest.mark.parametrize("name", NAMED)
    def test_a_liar_is_named_with_its_reason(self, name, up):
        lie, network = CLIENT_LIES[name], up(house(5))
        liar, others = Liar(network.house, lie.script), Heard(network)

        def told(message):
            for _, heard in others.messages:
                liar(Delivery("c000", SERVER, "", heard))
            return [d.message for d in liar(Delivery(LIAR, SERVER, "", message))]

        saying(network, LIAR, told)
        outcome = network.round()
        network.house.assert_exact(outcome)
        assert {n: e.reason for n, e in outcome.excluded.items()} == {LIAR: lie.reason}
        assert outcome.excluded[LIAR].culprits == (LIAR,)

    def test_a_client_that_declines_says_why(self, up):
        network = up(house(4, policy=make_policy(floor=6)))
        outcome = network.round()
        assert set(outcome.refused.values()) == {Reason.POLICY_COHORT}
        for participant, _ in network.joined.values():
            wait_until(lambda party=participant: party.error)  # it is told before it is noted
            assert participant.error.reason is Reason.POLICY_COHORT

    def test_every_reason_that_is_told_is_registered(self, up):
        network = up(house(3), join=False)
        with Raw(network, network.certificates.of("c000")) as peer:
            peer.hello(version=7)
            told = peer.closed()
        assert told is Reason.CHANNEL_VERSION
        assert isinstance(network.refused[-1][1], PeerError)
        assert network.refused[-1][1].reason is told
