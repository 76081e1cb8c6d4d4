"""Lies about the ring: who stands where, with which keys, and how many there are."""

import msgspec

from fedprivacy.errors import Reason
from fedprivacy.secagg import Adversary
from lie_registry import LIES, Lie, lie
from lies_of_members import signed_by_the_corrupt
from lying_ring import RingScript, RingTable, honest_ring

# ---------------------------------------------------------------------- neighbourhoods


def neighbourhood_lie(name, doc, change, *, size=None, members=None):
    """Registers a lie in what one client, at place 0, is shown of an honest ring.

    `change` gives the placed entries that it is shown instead, of the script, its name and the true
    ones; `members` are on the ring, all by default.
    """

    def script(honest):
        if honest:
            return honest_ring()
        table = RingTable()
        script = table.script().invite()
        script.draw(members)
        victim = script.ring[0]
        true = [script.placed(n) for n in (victim, *script.around(victim))]
        shown = change(script, victim, true)
        script.roster(lambda _: script.neighbourhood(victim, shown, size), [victim])
        return table.told(won=victim in script.dealt)

    def told(honest):
        return script(honest)

    told.__doc__ = doc
    LIES[name] = Lie(name, Reason.GRAPH, told)


def swapped(placed, at, other):
    """Two of them, each with the other's place."""
    one, two = placed[at], placed[other]
    changed = list(placed)
    changed[at] = msgspec.structs.replace(one, position=two.position)
    changed[other] = msgspec.structs.replace(two, position=one.position)
    return changed


def with_keys_of_the_corrupt(script, _, placed):
    name = placed[1].entry.membership.client_id
    old = placed[2].entry
    entry = signed_by_the_corrupt(script, name, *(k[::-1] for k in (old.seal_key, old.mask_key)))
    return [placed[0], msgspec.structs.replace(placed[1], entry=entry), *placed[2:]]


def with_a_stranger(script, _, placed):
    (stranger,) = set(script.adverts) - set(script.ring)
    (entry,) = script.honest_entries([stranger])
    return [placed[0], msgspec.structs.replace(placed[1], entry=entry), *placed[2:]]


def with_another_path(_, __, placed):
    path = (*placed[1].path[:-1], bytes(32))
    return [placed[0], msgspec.structs.replace(placed[1], path=path), *placed[2:]]


neighbourhood_lie(
    "neighbours-of-the-servers-choice",
    "A client is shown members from across the ring, truly placed, in place of two neighbours.",
    lambda script, victim, placed: [
        *placed[:3],
        *(script.placed(script.beside(victim, s)) for s in (3, 4)),
    ],
)
neighbourhood_lie(
    "a-neighbour-left-out",
    "A client is shown all its neighbours but one.",
    lambda script, victim, placed: placed[:-1],
)
neighbourhood_lie(
    "a-neighbour-too-many",
    "A client is shown one more than its neighbours.",
    lambda script, victim, placed: [*placed, script.placed(script.beside(victim, 3))],
)
neighbourhood_lie(
    "places-exchanged",
    "Two neighbours are shown each in the other's place.",
    lambda script, victim, placed: swapped(placed, 1, 2),
)
neighbourhood_lie(
    "in-anothers-place",
    "A client is shown its neighbour's neighbours: itself in its place, and the other in its own.",
    lambda script, victim, placed: swapped(
        [script.placed(script.beside(victim, s)) for s in range(-1, 4)], 1, 2
    ),
)
neighbourhood_lie(
    "keys-that-are-not-on-the-ring",
    "A corrupt neighbour signs other keys for one client than those that the root commits to.",
    with_keys_of_the_corrupt,
)
neighbourhood_lie(
    "a-path-to-another-root",
    "The proof of a neighbour's place does not lead to the root.",
    with_another_path,
)
neighbourhood_lie(
    "a-stranger-at-a-place",
    "A member who is not on the ring is shown in a neighbour's place.",
    with_a_stranger,
    members=("c0", "c1", "c2", "c3", "c4", "c5", "c6"),
)
neighbourhood_lie(
    "another-size-of-the-ring",
    "A ring of seven is said to have eight places.",
    lambda script, victim, placed: placed,
    size=8,
    members=("c0", "c1", "c2", "c3", "c4", "c5", "c6"),
)


