"""A client against a server that may send anything, in any order, as often as it likes.

Whatever comes, only `PeerError` comes out; whoever was once refused, or has ended, is dead and has
forgotten its secrets; and of each dealer at most one of the two secrets is ever revealed, once.
"""

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.secagg import SERVER, ClientParty, Done, Mark, Persist, Send, SendChunk
from fedprivacy.secagg.masking import ClientPhase
from fedprivacy.secagg.masking.messages import UnmaskShares
from fedprivacy.wire import decode
from honest import bodies, session
from hostile import fuzz, mutations, noise
from sumdrive import CURIOUS, MALICIOUS, MASKED, PLUS_CURIOUS, PLUS_SEMI, Sum

ME = "c001"
OTHER_ROUND = b"o" * 32
ANSWERS = (b"consistency-signature", b"inclusion-signatures", b"unmask-shares")
STAGES = {s: len(session(s)[2][ME]) for s in MASKED}


def client_at(setting, stage):
    """A client that has taken the first messages of an honest session, and those messages."""
    case, _, asked = session(setting)
    party = case.client(ME)
    list(party.contribute(case.vectors[ME]))
    list(party.start())
    for message in asked[ME][:stage]:
        list(party.receive(SERVER, message))
    return party, asked[ME]


def is_forgotten(party):
    return not any(party._secrets._rand) and not party._secrets.held and party._source is None


def foreign(setting):
    """What this client could be sent out of place: all that passed here and in another round."""
    return [*bodies(setting), *bodies(setting, OTHER_ROUND)]


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_any_message_is_answered_or_refused_for_good(setting):
    @fuzz(setting)
    @given(data=st.data())
    def tell(data):
        stage = data.draw(st.integers(0, STAGES[setting]), label="stage")
        party, asked = client_at(setting, stage)
        others = foreign(setting)
        honest = asked[min(stage, len(asked) - 1)]
        message = data.draw(
            st.one_of(
                mutations(honest, asked),
                mutations(honest, others),
                mutations(honest),
                st.sampled_from(others),
                noise,
            ),
            label="message",
        )
        sender = data.draw(
            st.sampled_from([SERVER, SERVER, SERVER, "c000", ME, ""]), label="sender"
        )
        try:
            effects = list(party.receive(sender, message))
        except PeerError as error:
            note(str(error))
            assert is_forgotten(party)
            ended = stage == STAGES[setting]
            assert party.phase is (ClientPhase.ENDED if ended else ClientPhase.FAILED)
            with pytest.raises(PeerError) as caught:
                list(party.receive(SERVER, honest))
            assert caught.value.reason is (Reason.ANSWERED if ended else Reason.UNEXPECTED)
        else:
            assert sender == SERVER
            answered = [e for e in effects if isinstance(e, Done)]
            assert bool(answered) == (party.phase is ClientPhase.ENDED)
            # Between its input and its end it may hold nothing, too, if no box opened.
            assert is_forgotten(party) if answered else party.phase is not ClientPhase.FAILED

    tell()


