"""One client sends what it should not: it is out, by name, and the others get their exact sum."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedprivacy.errors import Reason
from fedprivacy.secagg import uploads
from honest import bodies
from hostile import fuzz, mutations, noise
from sumdrive import CURIOUS, MALICIOUS, PLUS_CURIOUS, PLUS_SEMI, SETTINGS, Drive, Sum, refusal

OTHER_ROUND = b"o" * 32


class Spoiler:
    """Stands in for one client, once: changes, adds, drops or swaps one message of one phase."""

    def __init__(self, draw, setting, names):
        self.draw = draw
        self.bad = draw(st.sampled_from(names), label="bad")
        self.phase = draw(st.sampled_from(setting.phases), label="phase")
        self.seen = []
        self.foreign = [*bodies(setting), *bodies(setting, OTHER_ROUND)]

    def __call__(self, name, phase, honest):
        if name != self.bad or phase != self.phase or not honest:
            self.seen += honest
            return honest
        at = self.draw(st.integers(0, len(honest) - 1), label="at")
        how = self.draw(st.sampled_from(["replace", "before", "after", "drop", "reverse"]))
        wrong = [self._hostile(honest[at])] if how in {"replace", "before", "after"} else []
        kept = [honest[at]] if how in {"before", "after"} else []
        changed = [*kept, *wrong] if how == "after" else [*wrong, *kept]
        if how == "reverse":
            return honest[::-1]
        return [*honest[:at], *changed, *honest[at + 1 :]]

    def _hostile(self, honest):
        others = [*self.seen, *self.foreign]
        return self.draw(
            st.one_of(mutations(honest, others), mutations(honest), st.sampled_from(others), noise),
            label="hostile",
        )


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_one_bad_client_costs_the_others_nothing(setting):
    @fuzz(setting, "fuzz-rounds")
    @given(data=st.data())
    def spoil_one(data):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(uploads, "CHUNK_VALUES", 64)
            case = Sum(setting, clients=5, length=100, corrupt=1)
            spoiler = Spoiler(data.draw, setting, case.names)
            outcome = Drive(case, tamper=spoiler).run()
        assert set(outcome.refused) <= {spoiler.bad}
        assert set(outcome.failed) <= {spoiler.bad}
        if outcome.done is None:
            # Only its shares can still spoil a round once they are dealt; that is traced to it.
            assert outcome.error.culprits == (spoiler.bad,)
            assert outcome.error.reason in {Reason.SHARE_UNOPENED, Reason.SHARE_POLYNOMIAL}
            assert spoiler.phase == "shares"
            return
        others = set(case.names) - {spoiler.bad}
        assert others <= set(outcome.done.survivors)
        assert outcome.done.total.tolist() == case.exact(outcome.done.survivors).tolist()

    spoil_one()


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_a_server_takes_any_bytes_from_anyone_at_any_time(setting):
    """Members and strangers, in phases that open and close while nobody else speaks."""

    @fuzz(setting)
    @given(data=st.data(), rounds=st.integers(1, 4))
    def send(data, rounds):
        case = Sum(setting, clients=4)
        senders = st.sampled_from([*case.names, "stranger", "@server", ""])
        for _ in range(rounds):
            sender = data.draw(senders, label="sender")
            message = data.draw(st.one_of(noise, st.sampled_from(bodies(setting))), label="message")
            if (error := refusal(case.server.receive, sender, message)) is not None:
                assert error.culprits == (sender,)
                assert sender not in case.server.waiting_for
        if data.draw(st.booleans(), label="close"):
            list(case.server.advance())
        assert set(case.server.waiting_for) <= set(case.names)

    send()


@pytest.mark.parametrize(
    ("setting", "phase"), [(s, phase) for s in SETTINGS for phase in s.phases], ids=str
)
def test_messages_of_another_member_do_not_pass_for_ones_own(setting, phase):
    """The channel says who sent it: whole messages under another name."""
    case = Sum(setting, clients=5, corrupt=1)
    taken = {}

    def swap(name, at, honest):
        taken[name, at] = honest
        return taken["c000", at] if (name, at) == ("c004", phase) else honest

    outcome = Drive(case, tamper=swap).run()
    if phase == "input":
        # Its values are its own affair, but the checksum is over the sender as well, and what is
        # acknowledged is its sender's secret.
        acknowledged = setting.protocol == "secagg+" and setting.adversary is not CURIOUS.adversary
        reason = Reason.NOT_ACKNOWLEDGED if acknowledged else Reason.DIGEST
        assert outcome.refused == {"c004": [reason]}
    assert set(outcome.refused) == {"c004"} or outcome.error.culprits == ("c004",)


@pytest.mark.parametrize(
    ("setting", "phase", "reason"),
    [
        (MALICIOUS, "keys", Reason.KEY_SIGNATURE),
        (MALICIOUS, "consistency", Reason.CONSISTENCY_SIGNATURE),
        (MALICIOUS, "unmasking", Reason.SHARE_COMMITMENT),
        (CURIOUS, "unmasking", Reason.SHARE_COMMITMENT),
        (PLUS_SEMI, "keys", Reason.KEY_SIGNATURE),
        (PLUS_SEMI, "unmasking", Reason.SHARE_COMMITMENT),
        (PLUS_CURIOUS, "unmasking", Reason.SHARE_COMMITMENT),
    ],
    ids=str,
)
def test_messages_of_another_round_are_refused(setting, phase, reason):
    """The same client's own message of an earlier round, played again."""
    earlier = {}
    Drive(
        Sum(setting, clients=5, round_id=OTHER_ROUND, seed="earlier"),
        tamper=lambda name, at, honest: earlier.setdefault((name, at), honest),
    ).run()
    case = Sum(setting, clients=5)
    outcome = Drive(
        case,
        tamper=lambda name, at, honest: (
            earlier[name, at] if (name, at) == ("c002", phase) else honest
        ),
    ).run()
    assert outcome.refused["c002"][0] is reason
    assert set(outcome.refused) == {"c002"}
    assert outcome.done.total.tolist() == case.exact(outcome.done.survivors).tolist()


@given(cut=st.integers(1, 40), bits=st.integers(5, 62))
@example(cut=1, bits=8)
@settings(max_examples=settings.default.max_examples)
def test_an_upload_with_its_bits_changed_changes_no_sum(cut, bits):
    """Any single byte of any chunk: the digest refuses it, and the sum is over the others."""
    case = Sum(CURIOUS, clients=5, length=20, bits=bits)

    def spoil(name, phase, honest):
        if (name, phase) != ("c001", "input"):
            return honest
        at = len(honest[0]) - 1 - cut % (len(honest[0]) - 20)
        changed = honest[0][:at] + bytes([honest[0][at] ^ 1]) + honest[0][at + 1 :]
        return [changed, *honest[1:]]

    outcome = Drive(case, tamper=spoil).run()
    assert outcome.refused["c001"][0] in {Reason.DIGEST, Reason.MALFORMED}
    assert outcome.done.survivors == ("c000", "c002", "c003", "c004")
    assert outcome.done.total.tolist() == case.exact(outcome.done.survivors).tolist()
