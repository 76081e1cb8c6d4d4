"""Clients and members that lie: the sum over the others is exact, or the round ends unblamed."""

import msgspec
import numpy as np
import pytest

from fedprivacy.arithmetic import PRIME, Slots
from fedprivacy.crypto import KeyPair
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.secagg.oneshot import client as client_module
from fedprivacy.secagg.oneshot.messages import KeySum, SealedInput, ShareOpened, UnopenedShares
from fedprivacy.secagg.oneshot.survivors import choose_opening
from fedprivacy.secagg.uploads import MaskedChunk
from fedprivacy.wire import decode, encode
from oneshotdrive import OneShotDrive, OneShotSum

ANY = 1 << 30


def run(tamper, **shape):
    """A round with what some say changed; the same round without that completes."""
    twin = OneShotDrive(OneShotSum(**shape)).run()
    assert twin.done is not None
    case = OneShotSum(**shape)
    return case, OneShotDrive(case, tamper=tamper).run()


def only(liar, at, change):
    return lambda name, phase, bodies: (
        change(bodies) if (name, phase) == (liar, at) and bodies else bodies
    )


def exact(case, outcome, survivors):
    assert outcome.done.survivors == tuple(survivors)
    assert outcome.done.total.tolist() == case.exact(survivors).tolist()


# ---------------------------------------------------------------------- uploads

LONG = {"length": 70_000, "bound": 1 << 18, "clients": 3, "members": 2, "threshold": 2}


def cut_chunk(bodies):
    chunk = decode(MaskedChunk, bodies[0], limit=ANY)
    return [encode(MaskedChunk(0, chunk.data[:-1])), *bodies[1:]]


def flipped(bodies):
    return [bodies[0][:-1] + bytes([bodies[0][-1] ^ 1]), *bodies[1:]]


def changed_input(bodies, **fields):
    closing = decode(SealedInput, bodies[-1], limit=ANY)
    return [*bodies[:-1], encode(msgspec.structs.replace(closing, **fields))]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (cut_chunk, Reason.CHUNK_ORDER),
        (lambda b: [b[1], b[0], *b[2:]], Reason.CHUNK_ORDER),
        (lambda b: [b[0], *b], Reason.CHUNK_ORDER),
        (lambda b: b[1:], Reason.CHUNK_ORDER),
        (lambda b: [*b[:-2], b[-1]], Reason.CHUNK_ORDER),
        (lambda b: b[-1:], Reason.CHUNK_ORDER),
        (flipped, Reason.DIGEST),
        (lambda b: [b[0][:-1], *b[1:]], Reason.MALFORMED),
        (lambda b: changed_input(b, ciphertext=bytes(32)), Reason.KEY_SIGNATURE),
        (lambda b: changed_input(b, agreement_key=bytes(32)), Reason.WEAK_KEY),
        (lambda b: changed_input(b, agreement_key=KeyPair(b"k" * 32).public), Reason.KEY_SIGNATURE),
        (lambda b: changed_input(b, boxes=()), Reason.MALFORMED),
        (lambda b: changed_input(b, boxes=(b"short", b"box")), Reason.MALFORMED),
        (lambda b: [*b[:-1], b"\xc1"], Reason.MALFORMED),
    ],
    ids=[
        "cut",
        "reordered",
        "twice",
        "first-missing",
        "last-missing",
        "no-chunk",
        "flipped",
        "truncated",
        "other-ciphertext",
        "weak-key",
        "other-key",
        "no-boxes",
        "short-boxes",
        "noise",
    ],
)
def test_a_bad_upload_leaves_nothing_behind(change, reason):
    case, outcome = run(only("c001", "input", change), **LONG)
    assert outcome.refused["c001"][0] is reason
    assert set(outcome.refused) == {"c001"}
    exact(case, outcome, ["c000", "c002"])


def test_an_input_of_another_round_is_refused():
    earlier = OneShotDrive(OneShotSum(round_id=b"q" * 32)).run().sent["c001", "input"]
    case, outcome = run(only("c001", "input", lambda b: earlier))
    assert outcome.refused == {"c001": [Reason.KEY_SIGNATURE]}
    exact(case, outcome, ["c000", "c002", "c003"])


def test_another_clients_input_is_refused():
    said = OneShotDrive(OneShotSum()).run().sent["c002", "input"]
    case, outcome = run(only("c001", "input", lambda b: said))
    assert outcome.refused["c001"] == [Reason.KEY_SIGNATURE]
    exact(case, outcome, ["c000", "c002", "c003"])


def test_an_input_that_comes_twice_counts_once():
    case, outcome = run(only("c001", "input", lambda b: [*b, *b]))
    assert outcome.refused["c001"][0] is Reason.DUPLICATE
    exact(case, outcome, case.names)