@lie(Reason.GRAPH)
def a_ring_smaller_than_the_bounds_allow(honest):
    """Of ten one is lost, as planned; on the ring of nine sums of four are possible, not of five.

    The plan's own degree and threshold hold for ten.
    """
    rules = {"min_clients": 5, "degree": 4, "threshold": 4}
    table = RingTable(clients=10, aggregation=rules)
    script = table.script().invite()
    if honest:
        return script.finish()
    script.draw(table.names[:9]).roster(to=["c0"])
    return table.told(won="c0" in script.dealt)


@lie(Reason.ROSTER_SIZE)
def a_ring_smaller_than_the_plan_is_made_for(honest):
    """Two of eight are left out where the graph is made for the loss of one."""
    if honest:
        return honest_ring()
    table = RingTable()
    script = table.script().invite()
    script.draw(table.names[:6]).roster(to=["c0"])
    return table.told(won="c0" in script.dealt)


@lie(Reason.MALFORMED)
def a_ring_drawn_again(honest):
    """A client that has dealt is shown another ring in the same attempt."""
    if honest:
        return honest_ring()
    table = RingTable()
    script = table.script().invite()
    script.roster()
    first = script.dealt["c0"]
    script.draw(order=sorted(script.ring)).roster(to=["c0"])
    return table.told(won=script.dealt["c0"] != first)


# ---------------------------------------------------------------------- plans


def plan_lie(name, reason, doc, *, lying=None, honest=None, changes=None):
    """Registers a lie in one plan for eight clients on a ring."""

    def script(honest_turn):
        table = RingTable(aggregation=(honest if honest_turn else lying) or {})
        cohort = table.cohort()
        plan = table.freeze(cohort, **({} if honest_turn else changes or {}))
        script = table.script(plan, cohort).invite()
        return script.finish() if honest_turn else table.told(won=script.adverts)

    def told(honest):
        return script(honest)

    told.__doc__ = doc
    LIES[name] = Lie(name, reason, told)


plan_lie(
    "a-ring-that-may-fall-apart",
    Reason.QUORUM,
    "Where two may be lost, a ring of degree 2 is cut at two places.",
    lying={"degree": 2, "threshold": 2, "min_clients": 2, "dropout": 0.25},
    honest={"degree": 4, "threshold": 3, "min_clients": 2, "dropout": 0.25},
)
plan_lie(
    "small-sums-on-a-ring",
    Reason.QUORUM,
    "The plan promises sums of four, and its ring lets three be unmasked.",
    lying={"degree": 4, "threshold": 3, "min_clients": 4},
    honest={"degree": 4, "threshold": 4, "min_clients": 4},
)
plan_lie(
    "a-degree-that-is-no-ring",
    Reason.QUORUM,
    "With an odd degree a client would count neighbours that it does not have.",
    lying={"degree": 5, "threshold": 4},
    honest={"degree": 6, "threshold": 4},
)
plan_lie(
    "another-degree-than-the-plan-leads-to",
    Reason.PLAN,
    "This attempt is frozen with a degree and a threshold that are safe, and not the plan's.",
    changes={"degree": 6, "threshold": 5},
)


@lie(Reason.QUORUM)
def a_neighbourhood_with_two_quorums(honest):
    """With t = 2 of four neighbours, two tell a victim's seed and the other two its mask key.

    All are truly placed on one ring. Half of a victim's neighbours are told that it survives and
    half that it does not; it answers, since two have signed for it.
    """
    table = RingTable(aggregation={"degree": 4, "threshold": 3 if honest else 2, "min_clients": 2})
    script = table.script().invite()
    if honest:
        return script.finish()
    if table.refusals:
        return table.told()
    script.roster().deliver()
    halves(script, "c0", script.around("c0")[:2])
    return table.told(won=is_torn_open(script, "c0"))


