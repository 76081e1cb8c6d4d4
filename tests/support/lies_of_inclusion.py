"""Lies to the neighbours of one client about who survives, after an honest set-up."""

from fedprivacy.errors import Reason
from fedprivacy.secagg.masking import messages as m
from lie_registry import lie
from lies_of_rings import halves, is_torn_open
from lying_ring import RingTable, honest_ring, ring_with_inputs


def all_but_one_signed(honest, one_more):
    """t - 1 neighbours of c0 have signed that it survives; what else is put before it?"""
    if honest:
        return honest_ring()
    table, script = ring_with_inputs(honest)
    script.survive(to=["c0", *script.around("c0")[:2]])
    signed = script.including("c0")
    script.request(lambda _: sorted_by_signer(one_more(script, signed)), ["c0"])
    return table.told(won=script.answers)


def sorted_by_signer(signatures):
    return tuple(sorted(signatures, key=lambda s: s.signer))


@lie(Reason.ROSTER_SIZE)
def few_dealers_around_one_client(honest):
    """c0 is to mask with a corrupt neighbour alone; all others take it for a survivor."""
    if honest:
        return honest_ring()
    table = RingTable()
    script = table.script().invite()
    script.roster()
    corrupt = script.around("c0")[0]
    script.corrupt(corrupt)
    only = ("c0", corrupt)
    script.deliver(lambda n: script.boxes_for(n, only if n == "c0" else None))
    if script.index("c0") in script.inputs:
        others = [n for n in script.ring if n != "c0"]
        script.survive(script.ring, others).request(to=others)
    return table.told(won=script.sum_of(["c0"]) == table.exact(["c0"]))


@lie(Reason.SURVIVORS_FEW)
def losses_around_one_client(honest):
    """All but two of c0's neighbours are said to be lost, where it takes three others."""
    if honest:
        return honest_ring()
    table, script = ring_with_inputs(honest)
    script.survive(["c0", *script.around("c0")[:2]], ["c0"])
    return table.told(won=script.signatures)


@lie(Reason.SURVIVOR_UNKNOWN)
def a_survivor_from_across_the_ring(honest):
    """Somebody who never dealt to c0 is named among the survivors around it."""
    if honest:
        return honest_ring()
    table, script = ring_with_inputs(honest)
    far = min(set(script.ring) - {"c0", *script.around("c0")})
    told = {script.index(n) for n in ("c0", far, *script.around("c0")[:3])}
    script.say_survivors("c0", script.survivors_told("c0", tuple(sorted(told))), told)
    return table.told(won=script.signatures)


@lie(Reason.CONSISTENCY_QUORUM)
def both_secrets_from_two_halves(honest):
    """Four clients, t = 2: one of c0's three neighbours is told that it survives, two that not.

    c0 itself would be the second to give its seed's share away, and those two give its mask key.
    """
    rules = {"degree": 4, "threshold": 2, "min_clients": 2}
    table, script = ring_with_inputs(honest, clients=4, aggregation=rules)
    if honest:
        return script.finish()
    halves(script, "c0", ["c1"])
    return table.told(won=is_torn_open(script, "c0"))


@lie(Reason.CONSISTENCY_QUORUM)
def told_that_it_survives_and_nobody_else(honest):
    """All neighbours are told that c0 is lost, and it is asked to unmask all the same."""
    if honest:
        return honest_ring()
    table, script = ring_with_inputs(honest)
    halves(script, "c0", [])
    return table.told(won=any(script.index("c0") in held for held in script.answers.values()))


@lie(Reason.CONSISTENCY_QUORUM)
def too_few_inclusions(honest):
    """Two neighbours have signed that c0 survives, where three are needed."""
    return all_but_one_signed(honest, lambda _, signed: signed)


@lie(Reason.CONSISTENCY_QUORUM)
def a_forged_inclusion(honest):
    """The third signature is made up."""

    def forged(script, signed):
        third = script.index(script.around("c0")[2])
        return (*signed, m.SurvivorSignature(third, bytes(64)))

    return all_but_one_signed(honest, forged)


@lie(Reason.CONSISTENCY_QUORUM)
def an_inclusion_under_another_name(honest):
    """The first signature once more, as if the third neighbour had given it."""

    def renamed(script, signed):
        third = script.index(script.around("c0")[2])
        return (*signed, m.SurvivorSignature(third, signed[0].signature))

    return all_but_one_signed(honest, renamed)


@lie(Reason.NON_CANONICAL)
def an_inclusion_counted_twice(honest):
    """Two signatures, one of them twice."""
    return all_but_one_signed(honest, lambda _, signed: (*signed, signed[-1]))


@lie(Reason.CONSISTENCY_QUORUM)
def the_clients_own_word(honest):
    """The third signature is c0's own, given elsewhere: it says nothing of its neighbours."""
    return all_but_one_signed(
        honest, lambda script, signed: (*signed, script.include_as("c0", "c0"))
    )


@lie(Reason.CONSISTENCY_QUORUM)
def an_inclusion_of_somebody_else(honest):
    """The third neighbour has signed, for another neighbour of its own."""
    if honest:
        return honest_ring()
    table, script = ring_with_inputs(honest)
    first, second, third, _ = script.around("c0")
    lost = [n for n in script.ring if n != "c0"]
    script.survive(lambda n: lost if n == third else script.ring, ["c0", first, second, third])
    other = next(iter(script.signatures[third].values()))
    moved = m.SurvivorSignature(script.index(third), other)
    script.request(lambda _: sorted_by_signer((*script.including("c0"), moved)), ["c0"])
    return table.told(won=script.answers)


@lie(Reason.CONSISTENCY_QUORUM)
def inclusions_of_an_earlier_round(honest):
    """In the next round two sign for c0; the third signature is of the round before."""
    table = RingTable()
    first = table.script().invite()
    first.finish()
    second = table.script(number=2).invite()
    if honest:
        return second.finish()
    second.draw(order=first.ring).roster().deliver()
    signers = second.around("c0")
    second.survive(to=["c0", *signers[:2]])
    old = first.including("c0", signers[2:3])
    second.request(lambda _: sorted_by_signer((*second.including("c0"), *old)), ["c0"])
    return table.told(won=second.answers)


@lie(Reason.CONSISTENCY_QUORUM)
def an_inclusion_by_one_who_did_not_survive(honest):
    """The third signature is that of a corrupt neighbour who is not among the survivors."""
    if honest:
        return honest_ring()
    table, script = ring_with_inputs(honest)
    first, second, corrupt, _ = script.around("c0")
    without = [n for n in script.ring if n != corrupt]
    script.survive(without, ["c0", first, second])
    more = script.include_as(corrupt, "c0")
    script.request(lambda _: sorted_by_signer((*script.including("c0"), more)), ["c0"])
    return table.told(won=script.answers)
