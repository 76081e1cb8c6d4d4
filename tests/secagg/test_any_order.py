"""Larger cohorts, any threshold within the rule, any losses, in whatever order messages arrive."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sumdrive import MALICIOUS, MASKED, SETTINGS, Drive, Sum, predict

from fedprivacy.errors import Reason
from fedprivacy.secagg import SERVER, Adversary, Done, Persist, SendChunk, uploads

EXAMPLES = settings.default.max_examples


@st.composite
def cases(draw, setting):
    """A cohort of 5 to 12 with a quorum, and how it fares."""
    clients = draw(st.integers(5, 12), label="clients")
    corrupt = draw(st.integers(0, clients // 3), label="corrupt")
    least = max(corrupt + 1, 2)
    if setting.adversary is not Adversary.HONEST_BUT_CURIOUS:
        least = (clients + corrupt) // 2 + 1
    threshold = draw(st.integers(least, clients), label="threshold")
    case = Sum(
        setting,
        clients,
        threshold,
        length=draw(st.integers(1, 200), label="length"),
        bits=draw(st.integers(5, 62), label="bits"),
        min_clients=draw(st.integers(2, clients), label="min_clients"),
        seed=draw(st.integers(0, 1 << 32), label="seed"),
    )
    # Most patterns of uniform losses end before the input: lose few.
    fate = st.one_of(st.just(99), st.just(99), st.integers(0, len(setting.phases)))
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
        spools = case.server._spools
        answered = {name: name not in case.server.waiting_for for name in case.names}
        assert not [s for s in spools if answered[s if isinstance(s, str) else case.names[s]]]

    return check


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@given(data=st.data(), random=st.randoms(use_true_random=False))
@settings(max_examples=EXAMPLES)
def test_any_losses_in_any_order_end_as_the_oracle_says(setting, data, random):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "CHUNK_VALUES", 64)
        case, sent, partial = data.draw(cases(setting))
        drive = Drive(case, sent, partial, order=shuffled(random))
        drive.after_receive = no_finished_spools(case)
        outcome = drive.run()
    wanted = predict(
        setting.phases,
        sent,
        case.vectors,
        threshold=case.threshold,
        min_clients=case.min_clients,
    )
    assert outcome.prediction == wanted
    assert not outcome.refused
    assert not outcome.failed
    assert not case.server._spools


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
    threshold = clients // 2 + 1
    case = Sum(setting, clients, threshold, seed=data.draw(st.integers(0, 1000), label="seed"))
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
            totals.append(case.server._total.copy()) if name == "c001" else None
        )
        outcome = drive.run()
        assert all((total == totals[0]).all() for total in totals)
        assert not case.server._spools
        ends.append(outcome.prediction)
    assert ends[0] == ends[1]
    assert ends[0].survivors == ("c000", "c002", "c003", "c004")


@pytest.mark.parametrize("setting", MASKED, ids=str)
@given(when=st.lists(st.sampled_from(["new", "keys", "shares", "holding"]), min_size=5, max_size=5))
@settings(max_examples=min(EXAMPLES, 100))
def test_a_vector_may_be_ready_before_or_after_any_message(setting, when):
    """Training overlaps the phases of the keys; what leaves, and when, does not depend on it."""
    case = Sum(setting, clients=5)
    moments = dict(zip(case.names, when, strict=True))
    said = {}

    def contribute(name, moment):
        if moments[name] == moment:
            said[name] += list(case.parties[name].contribute(case.vectors[name]))

    def deliver():
        for name, effects in said.items():
            for effect in effects:
                if not isinstance(effect, Persist | Done):
                    list(case.server.receive(name, effect.message))

    for name, party in case.parties.items():
        said[name] = []
        contribute(name, "new")
        assert not said[name]
        said[name] = list(party.start())
        contribute(name, "keys")
    while True:
        deliver()
        answers, phase = list(case.server.advance()), case.server.phase
        if isinstance(answers[-1], Done):
            break
        for effect in answers:
            if not isinstance(effect, Persist):
                name = effect.recipient
                said[name] = list(case.parties[name].receive(SERVER, effect.message))
                if phase == "shares":
                    contribute(name, "shares")
                if phase == "input":
                    contribute(name, "holding")
                    assert [type(e) for e in said[name][:2]] == [Persist, SendChunk]
    assert answers[-1].survivors == case.names
    assert answers[-1].total.tolist() == case.exact(case.names).tolist()


def test_chunks_of_the_real_size_arrive_whole():
    """One chunk and a bit, without any patching."""
    length = uploads.CHUNK_VALUES + 65
    case = Sum(MALICIOUS, clients=3, threshold=2, length=length, bits=17)
    outcome = Drive(case).run()
    assert outcome.done.total.tolist() == case.exact(case.names).tolist()
