"""Larger cohorts, any threshold within the rule, any losses, in whatever order messages arrive."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.errors import Reason
from fedprivacy.secagg import Adversary, Persist, SendChunk, uploads
from fedprivacy.secagg.parameters import graph_fault
from oracle import came, wanted
from sumdrive import MALICIOUS, MASKED, SETTINGS, SHARING, Drive, Sum, refusal

EXAMPLES = settings.default.max_examples


@st.composite
def cohorts(draw, setting):
    """A cohort of 5 to 12 with a quorum."""
    clients = draw(st.integers(5, 12), label="clients")
    corrupt = draw(st.integers(0, clients // 3), label="corrupt")
    least = max(corrupt + 1, 2)
    if setting.adversary is not Adversary.HONEST_BUT_CURIOUS:
        least = (clients + corrupt) // 2 + 1
    threshold = draw(st.integers(least, clients), label="threshold")
    min_clients = draw(st.integers(2, clients), label="min_clients")
    return {"clients": clients, "threshold": threshold, "min_clients": min_clients}


@st.composite
def rings(draw, setting):
    """A cohort of 6 to 24 on a ring whose bounds hold, whoever of the planned is lost at once."""
    clients = draw(st.integers(6, 24), label="clients")
    corrupt = draw(st.integers(0, clients // 12), label="corrupt")
    dropped = draw(st.integers(0, clients // 4), label="dropped")
    adversary, sizes = setting.adversary, range(clients - dropped, clients + 1)

    def is_safe(degree, threshold):
        wanted = {"least_honest": 2} if adversary is Adversary.SEMI_MALICIOUS else {}
        return not any(
            graph_fault(n, corrupt, n - clients + dropped, adversary, degree, threshold, **wanted)
            for n in sizes
        )

    safe = [(k, t) for k in range(2, clients - 1, 2) for t in range(2, k + 1) if is_safe(k, t)]
    degree, threshold = draw(st.sampled_from(safe), label="degree and threshold")
    return {
        "clients": clients,
        "threshold": threshold,
        "degree": degree,
        "dropped": dropped,
        "corrupt": corrupt,
    }


@st.composite
def cases(draw, setting):
    """A cohort, and how it fares."""
    case = Sum(
        setting,
        **draw((rings if setting.sparse else cohorts)(setting)),
        length=draw(st.integers(1, 200), label="length"),
        bits=draw(st.integers(5, 62), label="bits"),
        seed=draw(st.integers(0, 1 << 32), label="seed"),
    )
    # Most patterns of uniform losses end before the input: lose few.
    kept = 3 * case.plan.dropped + 3 if setting.sparse else 2
    fate = st.one_of(*[st.just(99)] * kept, st.integers(0, len(setting.phases)))
    sent = {name: draw(fate) for name in case.names}
    partial = {name: draw(st.integers(0, 3)) for name in case.names if sent[name] == 2}
    return case, sent, partial


def shuffled(random):
    """Any order that keeps each sender's own."""

    def order(said):
        queues = [(name, deque(bodies)) for name, bodies in said.items() if bodies]
        while queues:
            name, bodies = random.choice(queues)
            yield name, bodies.popleft()
            queues = [(n, b) for n, b in queues if b]

    return order