class Hounded(RuleBasedStateMachine):
    """One client, and a server that has seen two sessions of it and everybody's messages."""

    setting = None

    def __init__(self):
        super().__init__()
        case, _, self.asked = session(self.setting)
        self.vector = case.vectors[ME]
        self.party: ClientParty = case.client(ME)
        self.effects = []

    @initialize(stage=st.integers(-1, 3))
    def begin(self, stage):
        """An honest server up to some phase: from the start alone, the end is seldom reached."""
        if stage < 0:
            return
        self.carry_out(self.party.contribute(self.vector))
        self.carry_out(self.party.start())
        for message in self.asked[ME][: min(stage, STAGES[self.setting] - 1)]:
            self.carry_out(self.party.receive(SERVER, message))

    def carry_out(self, effects):
        was_dead = self.party.phase in {ClientPhase.ENDED, ClientPhase.FAILED}
        before = len(self.effects)
        try:
            for effect in effects:
                self.effects.append(effect)
        except PeerError:
            assert is_forgotten(self.party)
            assert self.party.phase in {ClientPhase.ENDED, ClientPhase.FAILED}
        if was_dead:
            assert len(self.effects) == before

    @rule()
    def start(self):
        self.carry_out(self.party.start())

    @rule()
    def contribute(self):
        try:
            self.carry_out(self.party.contribute(self.vector))
        except ConfigurationError:
            assert is_forgotten(self.party)  # a misuse of this side's own kills as well

    @precondition(lambda self: self.party.phase is not ClientPhase.NEW)
    @rule(step=st.sampled_from(range(4)))
    def honest(self, step):
        asked = self.asked[ME]
        self.carry_out(self.party.receive(SERVER, asked[min(step, len(asked) - 1)]))

    @rule()
    def next(self):
        """What an honest server would send now, so that some runs reach the end."""
        step = {"keys": 0, "shares": 1, "sent": 2, "consistency": 3}
        at = step.get(self.party.phase.value)
        if at is not None:
            self.carry_out(self.party.receive(SERVER, self.asked[ME][at]))

    @rule(data=st.data())
    def hostile(self, data):
        asked = self.asked[data.draw(st.sampled_from(sorted(self.asked)))]
        message = data.draw(st.sampled_from(asked))
        self.carry_out(self.party.receive(SERVER, data.draw(mutations(message, asked))))

    @rule(data=st.data())
    def out_of_place(self, data):
        message = data.draw(st.sampled_from(foreign(self.setting)))
        self.carry_out(self.party.receive(SERVER, message))

    @rule()
    def cut_short(self):
        """The driver pulls one effect of an answer and no more: that ends the client."""
        step = {"keys": 0, "shares": 1, "sent": 2, "consistency": 3}
        at = step.get(self.party.phase.value)
        if at is None:
            return
        answer = self.party.receive(SERVER, self.asked[ME][at])
        effect = next(answer, None)
        if effect is None:  # shares may come before the vector: nothing to say yet
            return
        self.effects.append(effect)
        answer.close()
        assert is_forgotten(self.party)

    @invariant()
    def each_thing_leaves_once_and_after_its_mark(self):
        marks = [e.mark for e in self.effects if isinstance(e, Persist)]
        assert len(set(marks)) == len(marks)
        seen = set()
        for effect in self.effects:
            if isinstance(effect, Persist):
                seen.add(effect.mark)
            if isinstance(effect, SendChunk):
                assert Mark.SPENT in seen
            elif isinstance(effect, Send):
                tag = effect.message[1:40]
                if b"masked-input" in tag:
                    assert Mark.SPENT in seen
                if any(answer in tag for answer in ANSWERS):
                    assert Mark.ANSWERED in seen

    @invariant()
    def one_share_of_each_dealer_is_revealed_once(self):
        revealed = [
            decode(UnmaskShares, e.message, limit=1 << 20)
            for e in self.effects
            if isinstance(e, Send) and b"unmask-shares" in e.message[1:40]
        ]
        assert len(revealed) <= 1
        for answer in revealed:
            dealers = [opened.dealer for opened in answer.shares]
            assert len(set(dealers)) == len(dealers)

    @invariant()
    def the_dead_have_forgotten(self):
        if self.party.phase in {ClientPhase.ENDED, ClientPhase.FAILED}:
            assert is_forgotten(self.party)


def machine(setting):
    name = f"Hounded{setting}".title().replace("-", "").replace("+", "Plus")
    test = type(name, (Hounded,), {"setting": setting}).TestCase
    test.settings = settings(
        max_examples=settings.default.max_examples, deadline=None, stateful_step_count=12
    )
    return test


TestAgainstALyingServer = machine(MALICIOUS)
TestAgainstACuriousServer = machine(CURIOUS)
TestOnARingAgainstALyingServer = machine(PLUS_SEMI)
TestOnARingAgainstACuriousServer = machine(PLUS_CURIOUS)


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_the_recorded_session_is_one_that_ends(setting):
    party, asked = client_at(setting, STAGES[setting])
    assert len(asked) == STAGES[setting] == len(setting.phases) - 1
    assert party.phase is ClientPhase.ENDED
    assert is_forgotten(party)


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_a_client_is_used_once(setting):
    party, asked = client_at(setting, STAGES[setting])
    for message in (*asked, b"", b"anything"):
        with pytest.raises(PeerError) as caught:
            list(party.receive(SERVER, message))
        assert caught.value.reason is Reason.ANSWERED
    with pytest.raises(PeerError):
        list(party.start())
    with pytest.raises(ConfigurationError):
        list(party.contribute(Sum(setting).vectors[ME]))
    assert party.phase is ClientPhase.ENDED


@pytest.mark.parametrize("setting", MASKED, ids=str)
@pytest.mark.parametrize("stage", range(4))
def test_a_client_that_failed_takes_nothing_more(setting, stage):
    stage = min(stage, STAGES[setting] - 1)
    party, asked = client_at(setting, stage)
    with pytest.raises(PeerError) as caught:
        list(party.receive(SERVER, b"\xc1"))
    assert caught.value.reason is Reason.MALFORMED
    assert is_forgotten(party)
    for message in asked:
        with pytest.raises(PeerError) as caught:
            list(party.receive(SERVER, message))
        assert caught.value.reason is Reason.UNEXPECTED
    assert party.phase is ClientPhase.FAILED


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_only_the_server_speaks_to_a_client(setting):
    for stage in range(STAGES[setting]):
        party, asked = client_at(setting, stage)
        with pytest.raises(PeerError) as caught:
            list(party.receive("c000", asked[stage]))
        assert caught.value.reason is Reason.UNKNOWN_SENDER
        assert is_forgotten(party)
