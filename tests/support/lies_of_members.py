"""Lies about who takes part: rosters and deliveries."""

import msgspec

from fedprivacy.crypto import KeyPair
from fedprivacy.errors import Reason
from fedprivacy.secagg import Adversary, Cohort
from fedprivacy.secagg.masking import messages as m
from fedprivacy.secagg.masking.keys import KEYS_LABEL, signed_keys
from lie_registry import lie
from lying_server import Script, Table

CURIOUS = {"adversary": Adversary.HONEST_BUT_CURIOUS}


def replaced(entries, name, **changes):
    """The roster with one entry changed."""
    return tuple(
        msgspec.structs.replace(e, **changes) if e.membership.client_id == name else e
        for e in entries
    )


def signed_by_the_corrupt(script, name, seal_key, mask_key):
    """An entry that a corrupt client signs, whatever keys stand in it."""
    place = script.places[name]
    parts = signed_keys(script.plan.sum_plan(), place.index, seal_key, mask_key)
    signature = script.table.identities[name].key.sign(KEYS_LABEL, *parts)
    return m.RosterEntry(place, seal_key, mask_key, signature)


@lie(Reason.KEY_SIGNATURE)
def swapped_round_keys(honest):
    """Another member's round keys are the server's own, under the member's signature."""
    table = Table()
    script = table.script().invite()
    if honest:
        return script.finish()
    private = b"p" * 32
    script.roster(
        lambda _: replaced(script.honest_entries(), "c1", seal_key=KeyPair(private).public), ["c0"]
    )
    return table.told(won="c0" in script.dealt)


@lie(Reason.KEY_SIGNATURE)
def keys_signed_for_another_round(honest):
    """A member's keys and signature of an earlier round, whose private halves have leaked."""
    table = Table()
    first = table.script().invite()
    second = table.script(number=2).invite()
    if honest:
        return second.finish()
    old = first.adverts["c1"]
    entry = {"seal_key": old.seal_key, "mask_key": old.mask_key, "signature": old.signature}
    second.roster(lambda _: replaced(second.honest_entries(), "c1", **entry), ["c0"])
    return table.told(won="c0" in second.dealt)


@lie(Reason.NOT_ENROLLED)
def stranger_in_the_roster(honest):
    """The committed cohort, and so the roster, has a member whom no authority enrolled."""
    table = Table()
    cohort = table.cohort(*table.names, *([] if honest else ["sybil"]))
    script = table.script(table.freeze(cohort), cohort).invite()
    if honest:
        return script.finish()
    table.identities["sybil"] = table.identities["c0"]
    sybil = signed_by_the_corrupt(
        script, "sybil", KeyPair(b"1" * 32).public, KeyPair(b"2" * 32).public
    )
    script.roster(lambda _: (*script.honest_entries(), sybil), ["c0"])
    return table.told(won="c0" in script.dealt)


@lie(Reason.COHORT_PROOF)
def member_from_outside_the_cohort(honest):
    """An enrolled client takes the place of one that the cohort committed to."""
    table = Table(clients=5, enrolled=6)
    script = table.script().invite()
    if honest:
        return script.finish()
    script.places["c5"] = msgspec.structs.replace(script.places["c4"], client_id="c5")
    packed = signed_by_the_corrupt(
        script, "c5", KeyPair(b"1" * 32).public, KeyPair(b"2" * 32).public
    )
    script.roster(lambda _: (*script.honest_entries(table.names[:4]), packed), ["c0"])
    return table.told(won="c0" in script.dealt)


@lie(Reason.DUPLICATE_MEMBER)
def one_member_counted_twice(honest):
    """A corrupt client stands in two places of the cohort, and counts twice for the threshold."""
    table = Table()
    if honest:
        return table.script().invite().finish()
    honestly = table.cohort(*table.names[:4], "c4")
    cohort = Cohort((*table.names[:3], "c4", "c4"), honestly.salts)
    script = table.script(table.freeze(cohort), cohort).invite(table.names[:3])
    entries = []
    for place in cohort.memberships()[3:]:
        script.places["c4"] = place
        keys = (
            KeyPair(bytes([place.index]) * 32).public,
            KeyPair(bytes([64 + place.index]) * 32).public,
        )
        entries.append(signed_by_the_corrupt(script, "c4", *keys))
    script.roster(lambda _: (*script.honest_entries(), *entries), ["c0"])
    return table.told(won="c0" in script.dealt)


@lie(Reason.DUPLICATE_MEMBER)
def one_key_for_two_members(honest):
    """A corrupt client signs another member's key as its own."""
    table = Table()
    script = table.script().invite()
    if honest:
        return script.finish()
    taken, own = script.adverts["c1"].mask_key, script.adverts["c4"].seal_key
    copied = signed_by_the_corrupt(script, "c4", own, taken)
    script.roster(lambda _: (*script.honest_entries(table.names[:4]), copied), ["c0"])
    return table.told(won="c0" in script.dealt)


@lie(Reason.WEAK_KEY)
def key_of_small_order(honest):
    """A corrupt client signs a key with which every agreement gives zero."""
    table = Table()
    script = table.script().invite()
    if honest:
        return script.finish()
    weak = signed_by_the_corrupt(script, "c4", bytes(32), script.adverts["c4"].mask_key)
    script.roster(lambda _: (*script.honest_entries(table.names[:4]), weak), ["c0"])
    return table.told(won="c0" in script.dealt)


@lie(Reason.WEAK_KEY)
def mask_key_of_small_order(honest):
    """A corrupt client signs a mask key with which every mask between it and others is known."""
    table = Table()
    script = table.script().invite()
    if honest:
        return script.finish()
    weak = signed_by_the_corrupt(script, "c4", script.adverts["c4"].seal_key, bytes(32))
    script.roster(lambda _: (*script.honest_entries(table.names[:4]), weak), ["c0"])
    return table.told(won="c0" in script.dealt)