def no_finished_spools(case):
    """The server holds a spool for no upload but those under way."""

    def check(name, phase):
        answered = {name: name not in case.server.waiting_for for name in case.names}
        assert not [s for s in case.server._uploads._spools if answered[case.names[s]]]

    return check


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_any_losses_in_any_order_end_as_the_oracle_says(setting):
    @settings(max_examples=EXAMPLES // 2 if setting.sparse else EXAMPLES)
    @given(data=st.data(), random=st.randoms(use_true_random=False))
    def lose(data, random):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(uploads, "CHUNK_VALUES", 64)
            case, sent, partial = data.draw(cases(setting))
            drive = Drive(case, sent, partial, order=shuffled(random))
            drive.after_receive = no_finished_spools(case)
            outcome = drive.run()
        assert came(outcome) == wanted(case, sent, outcome)
        assert not outcome.refused
        assert not outcome.failed
        assert not case.server._uploads._spools

    lose()


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@given(data=st.data(), random=st.randoms(use_true_random=False))
@settings(max_examples=EXAMPLES)
def test_repeated_messages_cost_their_sender_alone(setting, data, random):
    """One client's messages of one phase arrive twice, or come again a phase later.

    The first message of a phase counts; the second puts its sender out. An input that is in the sum
    by then stays in it, and its sender among the survivors.
    """
    phases = setting.phases
    clients = data.draw(st.integers(5, 8), label="clients")
    case = Sum(setting, clients, seed=data.draw(st.integers(0, 1000), label="seed"))
    bad = data.draw(st.sampled_from(case.names), label="bad")
    at = data.draw(st.integers(0, len(phases) - 1), label="phase")
    late = data.draw(st.booleans(), label="late")
    kept = []

    def twice(name, phase, bodies):
        if name != bad:
            return bodies
        if phase == phases[at]:
            kept.extend(bodies)
            return [*bodies, *([] if late else bodies[-1:])]
        if late and at + 1 < len(phases) and phase == phases[at + 1]:
            return [*kept[-1:], *bodies]
        return bodies

    outcome = Drive(case, tamper=twice, order=shuffled(random)).run()
    out_in = min(at + late, len(phases))
    survives = phases.index("input") <= out_in - late
    survivors = tuple(name for name in case.names if survives or name != bad)
    assert outcome.done.survivors == survivors
    assert outcome.done.total.tolist() == case.exact(survivors).tolist()
    if out_in < len(phases):
        reasons = outcome.refused.pop(bad)
        assert reasons[0] in {Reason.DUPLICATE, Reason.MALFORMED}
        assert set(reasons[1:]) <= {Reason.LATE}
    assert not outcome.refused
    assert not outcome.failed


@pytest.mark.parametrize(
    ("setting", "phase"),
    [(s, phase) for s in [*SETTINGS, *SHARING] for phase in s.phases],
    ids=str,
)
def test_a_message_that_comes_too_late_changes_nothing(setting, phase):
    """It arrives when the next phase has begun: its sender was lost, and stays so."""
    case = Sum(setting, clients=5)
    late, reasons = [], []

    def hold(name, at, bodies):
        if (name, at) != ("c003", phase):
            return bodies
        late.extend(bodies)
        return []

    def deliver(name, at):
        if at != phase:
            while late:
                error = refusal(case.server.receive, "c003", late.pop(0))
                assert error.culprits == ("c003",)
                reasons.append(error.reason)

    drive = Drive(case, tamper=hold)
    drive.after_receive = deliver
    outcome = drive.run()
    deliver("c003", "done")
    assert set(reasons) == {Reason.LATE}
    sent = dict.fromkeys(case.names, 99) | {"c003": setting.phases.index(phase)}
    assert came(outcome) == wanted(case, sent, outcome)
    assert outcome.done


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("chunks", range(5))
def test_a_death_in_the_middle_of_an_upload_changes_nothing(monkeypatch, setting, chunks):
    monkeypatch.setattr(uploads, "CHUNK_VALUES", 64)
    ends = []
    for partial in (0, chunks):
        case = Sum(setting, clients=5, length=250)  # four chunks
        before = setting.phases.index("input")
        sent = {"c001": before}
        drive = Drive(case, sent, {"c001": partial})
        totals = []
        drive.after_receive = lambda name, phase, case=case, totals=totals: (
            totals.append(case.server._uploads.total[:]) if name == "c001" else None
        )
        outcome = drive.run()
        assert all((total == totals[0]).all() for total in totals)
        assert not case.server._uploads._spools
        ends.append(came(outcome))
    assert ends[0] == ends[1]
    assert ends[0].survivors == ("c000", "c002", "c003", "c004")


class Training(Sum):
    """A sum whose vectors are ready at moments of their own."""

    moments = None

    def ready(self, name, moment):
        """What a vector that becomes ready now lets its client send."""
        if self.moments[name] != moment:
            return []
        return list(self.parties[name].contribute(self.vectors[name]))

    def start(self, name):
        early = self.ready(name, "new")
        assert not early
        return [*self.parties[name].start(), *self.ready(name, "keys")]


class Trained(Drive):
    """Drives such a sum."""

    def _answer(self, name, message):
        phase = self.sum.server.phase
        said = super()._answer(name, message)
        if phase == "shares":
            said += self.sum.ready(name, "shares")
        if phase == "input":
            said += self.sum.ready(name, "holding")
            assert [type(effect) for effect in said[:2]] == [Persist, SendChunk]
        return said


@pytest.mark.parametrize("setting", MASKED, ids=str)
@given(when=st.lists(st.sampled_from(["new", "keys", "shares", "holding"]), min_size=5, max_size=5))
@settings(max_examples=min(EXAMPLES, 100))
def test_a_vector_may_be_ready_before_or_after_any_message(setting, when):
    """Training overlaps the phases of the keys; what leaves, and when, does not depend on it."""
    case = Training(setting, clients=5)
    case.moments = dict(zip(case.names, when, strict=True))
    outcome = Trained(case).run()
    assert outcome.done.survivors == case.names
    assert outcome.done.total.tolist() == case.exact(case.names).tolist()


def test_chunks_of_the_real_size_arrive_whole():
    """One chunk and a bit, without any patching."""
    length = uploads.CHUNK_VALUES + 65
    case = Sum(MALICIOUS, clients=3, threshold=2, length=length, bits=17)
    outcome = Drive(case).run()
    assert outcome.done.total.tolist() == case.exact(case.names).tolist()
