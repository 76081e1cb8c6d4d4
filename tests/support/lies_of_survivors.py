"""Lies about whose inputs are summed, and in how messages are written."""

from fedprivacy.errors import Reason
from fedprivacy.secagg import Adversary
from fedprivacy.secagg.masking import messages as m
from fedprivacy.secagg.masking.keys import Secret
from fedprivacy.wire import encode
from lie_registry import lie
from lying_server import Table, with_inputs

CURIOUS = {"adversary": Adversary.HONEST_BUT_CURIOUS}


@lie(Reason.NOT_SURVIVOR)
def asked_about_others(honest):
    """A client is asked to help with a set that leaves it out."""
    table, script = with_inputs(honest)
    if honest:
        return script.finish()
    script.survive(table.names[1:], ["c0"])
    return table.told(won=script.signatures)


@lie(Reason.SURVIVOR_UNKNOWN)
def survivor_who_dealt_nothing(honest):
    """A member who dealt no shares is declared a survivor, to fill the number up."""
    table = Table()
    script = table.script().invite()
    if honest:
        return script.finish()
    script.roster(to=table.names[:4]).deliver()
    script.survive(table.names, ["c0"])
    return table.told(won=script.signatures)


@lie(Reason.SURVIVORS_FEW)
def survivors_below_the_threshold(honest):
    """Three survivors where it takes four to unmask."""
    table, script = with_inputs(honest)
    if honest:
        return script.finish()
    script.survive(table.names[:3], table.names[:3])
    return table.told(won=script.signatures)


@lie(Reason.SURVIVORS_FEW)
def survivors_below_the_plans_promise(honest):
    """Four survivors, enough for the threshold, where the plan promises sums over five."""
    table, script = with_inputs(honest, aggregation={"min_clients": 5}, floor={"min_clients": 2})
    if honest:
        return script.finish()
    four = table.names[:4]
    script.survive(four, four).request(to=four)
    return table.told(won=script.sum_of(four) == table.exact(four))


@lie(Reason.NON_CANONICAL)
def survivor_counted_twice(honest):
    """Three survivors, one of them named twice."""
    table, script = with_inputs(honest)
    if honest:
        return script.finish()
    script.say_survivors("c0", encode(m.SurvivorSet((0, 1, 2, 2))), {0, 1, 2})
    return table.told(won=script.signatures)


@lie(Reason.CONSISTENCY_SIGNATURE)
def a_survivor_set_for_each_client(honest):
    """Six clients, t = 4: each is shown four survivors of its own, and signs them.

    Each answer drops two of c0, c1, c2, and each of the three is dropped by four clients: three
    mask keys, and the seeds of the other three, come together. The sum of three clients lies open
    where the plan promises four.
    """
    table = Table(clients=6, aggregation={"corrupt": 0, "min_clients": 4})
    script = table.script().invite()
    if honest:
        return script.finish()
    script.roster().deliver()
    dropped = {"c0": (1, 2), "c1": (0, 2), "c2": (0, 1), "c3": (0, 1), "c4": (0, 2), "c5": (1, 2)}
    script.survive(lambda n: [f"c{i}" for i in range(6) if i not in dropped[n]])
    script.request(lambda n: script.signed_by(*(f"c{i}" for i in range(6) if i not in dropped[n])))
    rest = ["c3", "c4", "c5"]
    return table.told(won=script.sum_of(rest) == table.exact(rest))


@lie(Reason.CONSISTENCY_SIGNATURE)
def forged_consistency_signature(honest):
    """Three clients sign; the fourth signature is made up."""
    table, script = with_inputs(honest)
    if honest:
        return script.finish()
    script.survive(table.names[:4], table.names[:3])
    forged = m.SurvivorSignature(3, bytes(64))
    script.request(lambda _: (*script.signed_by(), forged))
    return table.told(won=script.answers)


@lie(Reason.CONSISTENCY_SIGNATURE)
def signed_by_one_who_did_not_survive(honest):
    """The fourth signature is that of a corrupt client outside the set."""
    table, script = with_inputs(honest)
    if honest:
        return script.finish()
    four = table.names[:4]
    script.survive(four, table.names[:3])
    script.request(lambda _: (*script.signed_by(), script.sign_as("c4", four)))
    return table.told(won=script.answers)


@lie(Reason.CONSISTENCY_QUORUM)
def too_few_signatures(honest):
    """Three signatures where four are needed."""
    table, script = with_inputs(honest)
    if honest:
        return script.finish()
    script.survive(table.names[:4], table.names[:3]).request()
    return table.told(won=script.answers)


@lie(Reason.NON_CANONICAL)
def one_signature_counted_twice(honest):
    """Three signatures, one of them twice."""
    table, script = with_inputs(honest)
    if honest:
        return script.finish()
    script.survive(table.names[:4], table.names[:3])
    script.request(lambda _: (*script.signed_by(), script.signed_by()[-1]))
    return table.told(won=script.answers)


def both_secrets(honest, settings):
    """After all have answered for everyone, a second set leaves one out: its other secret."""
    table, script = with_inputs(honest, **settings)
    if honest:
        return script.finish()
    script.survive()
    if table.signs:
        script.request()
    script.survive(table.names[:4], table.names[:4])
    if table.signs and not table.refusals:
        # Against the first signatures the second set is not consistent: only the corrupt re-signs.
        script.request(to=table.names[:4])
    return table.told(won=all(script.secret(4, kind) is not None for kind in Secret))


@lie(Reason.ANSWERED)
def both_secrets_asked_for(honest):
    """Once for five survivors, then for four of them."""
    return both_secrets(honest, {})


@lie(Reason.ANSWERED)
def both_secrets_asked_for_without_signatures(honest):
    """The same in the setting where nobody signs."""
    return both_secrets(honest, {"aggregation": CURIOUS})


@lie(Reason.UNEXPECTED)
def survivors_before_the_input(honest):
    """A survivor set where the client still waits for its shares to come, or its vector."""
    table = Table()
    script = table.script()
    if honest:
        return script.invite().finish()
    client = script.invite(["c1", "c2", "c3", "c4"]).clients
    script.invite(["c0"])
    client["c0"]._party._source = None  # its training is not done
    script.roster().deliver()
    script.survive(table.names, ["c0"])
    return table.told(won="c0" in script.signatures)


@lie(Reason.NON_CANONICAL)
def not_the_canonical_bytes(honest):
    """The right survivor set in a longer encoding, which another reader may take otherwise."""
    table, script = with_inputs(honest)
    if honest:
        return script.finish()
    message = encode(m.SurvivorSet(tuple(range(5))))
    longer = message[:-5] + b"".join(bytes([0xCC, i]) for i in range(5))
    script.say_survivors("c0", longer, set(range(5)))
    return table.told(won=script.signatures)


@lie(Reason.MALFORMED)
def something_after_the_end(honest):
    """The right survivor set with a byte after it."""
    table, script = with_inputs(honest)
    if honest:
        return script.finish()
    script.say_survivors("c0", encode(m.SurvivorSet(tuple(range(5)))) + b"\0", set(range(5)))
    return table.told(won=script.signatures)


@lie(Reason.OVERSIZED)
def longer_than_any_honest_message(honest):
    """More bytes than the plan's cohort can make necessary."""
    table, script = with_inputs(honest)
    if honest:
        return script.finish()
    script.say_survivors("c0", encode(m.SurvivorSet(tuple(range(9000)))), set())
    return table.told(won=script.signatures)