def halves(script, victim, told):
    """Only these neighbours are told that a victim survives; all are asked with what was signed."""
    others = [n for n in script.ring if n != victim]
    script.survive(lambda n: script.ring if n in {victim, *told} else others)
    script.request()


def is_torn_open(script, name):
    """Both secrets of one client are out, and its vector with them."""
    exact = script.sum_of([name]) == script.table.exact([name])
    return exact and script.has_both_secrets(name)


@lie(Reason.PLAN)
def a_ring_against_a_malicious_server(honest):
    """The plan promises more than a ring can keep: who lies from the start may draw it."""
    table = RingTable()
    cohort = table.cohort()
    plan = table.freeze(cohort)
    if not honest:
        rules = msgspec.structs.replace(plan.plan.aggregation, adversary=Adversary.MALICIOUS)
        more = msgspec.structs.replace(plan.plan, aggregation=rules)
        plan = msgspec.structs.replace(plan, plan=more)
    script = table.script(plan, cohort).invite()
    return script.finish() if honest else table.told(won=script.adverts)


# ---------------------------------------------------------------------- attempts


@lie(Reason.ROUND_SEEN)
def the_same_attempt_on_a_fresh_ring(honest):
    """A client that was restarted is invited once more, to the same attempt and another ring."""
    if honest:
        return honest_ring()
    table = RingTable()
    script = table.script().invite()
    script.roster()
    again = RingScript(table, script.plan, script.cohort).invite(["c0"])
    return table.told(won=again.adverts)


@lie(Reason.ANSWERED)
def a_second_attempt_on_a_fresh_ring(honest):
    """After an attempt was answered the ring is drawn again over all but one: the difference tells.

    Its twin is a second attempt where no input had left.
    """
    table = RingTable()
    cohort = table.cohort()
    first = table.script(table.freeze(cohort), cohort).invite().roster()
    second = table.script(table.freeze(cohort, attempt=2), cohort)
    if honest:
        return second.invite(table.names[:7]).finish()
    first.deliver().survive().request()
    second.invite(table.names[:7])
    if not second.adverts:
        return table.told()
    second.draw(order=sorted(second.adverts)).roster().deliver().survive().request()
    sums = [first.sum_of(table.names), second.sum_of(table.names[:7])]
    apart = None not in sums and [a - b for a, b in zip(*sums, strict=True)]
    return table.told(won=apart == table.exact(["c7"]))


@lie(Reason.ANSWERED)
def an_answer_once_more(honest):
    """After all have answered for everyone, a second set leaves one out: its other secret."""
    if honest:
        return honest_ring()
    table = RingTable()
    script = table.script().invite()
    script.roster().deliver().survive().request()
    rest = script.around("c0")
    script.survive([n for n in script.ring if n != "c0"], rest)
    if not table.refusals:
        script.request(to=rest)
    return table.told(won=script.has_both_secrets("c0"))


@lie(Reason.SPENT)
def one_input_on_two_rings(honest):
    """Two attempts are under way, each member is told of one only: ten inputs open on both rings.

    Three others are in each sum: their difference holds six inputs, where seven and more are
    promised. The twin is a second attempt where no input had left at the first.
    """
    # Degree 12, of whom t = 7 unmask: eight that answer open a ring of thirteen.
    table = RingTable(clients=16, aggregation={"dropout": 0.3})
    cohort, names = table.cohort(), list(table.names)
    rings = [(names[:13], names[:8]), (names[3:], names[8:])]
    scripts = []
    for attempt, (members, _) in enumerate(rings, 1):
        script = table.script(table.freeze(cohort, attempt=attempt), cohort).invite(members)
        scripts.append(script.draw().roster())
    if honest:
        return scripts[1].finish()
    for script in scripts:
        script.deliver()
    if table.refusals:
        return table.told()
    opened = []
    for script, (members, answering) in zip(scripts, rings, strict=True):
        script.survive(members, answering).request(to=answering)
        opened.append(script.sum_of(members) == table.exact(members))
    return table.told(won=all(opened))