def test_who_is_late_or_unknown_is_refused():
    case = OneShotSum()
    late = OneShotDrive(OneShotSum()).run().sent["c001", "input"]
    outcome = OneShotDrive(case, lost={"c001": "input"}).run()
    exact(case, outcome, ["c000", "c002", "c003"])
    for name, reason in [("c001", Reason.LATE), ("nobody", Reason.UNKNOWN_SENDER)]:
        with pytest.raises(PeerError) as caught:
            list(case.server.receive(name, late[0]))
        assert caught.value.reason is reason


def test_an_input_that_comes_after_the_deadline_is_late():
    late = OneShotDrive(OneShotSum()).run().sent["c001", "input"]
    case, heard = OneShotSum(), []

    def tamper(name, phase, bodies):
        if (name, phase) == ("m00", "opening"):
            for body in late:
                with pytest.raises(PeerError) as caught:
                    list(case.server.receive("c001", body))
                heard.append(caught.value.reason)
        return bodies

    outcome = OneShotDrive(case, lost={"c001": "input"}, tamper=tamper).run()
    assert heard == [Reason.LATE] * 2
    exact(case, outcome, ["c000", "c002", "c003"])


def test_who_is_excluded_is_not_shown_the_committee_nor_waited_for():
    case = OneShotSum()
    case.server.exclude("c002")
    outcome = OneShotDrive(case).run()
    exact(case, outcome, ["c000", "c001", "c003"])
    assert not outcome.refused
    assert outcome.persisted
    assert "c002" not in {name for name, _ in outcome.persisted}


def test_a_client_beyond_its_bound_sends_no_vector_and_is_not_quoted():
    case = OneShotSum(bound=100)
    case.vectors["c001"] = np.array([100] * 9 + [12345])
    outcome = OneShotDrive(case).run()
    error = outcome.failed["c001"]
    assert isinstance(error, ConfigurationError)
    assert "client_bound = 100" in str(error)
    assert "12345" not in str(error)
    exact(case, outcome, ["c000", "c002", "c003"])


# ---------------------------------------------------------------------- shares


def bad_boxes(*members):
    """Boxes that open for nobody, for these members."""

    def change(bodies):
        closing = decode(SealedInput, bodies[-1], limit=ANY)
        boxes = [bytes(len(b)) if i in members else b for i, b in enumerate(closing.boxes)]
        return changed_input(bodies, boxes=tuple(boxes))

    return change


def test_a_client_whose_shares_open_for_nobody_is_left_out():
    case, outcome = run(only("c001", "input", bad_boxes(0, 1, 2, 3, 4)))
    exact(case, outcome, ["c000", "c002", "c003"])


@pytest.mark.parametrize("corrupt", [0, 1])
def test_a_bad_box_for_one_member_costs_the_client_or_the_member(corrupt):
    """Where a member may be corrupt its complaint may be a lie: then it is the one left out."""
    case, outcome = run(
        only("c001", "input", bad_boxes(2)), members=5, threshold=4, corrupt_members=corrupt
    )
    exact(case, outcome, case.names if corrupt else ["c000", "c002", "c003"])
    assert not outcome.failed


def test_a_liar_that_complains_about_everyone_is_left_out():
    def change(bodies):
        return [encode(UnopenedShares((0, 1, 2, 3)))]

    def tamper(name, phase, bodies):
        if name != "m00":
            return bodies
        # It never says that it has opened a share.
        return {"input": [], "opening": change(bodies)}.get(phase, bodies)

    case, outcome = run(tamper, corrupt_members=0, threshold=3, members=5)
    assert outcome.error.reason is Reason.SHARE_UNOPENED
    case, outcome = run(tamper, corrupt_members=1, threshold=4, members=5)
    exact(case, outcome, case.names)


@pytest.mark.parametrize(
    ("at", "body", "reason"),
    [
        ("opening", UnopenedShares((0,)), Reason.SHARE_MISSING),
        ("opening", UnopenedShares((9,)), Reason.UNKNOWN_DEALER),
        ("opening", UnopenedShares((1, 0)), Reason.NON_CANONICAL),
        ("input", ShareOpened(9), Reason.UNEXPECTED),
        ("unmasking", KeySum(b"short"), Reason.MALFORMED),
    ],
    ids=["taken-back", "stranger", "order", "never-came", "short"],
)
def test_a_member_that_says_what_cannot_be_is_refused(at, body, reason):
    case, outcome = run(only("m00", at, lambda bodies: [encode(body)]))
    assert outcome.refused["m00"][0] is reason
    exact(case, outcome, case.names)


