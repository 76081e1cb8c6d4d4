"""A client of a sum may leave memory between any two messages, and goes on exactly where it was."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.secagg import SERVER
from fedprivacy.secagg.masking import ClientPhase
from fedprivacy.secagg.masking.client_secrets import RAND_FIELDS
from fedprivacy.secagg.masking.client_state import MaskingState
from fedprivacy.wire import decode
from oracle import came, wanted
from secretscan import Scanner
from sleepers import HOLDING, Napper, moments
from sumdrive import (
    CURIOUS,
    MALICIOUS,
    MASKED,
    PLAIN,
    PLUS_CURIOUS,
    PLUS_SEMI,
    SETTINGS,
    Drive,
    Sum,
)

EXAMPLES = settings.default.max_examples
KEPT = {
    "keys": set(RAND_FIELDS),
    "shares": {"mask_private", "seed"},
    HOLDING: {"mask_private", "seed"},
    "sent": set(),
    "consistency": set(),
}
"""The client's own secrets that it still needs."""


def run(case, naps, sent=None):
    """What came of a sum in which each client naps at `naps(name)`, and all that was sent."""
    passed = []

    def note(name, phase, bodies):
        passed.append((name, phase, *bodies))
        return bodies

    case.parties = {name: Napper(case, name, naps(name)) for name in case.names}
    outcome = Drive(case, sent or {}, tamper=note).run()
    assert not outcome.refused
    assert not outcome.failed
    return outcome, passed


