"""Whole rounds in which one client's messages are not what it should send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.errors import Reason
from fedprivacy.rounds import Refusal
from fedprivacy.secagg import SERVER
from fedprivacy.transport import Delivery
from fedprivacy.wire import Transcript, encode
from honest import messages
from hostile import fuzz, mutations, noise
from rounddrive import Consortium, Forgetful, house_of, make_plan
from sumdrive import MASKED, SETTINGS


def consortium(setting):
    return house_of(setting, seed=2, store_at=lambda name: Forgetful())


class Wire:
    """A channel that spoils one client's n-th message, or adds to it."""

    def __init__(self, bad, at, spoil):
        self.bad, self.left, self.spoil = bad, at, spoil
        self.seen = []
        self.phase = None

    def __call__(self, delivery):
        if delivery.sender != self.bad:
            if delivery.recipient == SERVER:
                self.seen.append(delivery.message)
            return (delivery,)
        self.left -= 1
        if self.left != -1:
            return (delivery,)
        self.phase = delivery.phase
        return [
            Delivery(self.bad, SERVER, delivery.phase, message)
            for message in self.spoil(delivery.message, self.seen)
        ]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_others_get_their_exact_sum(setting):
    @fuzz(setting, "fuzz-rounds")
    @given(data=st.data())
    def spoil_one(data):
        def spoil(honest, seen):
            others = [*seen, *(m for many in messages().values() for m in many[:2])]
            hostile = data.draw(
                st.one_of(
                    mutations(honest, others), mutations(honest), st.sampled_from(others), noise
                ),
                label="hostile",
            )
            before, after = data.draw(st.sampled_from([(0, 0), (1, 0), (0, 1)]), label="honest too")
            return [*[honest] * before, hostile, *[honest] * after]

        with consortium(setting) as house:
            bad = data.draw(st.sampled_from(house.names), label="bad")
            at = data.draw(st.integers(0, len(setting.phases)), label="message")
            wire = Wire(bad, at, spoil)
            outcome = house.drive(channel=wire).run()
        others = set(house.names) - {bad}
        # Whatever is refused is refused to the bad client, and no other is the worse for it.
        assert set(outcome.excluded) <= {bad}
        assert set(outcome.refused) <= {bad}
        assert set(outcome.failed) <= {bad}
        if outcome.aggregate is None:
            assert outcome.error.culprits == (bad,)
            assert outcome.error.reason in {Reason.SHARE_UNOPENED, Reason.SHARE_POLYNOMIAL}
            return
        assert others <= set(outcome.survivors)
        house.assert_exact(outcome)

    spoil_one()


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize(
    "hostile",
    [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000, bytes(1000)],
    ids=["nothing", "reserved", "claim", "nesting", "zeros"],
)
def test_a_client_that_sends_noise_is_out_by_name(setting, at, hostile):
    with consortium(setting) as house:
        wire = Wire("c002", at, lambda honest, seen: [hostile])
        outcome = house.drive(channel=wire).run()
        house.assert_exact(outcome)
    if wire.phase is not None:
        assert outcome.excluded["c002"].reason is Reason.MALFORMED
        assert outcome.excluded["c002"].culprits == ("c002",)
        after_input = wire.phase in {"consistency", "unmasking", "done"}
        assert ("c002" in outcome.survivors) == after_input


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_noise_before_an_honest_message_puts_its_sender_out(setting):
    """What it sends afterwards, however honest, comes too late."""
    for at, phase in enumerate(setting.phases[: setting.phases.index("input") + 1]):
        with consortium(setting) as house:
            wire = Wire("c002", at, lambda honest, seen: [b"\xc1", honest])
            outcome = house.drive(channel=wire).run()
            house.assert_exact(outcome)
        assert wire.phase == phase
        assert outcome.excluded["c002"].reason is Reason.MALFORMED
        assert outcome.survivors == tuple(n for n in house.names if n != "c002")


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_a_refusal_in_the_middle_takes_its_client_out(setting):
    """And an input that is in the sum by then stays in it."""
    for at in range(5):
        with consortium(setting) as house:
            refusal = encode(Refusal(house.round_plan().round_id, Reason.SURVIVORS_FEW.value))
            wire = Wire("c002", at, lambda honest, seen, refusal=refusal: [honest, refusal])
            outcome = house.drive(channel=wire).run()
            house.assert_exact(outcome)
        if wire.phase is not None:
            assert outcome.refused == {"c002": Reason.SURVIVORS_FEW}
            assert set(outcome.excluded) <= {"c002"}


def test_messages_of_another_attempt_cost_nobody_anything():
    """Every envelope of attempt 1, played again in attempt 2 by its own sender."""
    first = Transcript()
    with Consortium(plan=make_plan(attempts=3)) as house:
        lost = {"c002", "c003", "c004"}

        def lose(delivery):
            gone = delivery.client in lost and delivery.phase in {"shares", "input"}
            return () if gone else (delivery,)

        assert house.drive(1, 1, channel=lose, transcript=first).run().error
        old = {}
        for entry in first.entries:
            if b"envelope" in entry.message[:10]:
                way = entry.sender, entry.recipient
                old.setdefault(way, []).append(entry.message)
        assert {way[0] for way in old} == {SERVER, *house.names}

        def replay(delivery):
            way = delivery.sender, delivery.recipient
            # A client has first to accept its plan.
            stale = () if b"invitation" in delivery.message[:12] else old.pop(way, ())
            again = [Delivery(*way, delivery.phase, m) for m in stale]
            return [*again, delivery]

        outcome = house.drive(1, 2, channel=replay).run()
        house.assert_exact(outcome)
        assert outcome.survivors == house.names
        assert not old
        assert not outcome.excluded
        assert not outcome.refused
        assert not outcome.failed


@pytest.mark.parametrize("what", ["noise", "refusal", "another's"])
def test_a_stranger_is_named_and_changes_nothing(what):
    reason = Reason.MALFORMED if what == "noise" else Reason.UNKNOWN_SENDER
    with Consortium() as house:
        refusal = encode(Refusal(house.round_plan().round_id, Reason.FAILED.value))

        def intrude(delivery):
            if delivery.sender != SERVER:
                sent = {"noise": b"\xc1", "refusal": refusal, "another's": delivery.message}[what]
                yield Delivery("c099", SERVER, delivery.phase, sent)
            yield delivery

        outcome = house.drive(channel=intrude).run()
        house.assert_exact(outcome)
        assert outcome.survivors == house.names
        assert not outcome.refused
        assert {n: e.reason for n, e in outcome.excluded.items()} == {"c099": reason}