def test_signatures_over_another_set_are_refused():
    other = OneShotDrive(OneShotSum(round_id=b"q" * 32)).run().sent["m00", "consistency"]
    case, outcome = run(only("m00", "consistency", lambda b: other))
    assert outcome.refused == {"m00": [Reason.CONSISTENCY_SIGNATURE]}
    exact(case, outcome, case.names)


def wrong_sum(bodies):
    share = np.frombuffer(decode(KeySum, bodies[0], limit=ANY).share, ">u4").astype(np.uint64)
    return [encode(KeySum(((share + np.uint64(1)) % np.uint64(PRIME)).astype(">u4").tobytes()))]


def wrong_answers(count):
    def tamper(name, phase, bodies):
        if phase == "unmasking" and name[0] == "m" and int(name[1:]) < count:
            return wrong_sum(bodies)
        return bodies

    return tamper


def test_one_wrong_answer_of_two_too_many_is_corrected():
    """r = 5, t = 3: one is corrected, two are noticed, and nobody is blamed."""
    case, outcome = run(wrong_answers(1))
    exact(case, outcome, case.names)
    _, outcome = run(wrong_answers(2))
    assert outcome.error.reason is Reason.SHARES_DISAGREE
    assert outcome.error.culprits == ()


@pytest.mark.parametrize("count", [3, 5])
def test_answers_that_agree_on_another_key_are_noticed_by_the_noise(count):
    """All add one: that is a sharing of another sum, which leaves noise; t of them, too."""
    _, outcome = run(wrong_answers(count))
    assert outcome.error.reason in {Reason.NOISE_RANGE, Reason.SHARES_DISAGREE}
    assert outcome.error.culprits == ()


def test_with_no_answer_to_spare_a_wrong_one_is_noticed_by_the_noise():
    _, outcome = run(wrong_answers(1), members=3, threshold=3)
    assert outcome.error.reason in {Reason.NOISE_RANGE, Reason.SUM_RANGE}


@pytest.mark.parametrize(
    ("shift", "reason"), [(1, Reason.NOISE_RANGE), (1 << 30, Reason.SUM_RANGE)]
)
def test_shares_of_another_key_end_the_round_unattributed(monkeypatch, shift, reason):
    honest = client_module.deal_key

    def dealt(elements, committee, *, client, **rest):
        if client == 1:
            elements = (elements + np.uint64(shift)) % np.uint64(PRIME)
        return honest(elements, committee, client=client, **rest)

    case = OneShotSum()
    monkeypatch.setattr(client_module, "deal_key", dealt)
    outcome = OneShotDrive(case).run()
    assert outcome.error.reason is reason
    assert outcome.error.culprits == ()


def test_values_of_a_liar_beyond_what_all_present_may_reach_end_the_round(monkeypatch):
    """It skips the check of its own values; what stays in its slot is a value like any other."""
    honest = Slots.join

    def join(self, values):
        if values.max() <= self.bound:
            return honest(self, values)
        beyond = 2 * 200 * self.base ** (self.count - 1)
        return honest(self, np.zeros_like(values)) + np.uint64(beyond)

    monkeypatch.setattr(Slots, "join", join)
    case = OneShotSum(clients=4, bound=100)
    case.vectors["c001"] = np.full(10, 101)
    outcome = OneShotDrive(case, lost={"c003": "input"}).run()
    assert outcome.error.reason is Reason.SUM_RANGE
    assert outcome.error.culprits == ()


# ---------------------------------------------------------------------- who survives


def test_the_opening_keeps_all_when_nobody_complains():
    opening = choose_opening(
        frozenset(range(4)), {m: frozenset() for m in range(5)}, threshold=3, corrupt=1
    )
    assert opening == (frozenset(range(4)), frozenset(range(5)))


@pytest.mark.parametrize("corrupt", [0, 1, 2])
def test_no_set_of_liars_among_members_takes_out_an_honest_client(corrupt):
    clients, members, threshold = frozenset(range(6)), range(7), 5
    unopened = {m: frozenset() for m in members}
    for liar in range(corrupt):
        unopened[liar] = clients
    opening = choose_opening(clients, unopened, threshold=threshold, corrupt=corrupt)
    assert opening.survivors == clients
    assert opening.members == frozenset(range(corrupt, 7))


def test_clients_that_keep_honest_members_from_answering_are_left_out():
    unopened = {m: frozenset({m}) for m in range(5)}
    opening = choose_opening(frozenset(range(8)), unopened, threshold=4, corrupt=1)
    assert len(opening.members) == 4
    assert opening.survivors == frozenset({4, 5, 6, 7})