@lie(Reason.ROSTER_SIZE)
def roster_too_small(honest):
    """Four members, enough for the threshold, where the plan promises sums over five."""
    table = Table(aggregation={"min_clients": 5})
    script = table.script().invite()
    if honest:
        return script.finish()
    script.roster(lambda _: script.honest_entries(table.names[:4]), ["c0"])
    return table.told(won="c0" in script.dealt)


@lie(Reason.NON_CANONICAL)
def roster_in_disorder(honest):
    """The same members in another order: a session of its own for one client."""
    table = Table()
    script = table.script().invite()
    if honest:
        return script.finish()
    script.roster(lambda _: script.honest_entries()[::-1], ["c0"])
    return table.told(won="c0" in script.dealt)


@lie(Reason.OWN_ENTRY)
def left_out_of_the_roster(honest):
    """A client is shown a roster without itself."""
    table = Table()
    script = table.script().invite()
    if honest:
        return script.finish()
    script.roster(lambda _: script.honest_entries(table.names[1:]), ["c0"])
    return table.told(won="c0" in script.dealt)


@lie(Reason.OWN_ENTRY)
def own_keys_exchanged(honest):
    """Where nobody signs, a client's own keys are exchanged for the server's."""
    table = Table(aggregation=CURIOUS)
    script = table.script().invite()
    if honest:
        return script.finish()
    own = KeyPair(b"p" * 32).public
    script.roster(lambda _: replaced(script.honest_entries(), "c0", mask_key=own), ["c0"])
    return table.told(won="c0" in script.dealt)


def alone_with_the_corrupt(honest, dealers):
    """c0 is to mask with the corrupt c4 alone; the others take c0 for one of five survivors.

    If c0 plays along, its own mask comes from the others and the mask with c4 from c4: its vector
    lies open.
    """
    table = Table()
    script = table.script().invite()
    if honest:
        return script.finish()
    script.corrupt("c4")
    script.roster()
    script.deliver(lambda n: script.boxes_for(n, dealers) if n == "c0" else script.boxes_for(n))
    everyone = table.names
    script.survive(everyone, everyone[1:])
    script.request(to=everyone[1:])
    return table.told(won=script.sum_of(["c0"]) == table.exact(["c0"]))


@lie(Reason.ROSTER_SIZE)
def few_dealers_for_one_client(honest):
    """A client is shown two dealers, itself and a corrupt one, where four are needed."""
    return alone_with_the_corrupt(honest, ("c0", "c4"))


@lie(Reason.NON_CANONICAL)
def one_dealer_counted_often(honest):
    """The same two dealers, the corrupt one in four boxes."""
    table = Table()
    script = table.script().invite()
    if honest:
        return script.finish()
    script.roster()
    own, corrupt = script.boxes_for("c0", ("c0", "c4"))
    script.deliver(lambda _: (own, corrupt, corrupt, corrupt), ["c0"])
    return table.told(won=script.inputs)


@lie(Reason.OWN_ENTRY)
def own_shares_not_delivered(honest):
    """A client is not among its own dealers."""
    table = Table()
    script = table.script().invite()
    if honest:
        return script.finish()
    script.roster().deliver(lambda n: script.boxes_for(n, table.names[1:]), ["c0"])
    return table.told(won=script.inputs)


@lie(Reason.UNKNOWN_DEALER)
def share_from_a_stranger(honest):
    """A box from a member of the cohort who is not in the roster."""
    table = Table()
    script = table.script().invite()
    if honest:
        return script.finish()
    script.roster(lambda _: script.honest_entries(table.names[:4]), table.names[:4])

    def boxes(name):
        known = script.boxes_for(name, table.names[:4])
        return (*known, msgspec.structs.replace(known[-1], peer=4))

    script.deliver(boxes, ["c0"])
    return table.told(won=script.inputs)


def boxes_exchanged(honest, exchange):
    """A box that does not open is complained about, and its dealer's shares are not taken."""
    table = Table()
    script = table.script().invite()
    if honest:
        return script.finish()
    script.roster()
    script.deliver(lambda n: exchange(script, script.boxes_for(n), n), ["c0"])
    if 1 in script.complaints.get("c0", ()):
        table.refusals.append(("c0", Reason.SHARE_UNOPENED))
    return table.told(won=script.inputs and not script.complaints)


@lie(Reason.SHARE_UNOPENED)
def misdirected_share(honest):
    """A dealer's box for another recipient."""

    def exchange(script, boxes, _):
        wrong = script.boxes_for("c2")[1]
        return (boxes[0], wrong, *boxes[2:])

    return boxes_exchanged(honest, exchange)


@lie(Reason.SHARE_UNOPENED)
def share_of_an_earlier_attempt(honest):
    """A dealer's box for this very recipient, from the attempt before."""

    def exchange(script, boxes, _):
        before = Script(script.table, script.plan, script.cohort)
        before.plan = script.table.freeze(script.cohort, run=b"q" * 16)
        before.invite().roster()
        return (boxes[0], before.boxes_for("c0")[1], *boxes[2:])

    return boxes_exchanged(honest, exchange)


@lie(Reason.SHARE_UNOPENED)
def commitments_exchanged(honest):
    """A dealer's commitments are the server's, so that the holder will stand there as a liar."""

    def exchange(_, boxes, __):
        wrong = msgspec.structs.replace(boxes[1], commitments=bytes(64))
        return (boxes[0], wrong, *boxes[2:])

    return boxes_exchanged(honest, exchange)
