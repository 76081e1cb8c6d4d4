"""Lies across attempts and rounds."""

import shutil
import tempfile
from pathlib import Path

from fedprivacy.errors import Reason
from fedprivacy.ledger import ClientStore
from fedprivacy.rounds import Envelope
from fedprivacy.secagg.masking import messages as m
from fedprivacy.wire import encode
from lie_registry import lie
from lying_server import Script, Table, with_inputs


@lie(Reason.ROUND_SEEN)
def round_played_again(honest):
    """After round 2 was begun, round 1 is offered, which this client had not been asked to."""
    table = Table()
    script = table.script(number=2).invite()
    if honest:
        return script.finish()
    again = table.script(number=1).invite(["c0"])
    return table.told(won=again.adverts)


@lie(Reason.ROUND_SEEN)
def attempt_played_again(honest):
    """The same invitation once more, to a client that was restarted."""
    table = Table()
    script = table.script().invite()
    if honest:
        return script.finish()
    again = Script(table, script.plan, script.cohort).invite(["c0"])
    return table.told(won=again.adverts)


@lie(Reason.WRONG_ROUND)
def message_of_another_round(honest):
    """A survivor set that was sent in another round is delivered in this one."""
    table, script = with_inputs(honest)
    if honest:
        return script.finish()
    body = encode(m.SurvivorSet(tuple(range(5))))
    bodies = script._hear("c0", encode(Envelope(b"o" * 32, body)))
    return table.told(won=bodies)


@lie(Reason.ANSWERED)
def second_attempt_after_an_answer(honest):
    """After an attempt was answered a second one is to sum fewer clients: the difference tells one.

    Its twin is a second attempt where nothing was answered.
    """
    table = Table()
    cohort = table.cohort()
    first = table.script(table.freeze(cohort), cohort).invite().roster().deliver()
    if honest:
        second = table.script(table.freeze(cohort, attempt=2), cohort).invite(table.names[:4])
        return second.finish()
    first.survive().request()
    second = table.script(table.freeze(cohort, attempt=2), cohort).invite(table.names[:4])
    second.roster().deliver().survive().request()
    return table.told(won=difference(table, first, second, "c4"))


def difference(table, first, second, *left):
    """Whether two sums tell what these clients have that are in the first alone."""
    sums = [s.sum_of(s._with_input()) if s.inputs else None for s in (first, second)]
    if None in sums:
        return False
    return [a - b for a, b in zip(*sums, strict=True)] == table.exact(left)


@lie(Reason.ANSWERED)
def two_attempts_under_way(honest):
    """Two attempts run side by side, the second over fewer; both are to be answered."""
    table = Table()
    cohort = table.cohort()
    first = table.script(table.freeze(cohort), cohort).invite().roster().deliver()
    second = table.script(table.freeze(cohort, attempt=2), cohort).invite(table.names[:4])
    second.roster().deliver()
    if honest:
        return second.finish()
    first.survive().request()
    second.survive().request()
    return table.told(won=difference(table, first, second, "c4"))


@lie(Reason.ATTEMPT_CHANGED)
def another_cohort_at_the_second_attempt(honest):
    """Two quorums of two cohorts unmask sums that differ in two clients, where three are least.

    The first attempt has c0 to c4, t = 3; the second c0, c3, c4, t = 2. Everybody sends to both;
    c3 and c4 answer the second only, c0, c1 and c2 the first only. Nobody answers twice.
    """
    table = Table(aggregation={"corrupt": 0})
    cohort = table.cohort()
    first = table.script(table.freeze(cohort), cohort).invite().roster().deliver()
    if honest:
        return table.script(table.freeze(cohort, attempt=2), cohort).invite().finish()
    few = table.cohort("c0", "c3", "c4")
    second = table.script(table.freeze(few, attempt=2), few).invite().roster().deliver()
    second.survive(to=["c3", "c4"]).request(to=["c3", "c4"])
    first.survive(to=["c0", "c1", "c2"]).request(to=["c0", "c1", "c2"])
    return table.told(won=difference(table, first, second, "c1", "c2"))


@lie(Reason.SURVIVORS_OVERLAP)
def nearly_the_same_survivors_under_one_model(honest):
    """In the next round, on the same broadcast, one client is left out: the difference tells it."""
    table = Table()
    first = table.script().invite()
    first.finish()
    second = table.script(number=2).invite()
    if honest:
        return second.finish()
    second.roster().deliver()
    four = table.names[:4]
    del second.inputs[4]
    second.survive(four, four).request(to=four)
    return table.told(won=difference(table, first, second, "c4"))


@lie(Reason.STORE_ROLLED_BACK)
def store_put_back(honest):
    """Every client's store is put back to before it answered, and a second attempt offered."""
    with tempfile.TemporaryDirectory() as folder:
        stores, anchors, copies = (Path(folder, n) for n in ("stores", "anchors", "copies"))
        for place in (stores, anchors, copies):
            place.mkdir()
        table = Table(store=lambda n: ClientStore(stores / f"{n}.db", anchor=anchors / f"{n}.json"))
        cohort = table.cohort()
        first = table.script(table.freeze(cohort), cohort).invite().roster().deliver()
        shutil.copytree(stores, copies, dirs_exist_ok=True)
        if not honest:
            first.survive().request()
            for store in table.stores.values():
                store.close()
            shutil.copytree(copies, stores, dirs_exist_ok=True)
        second = table.script(table.freeze(cohort, attempt=2), cohort).invite(table.names[:4])
        told = second.finish()
        if not honest:
            told.won, told.exact = difference(table, first, second, "c4"), False
        return told


@lie(Reason.SEALED_STATE)
def one_sealed_state_for_two_rosters(honest):
    """Whoever keeps a sleeping client's state wakes it twice, and it meets two rosters.

    It would deal the same two secrets in both, and go on from either.
    """
    table = Table()
    script = table.script().invite(untrained=["c0"])
    sealed = script.clients["c0"].suspend()
    script.wake("c0", sealed)
    if honest:
        script.train("c0")
        return script.finish()
    first = script.roster().dealt.pop("c0")
    if script.wake("c0", sealed):
        script.roster(lambda _: script.honest_entries(table.names[:4]), ["c0"])
    return table.told(won=script.dealt.get("c0", first) != first)


@lie(Reason.SEALED_STATE)
def sealed_state_of_an_attempt_that_is_over(honest):
    """A client that took part in a second attempt is woken in the first, where it slept."""
    table = Table()
    cohort = table.cohort()
    first = table.script(table.freeze(cohort), cohort).invite(untrained=["c0"])
    sealed = first.clients["c0"].suspend()
    if honest:
        first.wake("c0", sealed)
        first.train("c0")
        return first.finish()
    table.script(table.freeze(cohort, attempt=2), cohort).invite()
    if first.wake("c0", sealed):
        first.roster(to=["c0"])
    return table.told(won="c0" in first.dealt)