@pytest.mark.parametrize("lost", [None, 1, 2, 3, 4], ids=str)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_everybody_naps_between_any_two_messages_and_says_the_same(setting, lost):
    sent = {} if lost is None else {"c003": lost}
    case = Sum(setting, clients=5)
    outcome, passed = run(case, lambda _: moments(setting), sent)
    assert came(outcome) == wanted(case, dict.fromkeys(case.names, 99) | sent, outcome)
    awake = run(Sum(setting, clients=5), lambda _: (), sent)
    assert (outcome.asked, passed) == (awake[0].asked, awake[1])
    napped = {moment for party in case.parties.values() for moment in party.states}
    assert napped == set(moments(setting))


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@given(data=st.data())
@settings(max_examples=EXAMPLES // 4)
def test_any_of_them_naps_at_any_moments_whoever_is_lost(setting, data):
    case = Sum(setting, clients=5, seed=data.draw(st.integers(0, 1000), label="seed"))
    some = st.sets(st.sampled_from(moments(setting)))
    naps = {name: data.draw(some, label=name) for name in case.names}
    fate = st.sampled_from([99, 99, 99, *range(len(setting.phases) + 1)])
    sent = {name: data.draw(fate) for name in case.names}
    outcome, _ = run(case, naps.get, sent)
    assert came(outcome) == wanted(case, sent, outcome)


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_a_state_holds_of_its_own_secrets_those_alone_that_are_needed(setting):
    case = Sum(setting, clients=4)
    run(case, lambda _: moments(setting))
    for name, party in case.parties.items():
        rand = case.rand[name]
        own = {field: rand[32 * i : 32 * i + 32] for i, field in enumerate(RAND_FIELDS)}
        scanner = Scanner(own)
        for moment, state in party.states.items():
            assert {field for field, _, _ in scanner.find(state)} == KEPT[moment]
            peers = decode(MaskingState, state, limit=len(state)).peers
            assert all(bool(p.channel) == (moment == "shares") for p in peers)
            assert all(bool(p.held) == (moment not in {"keys", "shares"}) for p in peers)
            acknowledges = setting is PLUS_SEMI and moment in {"shares", HOLDING}
            assert all(bool(p.acknowledgement) == acknowledges for p in peers)


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_what_is_needed_no_more_is_erased_in_memory_as_well(setting):
    case = Sum(setting, clients=4)
    seen = {}

    def look(name, phase):
        secrets = case.parties["c001"]._secrets
        kept = {f for i, f in enumerate(RAND_FIELDS) if any(secrets._rand[32 * i : 32 * i + 32])}
        pairs = set(secrets._pairs)
        seen[phase] = kept, pairs, bool(secrets.channels), bool(secrets.acknowledgements)

    drive = Drive(case)
    drive.after_receive = look
    assert drive.run().done
    pairs = {"seal_private", "mask_private"}
    acknowledges = setting is PLUS_SEMI
    assert seen["keys"] == (set(RAND_FIELDS), pairs, False, False)
    assert seen["shares"] == (KEPT["shares"], {"mask_private"}, True, acknowledges)
    assert seen["input"] == (set(), set(), False, False)


def states_of(setting, **named):
    case = Sum(setting, **named)
    run(case, lambda _: moments(setting))
    return {moment: len(state) for moment, state in case.parties["c001"].states.items()}


@pytest.mark.parametrize("setting", [MALICIOUS, CURIOUS], ids=str)
def test_a_state_grows_by_a_constant_with_each_member(setting):
    few, more, most = (states_of(setting, clients=n) for n in (16, 24, 40))
    for moment in moments(setting)[1:]:
        assert most[moment] - more[moment] == 2 * (more[moment] - few[moment])
        assert more[moment] - few[moment] <= 8 * 165
    assert few["keys"] == most["keys"] < 200


@pytest.mark.parametrize("setting", [PLUS_SEMI, PLUS_CURIOUS], ids=str)
def test_a_state_on_a_ring_does_not_grow_with_the_cohort(setting):
    rings = {"degree": 6, "threshold": 5, "dropped": 0}
    few, most = (states_of(setting, clients=n, **rings) for n in (10, 40))
    assert few == most
    assert max(few.values()) < 200 + 7 * 215


def test_a_client_of_the_plain_protocol_has_no_state():
    case = Sum(PLAIN)
    assert case.client("c001").suspend() == b""
    with pytest.raises(PeerError) as caught:
        case.resumed("c001", b"\x90")
    assert caught.value.reason is Reason.MALFORMED
    party = case.client("c001")
    list(party.contribute(case.vectors["c001"]))
    with pytest.raises(ConfigurationError, match="has ended"):
        party.suspend()


def refuses_to_nap(party, said):
    before = party.phase
    with pytest.raises(ConfigurationError, match=said):
        party.suspend()
    assert party.phase is before


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_nobody_naps_while_something_is_under_way(setting):
    """Whoever was refused goes on as if nothing had been asked."""
    case = Sum(setting, clients=4)
    party = case.parties["c001"]
    receive, refused = party.receive, []

    def tried(sender, message):
        for effect in receive(sender, message):
            refused.append(party.phase)
            if party.phase in {ClientPhase.SENDING, ClientPhase.ANSWERING, ClientPhase.ENDED}:
                refuses_to_nap(party, f"in phase {party.phase.value}")
            yield effect
        if party.phase in {ClientPhase.ADVERTISED, ClientPhase.DEALT}:
            refuses_to_nap(party, "a contributed vector waits for its time: suspend before")

    party.receive = tried
    refuses_to_nap(party, "in phase new")
    outcome = Drive(case).run()
    assert outcome.done.total.tolist() == case.exact(case.names).tolist()
    assert {ClientPhase.SENDING, ClientPhase.ANSWERING, ClientPhase.ENDED} <= set(refused)


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_a_client_that_was_suspended_is_dead(setting):
    case = Sum(setting, clients=4)
    party = case.client("c001")
    list(party.start())
    party.suspend()
    assert party.phase is ClientPhase.FAILED
    assert not any(party._secrets._rand)
    for deed in (lambda: party.receive(SERVER, b"\x90"), party.start):
        with pytest.raises(PeerError) as caught:
            list(deed())
        assert caught.value.reason is Reason.UNEXPECTED
    with pytest.raises(ConfigurationError, match="takes no vector"):
        list(party.contribute(case.vectors["c001"]))
    refuses_to_nap(party, "in phase failed")


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_no_text_of_a_state_shows_a_secret(setting):
    case = Sum(setting, clients=4)
    run(case, lambda _: moments(setting))
    for party in case.parties.values():
        for state in party.states.values():
            found = decode(MaskingState, state, limit=len(state))
            secrets = {f"rand {i}": found.rand[i : i + 32] for i in range(0, 160, 32)}
            for peer in found.peers:
                secrets[f"channel {peer.index}"] = peer.channel
                secrets[f"acknowledgement {peer.index}"] = peer.acknowledgement
                for i, part in enumerate(
                    (*peer.held.shares, *peer.held.salts) if peer.held else ()
                ):
                    secrets[f"held {peer.index} {i}"] = part
            scanner = Scanner(
                {name: s for name, s in secrets.items() if any(s)} or {"0": b"0" * 32}
            )
            texts = [repr(found), str(found), repr(found.peers)]
            texts += [repr(peer.held) for peer in found.peers]
            assert scanner.find("".join(texts)) == []
