"""The scripts behind the vectors: honest runs on a ring, and runs with one lie each.

As in ../secagg/scenarios.py, for what the ring changes; what it leaves alone has its vectors there.
Members are named by their places as seen from the victim's: `run.member(VICTIM, 1)` stands next.
"""

import importlib.util
from pathlib import Path

from msgspec.structs import replace

from fedprivacy.crypto import KeyPair
from fedprivacy.secagg import SERVER
from fedprivacy.secagg.masking.keys import INCLUSION_LABEL, ring_session_id, signed_inclusion
from fedprivacy.secagg.masking.messages import (
    AcknowledgedInput,
    AcknowledgedSurvivors,
    ConsistencySignature,
    Inclusion,
    InclusionSignatures,
    Neighbourhood,
    OpenedShare,
    PlacedEntry,
    Roster,
    SealedShares,
    ShareDelivery,
    SurvivorSet,
    SurvivorSignature,
    UnmaskRequest,
    UnmaskShares,
    server_limit,
)
from fedprivacy.wire import encode


def _secagg():
    path = Path(__file__).resolve().parents[1] / "secagg" / "scenarios.py"
    spec = importlib.util.spec_from_file_location("secagg_plus_scenarios_base", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


secagg = _secagg()
SCENARIOS = secagg.Scenarios()
ok, bad, bad_for_server = SCENARIOS.ok, SCENARIOS.bad, SCENARIOS.bad_for_server
VICTIM, LAST, CURIOUS = secagg.VICTIM, secagg.LAST, secagg.CURIOUS
read, replaced, flipped = secagg.read, secagg.replaced, secagg.flipped

SMALL = {"n": 6, "dropped": 1}
"""Everyone is everyone's neighbour, but for the one opposite."""
WIDE = {"degree": 6, "threshold": 4}
"""Of eight, everyone but the one opposite; two of six neighbours may be lost."""


def index_of(run, name):
    return run.memberships[name].index


# ------------------------------------------------------------------ honest runs


@ok("Eight clients on a ring, each with four neighbours; nobody drops out.")
def ok_semi_malicious(run):
    run.finish(run.vectors(run.hear(run.keys())))


@ok("Honest but curious, nobody drops out.", adversary=CURIOUS, bits=12)
def ok_curious(run):
    run.finish(run.vectors(run.hear(run.keys())))


@ok(
    "A client that never advertises keys has no place. The ring of seven may lose two more of the "
    "plan's three, and is safe: that one was lost before the ring was drawn.",
    dropped=3,
    bits=9,
)
def ok_drop_keys(run):
    run.finish(run.vectors(run.hear(run.keys(drop={LAST}))))


@ok("A client that deals no shares: its four neighbours have three others each, which is enough.")
def ok_drop_shares(run):
    run.finish(run.vectors(run.hear(run.keys(), drop={LAST})))


@ok(
    "A client lost after dealing: four neighbours have its masks, and open its mask key. The "
    "others are told nothing of it.",
    bits=33,
)
def ok_drop_input(run):
    run.finish(run.vectors(run.hear(run.keys()), drop={LAST}))


@ok("A survivor that does not sign is in the sum, and is not asked to unmask.", bits=62)
def ok_drop_consistency(run):
    told = run.vectors(run.hear(run.keys()))
    run.hear(run.hear(told, drop={VICTIM}))


@ok("A survivor that signs and does not unmask is still in the sum.", bits=7)
def ok_drop_unmasking(run):
    run.finish(run.vectors(run.hear(run.keys())), drop={LAST})


@ok("Ten clients; one is lost before it deals, and who stands opposite before its input.", n=10)
def ok_two_drops(run):
    told = run.keys()
    dealt = run.hear(told, drop={VICTIM})
    run.finish(run.vectors(dealt, drop={run.member(VICTIM, 5)}))


@ok("Honest but curious, one client lost before its input.", adversary=CURIOUS, **SMALL)
def ok_curious_drop_input(run):
    run.finish(run.vectors(run.hear(run.keys()), drop={LAST}))


@ok("A degree that reaches everyone: the graph is complete, with t of the others.", n=5, degree=6)
def ok_complete(run):
    run.finish(run.vectors(run.hear(run.keys())))


@ok(
    "Four neighbours of one client deal no shares. Two others are left around it where three are "
    "needed: it has dealt, and is put aside; nobody has its masks.",
    n=12,
    degree=6,
    corrupt=0,
    dropped=5,
    adversary=CURIOUS,
)
def ok_put_aside(run):
    told = run.keys()
    run.finish(run.vectors(run.hear(told, drop={run.member(VICTIM, s) for s in (-2, -1, 1, 2)})))


@ok(
    "A client is lost after dealing, with all of its neighbours that dealt: nobody's input has its "
    "masks, and its mask key is not needed. Each neighbour has enough others left, and is "
    "recovered; the two next to the client, who would have had one, have not dealt.",
    n=62,
    degree=24,
    threshold=2,
    corrupt=0,
    dropped=25,
    adversary=CURIOUS,
    length=3,
    longest=64,
)
def ok_not_needed(run):
    told = run.keys()
    nearest = {run.member(VICTIM, step) for step in (-1, 1)}
    told = run.hear(told, drop=nearest)
    run.finish(run.vectors(told, drop={run.member(VICTIM, step) for step in range(-12, 13)}))


@ok("A box that does not open is named in the masked input; three others hold the share.", **SMALL)
def ok_unopened_box(run):
    told = run.hear(run.keys())
    delivery = read(ShareDelivery, told[LAST])
    at = next(i for i, box in enumerate(delivery.boxes) if box.peer != index_of(run, LAST))
    spoiled = replace(delivery.boxes[at], box=flipped(delivery.boxes[at].box))
    told[LAST] = encode(ShareDelivery(replaced(delivery.boxes, at, spoiled)))
    run.finish(run.vectors(told))


@ok(
    "One member's signatures do not hold. The server relays them unverified; each neighbour passes "
    "its one over and counts the three of others.",
    records={SERVER, "c000", "c001", "c002", "c004", "c005"},
    **SMALL,
)
def ok_spoiled_signatures(run):
    def lie(sent):
        signed = read(InclusionSignatures, sent[0]).signatures
        spoiled = tuple(replace(s, signature=flipped(s.signature)) for s in signed)
        return [encode(InclusionSignatures(spoiled))]

    told = run.vectors(run.hear(run.keys()))
    run.hear(run.hear(told, lies={LAST: lie}))


@ok(
    "Beside three signatures that count stand the client's own, one by a survivor who is no "
    "neighbour, and one that does not hold: they are passed over.",
    records={VICTIM},
)
def ok_signatures_that_do_not_count(run):
    told = run.hear(run.vectors(run.hear(run.keys())))
    count = [included_by(run, step) for step in (-1, 1, 2)]
    others = [included_by(run, 0), included_by(run, 3), spoiled_signature(included_by(run, -2))]
    signatures = sorted([*count, *others], key=lambda signed: signed.signer)
    told[VICTIM] = encode(UnmaskRequest(tuple(signatures)))
    run.hear(told)


@ok(
    "The two next to a client deal no shares: it has two others, where three are needed, and is "
    "put aside. Five are left, as many as the plan is ready for, but the next ones then have too "
    "few, and so around the ring.",
    corrupt=0,
    dropped=3,
    records={SERVER},
)
def ok_too_few_around(run):
    told = run.keys()
    run.hear(told, drop={run.member(VICTIM, -1), run.member(VICTIM, 1)})


@ok(
    "Four of six advertise keys, as many as the plan is ready for; among four, nobody has the four "
    "neighbours that the threshold asks for: no ring is drawn.",
    threshold=4,
    n=6,
    records={SERVER},
)
def ok_too_few_for_ring(run):
    run.keys(drop={VICTIM, LAST})


@ok(
    "Three inputs are missing where the plan is ready to lose two.",
    n=10,
    records={SERVER},
)
def ok_too_few_inputs(run):
    run.vectors(run.hear(run.keys()), drop={VICTIM, "c001", LAST})


@ok(
    "Two who stand on either side of a survivor are lost before their inputs: the survivor would "
    "not answer, and without it too few hold shares of its seed. Nobody is told of survivors.",
    records={SERVER},
)
def ok_too_few_holders(run):
    told = run.hear(run.keys())
    run.vectors(told, drop={run.member(VICTIM, -1), run.member(VICTIM, 1)})


@ok(
    "Two who stand on either side of a survivor do not sign: too few include it, so it is not "
    "asked, and too few others hold shares of its seed. Nobody is asked to unmask.",
    records={SERVER},
)
def ok_too_few_signatures(run):
    told = run.vectors(run.hear(run.keys()))
    run.hear(told, drop={run.member(VICTIM, -1), run.member(VICTIM, 1)})


@ok(
    "Three next to each other sign and do not unmask: of the five around the one in the middle, "
    "two have opened their shares where three are needed.",
    records={SERVER},
)
def ok_too_few_unmask(run):
    told = run.vectors(run.hear(run.keys()))
    run.finish(told, drop={run.member(VICTIM, step) for step in (-1, 0, 1)})


# ------------------------------------------------------------------ plans that no ring makes safe


def tell_size(run, size=8):
    """The sizes and bounds are checked before any entry is looked at."""
    run.start(VICTIM)
    run.receive(VICTIM, encode(Neighbourhood(size, bytes(32), ())))


UNSAFE = "The round would have refused the plan; if it did not, the client does."


@bad("An odd degree, and nothing else.", UNSAFE, degree=5, threshold=4)
def bad_odd_degree(run):
    tell_size(run)


@bad(
    "Four neighbours, and four clients that are corrupt or lost: with a chance of more than "
    "2^-41, these cut the ring in two.",
    "The honest clients fall into pieces, and the server learns the sum of each piece.",
    corrupt=2,
)
def bad_ring_in_pieces(run):
    tell_size(run)


@bad(
    "Semi-malicious, 2t = k: a neighbourhood can be told two things, each to t members.",
    "Half of it opens the client's seed, the other half its mask key.",
    threshold=2,
)
def bad_low_threshold(run):
    tell_size(run)


@bad(
    "Honest but curious, two corrupt clients, and a threshold of two.",
    "Both stand next to one client, and open its seed.",
    threshold=2,
    corrupt=2,
    degree=6,
    min_clients=4,
    adversary=CURIOUS,
)
def bad_low_threshold_curious(run):
    tell_size(run)


@bad("A threshold of five with four neighbours.", "No client could ever answer.", threshold=5)
def bad_high_threshold(run):
    tell_size(run)


@bad(
    "min_clients is three; the graph guarantees two honest clients in a sum.",
    "A lying server has a sum of two inputs revealed.",
    min_clients=3,
)
def bad_small_sums(run):
    tell_size(run)


@bad(
    "The plan's graph guarantees two honest clients in a sum; this client asks for three.",
    "The client's input would be hidden among fewer others than it asks for.",
    floor=3,
)
def bad_sums_below_floor(run):
    tell_size(run)


# ------------------------------------------------------------------ lies about the ring


@bad("A ring of five where six of eight are left at the least.", "Too few hide each other.")
def bad_small_ring(run):
    tell_size(run, 5)


@bad("A ring of more members than the committed cohort has.", "Strangers join the cohort.")
def bad_large_ring(run):
    tell_size(run, 9)


@bad(
    "Honest but curious, a ring that satisfies the plan and not the client's own floor.",
    "The client's input would be hidden among fewer others than it asks for.",
    adversary=CURIOUS,
    floor=8,
)
def bad_ring_below_floor(run):
    tell_size(run, 7)


@bad(
    "A ring of four, as many as the plan is ready for, on which nobody has t neighbours.",
    "Bounds that held for the whole cohort are not those of fewer members.",
    n=6,
    threshold=4,
)
def bad_ring_for_threshold(run):
    tell_size(run, 4)


@bad("A ring without members.", "A reader that divides by its size.")
def bad_empty_ring(run):
    tell_size(run, 0)


@bad(
    "A roster, as SecAgg has it, where a neighbourhood is due.",
    "A client that falls back to another protocol than the one that was agreed on.",
)
def bad_roster(run):
    run.keys()
    entries = sorted(run.on_ring, key=lambda entry: entry.membership.index)
    run.receive(VICTIM, encode(Roster(tuple(entries))))


@bad("One byte more than the longest neighbourhood.", "Memory allocated on a stranger's word.")
def bad_oversized(run):
    run.keys()
    run.receive(VICTIM, bytes(server_limit(run.plan) + 1))


def tell_ring(run, **change):
    """Honest keys; then the victim alone is told another neighbourhood."""
    run.keys()
    run.receive(VICTIM, encode(replace(run.shown[VICTIM], **change)))


def tell_entries(run, change, **how):
    run.keys(**how)
    entries = change(run.shown[VICTIM].entries)
    run.receive(VICTIM, encode(replace(run.shown[VICTIM], entries=tuple(entries))))


def by_index(entries):
    return sorted(entries, key=lambda placed: placed.entry.membership.index)


def standing(run, step):
    """The true entry of who stands so many places on from the victim, with its proof."""
    index = index_of(run, run.member(VICTIM, step))
    place = run.ring.index(index)
    return PlacedEntry(run.on_ring[place], place, run.tree.path(place))


def without(run, entries, step):
    index = index_of(run, run.member(VICTIM, step))
    return [placed for placed in entries if placed.entry.membership.index != index]


@bad(
    "One neighbour is left out.",
    "The client deals to fewer than it should: fewer who would have to agree to unmask it.",
)
def bad_neighbour_missing(run):
    tell_entries(run, lambda entries: without(run, entries, 1))


@bad(
    "One neighbour too many, with a proof of its true place.",
    "The server puts whom it likes next to the client.",
)
def bad_neighbour_extra(run):
    tell_entries(run, lambda entries: by_index([*entries, standing(run, 3)]))


@bad(
    "A member with a proof of its true place, in place of a neighbour.",
    "The server puts whom it likes next to the client.",
)
def bad_neighbour_foreign(run):
    tell_entries(run, lambda entries: by_index([*without(run, entries, 1), standing(run, 3)]))


@bad(
    "A member said to stand where a neighbour stands, with the proof of its own place.",
    "The server puts whom it likes next to the client.",
)
def bad_false_place(run):
    def change(entries):
        lie = replace(standing(run, 3), position=standing(run, 1).position)
        return by_index([*without(run, entries, 1), lie])

    tell_entries(run, change)


@bad("Two neighbours in each other's place.", "One set of neighbours, two graphs.")
def bad_places_exchanged(run):
    def change(entries):
        one, other = standing(run, 1), standing(run, 2)
        rest = without(run, without(run, entries, 1), 2)
        lies = (
            PlacedEntry(one.entry, other.position, other.path),
            PlacedEntry(other.entry, one.position, one.path),
        )
        return by_index([*rest, *lies])

    tell_entries(run, change)


@bad(
    "A sixth entry at a place that a neighbour has: the places are those of the ring, the members "
    "are one too many.",
    "The client deals to a member that nobody else takes for its neighbour.",
)
def bad_place_twice(run):
    def change(entries):
        lie = replace(standing(run, 3), position=standing(run, 1).position)
        return by_index([*entries, lie])

    tell_entries(run, change)


@bad(
    "The client's own place is one past the ring's end.",
    "Places counted around the ring: two that are one.",
)
def bad_own_place(run):
    def change(entries):
        mine = standing(run, 0)
        return by_index([*without(run, entries, 0), replace(mine, position=len(run.ring))])

    tell_entries(run, change)


@bad(
    "A ring of eight that is said to be one of seven.",
    "Two clients on one root with two graphs.",
)
def bad_ring_size(run):
    tell_ring(run, size=7)


@bad("Another root than that of the proofs.", "A session that others are not in.")
def bad_ring_root(run):
    run.keys()
    shown = run.shown[VICTIM]
    run.receive(VICTIM, encode(replace(shown, root=flipped(shown.root))))


def change_path(run, change):
    def lie(entries):
        placed = standing(run, 1)
        return by_index([*without(run, entries, 1), replace(placed, path=change(placed.path))])

    tell_entries(run, lie)


@bad("A neighbour's proof with another node.", "A member that is not on the ring.")
def bad_ring_path(run):
    change_path(run, lambda path: (flipped(path[0]), *path[1:]))


@bad("A neighbour's proof without its last node.", "A node of the tree taken for its root.")
def bad_ring_path_short(run):
    change_path(run, lambda path: path[:-1])


@bad("A neighbour's proof with one node more.", "A leaf of a deeper tree.")
def bad_ring_path_long(run):
    change_path(run, lambda path: (*path, bytes(32)))


@bad(
    "The neighbours out of order.",
    "Shares dealt in another order than their holders' indices.",
)
def bad_unsorted_neighbours(run):
    tell_entries(run, lambda entries: (entries[1], entries[0], *entries[2:]))


@bad(
    "The client is not among those that it is shown.",
    "The client deals shares for a round in which it has no part.",
)
def bad_own_entry_missing(run):
    tell_entries(run, lambda entries: without(run, entries, 0))


@bad(
    "The client is shown with a seal key that it did not send.",
    "Its neighbours deal their shares for it to the server.",
)
def bad_own_entry(run):
    def change(entries):
        mine = standing(run, 0)
        seal = KeyPair(run.rng.bytes(32)).public
        lie = replace(mine, entry=replace(mine.entry, seal_key=seal))
        return by_index([*without(run, entries, 0), lie])

    tell_entries(run, change)


@bad(
    "A neighbour's two keys in each other's place.",
    "Keys without their owner's word could be anyone's.",
)
def bad_swapped_keys(run):
    def change(entries):
        placed = standing(run, 1)
        keys = {"seal_key": placed.entry.mask_key, "mask_key": placed.entry.seal_key}
        lie = replace(placed, entry=replace(placed.entry, **keys))
        return by_index([*without(run, entries, 1), lie])

    tell_entries(run, change)


@bad(
    "A neighbour with a signed seal key of small order, and after it one whose keys nobody signed: "
    "signatures are checked of all, before a key is used.",
    "What a client says of a message hangs on how it goes about its checks.",
)
def bad_weak_and_unsigned_keys(run):
    def change(entries):
        others = [i for i, p in enumerate(entries) if p.entry.membership.client_id != VICTIM]
        first, second = others[:2]
        name = entries[first].entry.membership.client_id
        mask_key = KeyPair(run.rng.bytes(32)).public
        weak = secagg.entry_of(run, name, bytes(32), mask_key)
        unsigned = replace(entries[second].entry, signature=bytes(64))
        changed = replaced(entries, first, replace(entries[first], entry=weak))
        return replaced(changed, second, replace(changed[second], entry=unsigned))

    tell_entries(run, change)


# ------------------------------------------------------------------ lies about the shares


def tell_boxes(run, change):
    told = run.hear(run.keys())
    boxes = read(ShareDelivery, told[VICTIM]).boxes
    run.receive(VICTIM, encode(ShareDelivery(tuple(change(boxes)))))


@bad(
    "Boxes of the client itself and two neighbours: three, where itself and three are needed.",
    "A client that could not be answered for by t others.",
)
def bad_few_dealers(run):
    mine = index_of(run, VICTIM)

    def change(boxes):
        others = [box for box in boxes if box.peer != mine][:2]
        return [box for box in boxes if box.peer == mine or box in others]

    tell_boxes(run, change)


@bad(
    "A box by a member of the roster who is no neighbour.",
    "A mask that the other does not take off again: the sum is noise.",
)
def bad_stranger_share(run):
    def change(boxes):
        stranger = replace(boxes[0], peer=index_of(run, run.member(VICTIM, 3)))
        return sorted([*boxes, stranger], key=lambda box: box.peer)

    tell_boxes(run, change)


# ------------------------------------------------------------------ lies about the survivors


def tell_survivors(run, steps, *, order=sorted, **how):
    """The victim has sent its input and is told that those at these places survived."""
    told = run.vectors(run.hear(run.keys(), **how))
    indices = order(index_of(run, run.member(VICTIM, step)) for step in steps)
    run.receive(VICTIM, encode(told_of(run, told, tuple(indices))))


def told_of(run, told, indices):
    """Other survivors, with the acknowledgements that the victim was to be told, else zeros."""
    honest = read(AcknowledgedSurvivors, told[VICTIM])
    mine = index_of(run, VICTIM)
    others = [i for i in honest.survivors if i != mine]
    given = {i: honest.acknowledgements[16 * at : 16 * (at + 1)] for at, i in enumerate(others)}
    wanted = (given.get(i, bytes(16)) for i in indices if i != mine)
    return AcknowledgedSurvivors(indices, b"".join(wanted))


@bad(
    "The client itself and two neighbours: three survivors, where itself and three are needed.",
    "Fewer around the client than it takes to be sure that nobody opens its mask key.",
)
def bad_few_survivors(run):
    tell_survivors(run, (-1, 0, 1))


@bad(
    "A survivor, who is no neighbour of the client.",
    "A word on someone whom the client has no share of.",
)
def bad_foreign_survivor(run):
    tell_survivors(run, (-2, -1, 0, 1, 2, 3))


@bad(
    "A neighbour who dealt no shares, as a survivor.",
    "A set that this client's masks do not fit: the sum is not what it seems.",
)
def bad_undealt_survivor(run):
    told = run.vectors(run.hear(run.keys(), drop={run.member(VICTIM, 2)}))
    run.receive(VICTIM, encode(told_of(run, told, run.around(VICTIM))))


def tell_acknowledgements(run, change):
    """The victim is told of its survivors with other acknowledgements."""
    told = run.vectors(run.hear(run.keys()))
    honest = read(AcknowledgedSurvivors, told[VICTIM])
    changed = change(honest.acknowledgements)
    run.receive(VICTIM, encode(replace(honest, acknowledgements=changed)))


SMALL_SUM = "Survivors give away the seed of one that has not masked with them: a small sum opens."


@bad("An acknowledgement that nobody has given.", SMALL_SUM)
def bad_acknowledgement_made_up(run):
    tell_acknowledgements(run, lambda given: bytes(16) + given[16:])


@bad("Two acknowledgements, each in the other's place.", SMALL_SUM)
def bad_acknowledgements_exchanged(run):
    tell_acknowledgements(run, lambda given: given[16:32] + given[:16] + given[32:])


@bad("One acknowledgement less than there are other survivors.", SMALL_SUM)
def bad_acknowledgement_missing(run):
    tell_acknowledgements(run, lambda given: given[:-16])


@bad("An acknowledgement more than there are other survivors.", "Two encodings of one message.")
def bad_acknowledgement_extra(run):
    tell_acknowledgements(run, lambda given: given + given[:16])


@bad(
    "A neighbour's acknowledgement for another client; it was not shown that the victim dealt.",
    SMALL_SUM,
)
def bad_acknowledgement_for_another(run):
    dealt = run.hear(run.keys())
    other, mine = run.member(VICTIM, 1), index_of(run, VICTIM)
    boxes = read(ShareDelivery, dealt[other]).boxes
    kept = tuple(box for box in boxes if box.peer != mine)
    run.receive(other, encode(ShareDelivery(kept)))
    _, closing = run.contribute(other)[-1]
    given = read(AcknowledgedInput, closing).acknowledgements[:16]
    told = run.vectors({name: message for name, message in dealt.items() if name != other})
    indices = run.around(VICTIM)
    honest = told_of(run, told, indices)
    at = [i for i in indices if i != mine].index(index_of(run, other))
    before = honest.acknowledgements
    changed = before[: 16 * at] + given + before[16 * (at + 1) :]
    run.receive(VICTIM, encode(replace(honest, acknowledgements=changed)))


@bad(
    "The survivors as SecAgg has them, without acknowledgements.",
    "A client that can be talked out of asking for them.",
)
def bad_survivors_unacknowledged(run):
    run.vectors(run.hear(run.keys()))
    run.receive(VICTIM, encode(SurvivorSet(run.around(VICTIM))))


@bad(
    "Four survivors, and the client that is asked is none of them.",
    "The client opens nothing of itself, but helps to take itself for lost.",
)
def bad_not_survivor(run):
    tell_survivors(run, (-2, -1, 1, 2))


@bad("The survivors out of order.", "Two encodings of one set.")
def bad_unsorted_survivors(run):
    tell_survivors(run, (-2, -1, 0, 1), order=lambda indices: sorted(indices, reverse=True))


@bad(
    "A second survivor set after the client has signed for a first.",
    "The client signs both.",
)
def bad_second_survivor_set(run):
    told = run.vectors(run.hear(run.keys()))
    run.receive(VICTIM, told[VICTIM])
    run.receive(VICTIM, told[VICTIM])


@bad(
    "Honest but curious, a second survivor set after the client has answered a first.",
    "The seed of a neighbour from one answer, its mask key from the other: its input.",
    adversary=CURIOUS,
)
def bad_second_survivor_set_curious(run):
    told = run.vectors(run.hear(run.keys()))
    run.receive(VICTIM, told[VICTIM])
    lost = index_of(run, run.member(VICTIM, 1))
    others = tuple(i for i in run.around(VICTIM) if i != lost)
    run.receive(VICTIM, encode(SurvivorSet(others)))


# ------------------------------------------------------------------ lies about the signatures


def included_by(run, step, *, member=VICTIM, session=None, broadcast=None):
    """The word of who stands so many places on from the victim, that a member survives."""
    signer = run.member(VICTIM, step)
    statement = signed_inclusion(
        session or run.session,
        broadcast or run.plan.broadcast,
        index_of(run, signer),
        index_of(run, member),
    )
    signature = run.identities[signer].key.sign(INCLUSION_LABEL, *statement)
    return SurvivorSignature(index_of(run, signer), signature)


def spoiled_signature(signed):
    return replace(signed, signature=flipped(signed.signature))


def tell_signatures(run, make, *, lost=(), order=sorted):
    """The victim signs for its surviving neighbours, and is then told who includes it."""
    dealt = run.hear(run.keys())
    told = run.vectors(dealt, drop={run.member(VICTIM, step) for step in lost})
    run.receive(VICTIM, told[VICTIM])
    signatures = order(make(), key=lambda signed: signed.signer)
    run.receive(VICTIM, encode(UnmaskRequest(tuple(signatures))))


def two_and(run, *others):
    """Two signatures that count, where three are needed."""
    return (included_by(run, -1), included_by(run, 1), *others)


SPLIT = "Others were told that the client is lost: they open its mask key, and it opens its seed."


@bad("Two neighbours include the client, where three are needed.", SPLIT)
def bad_few_inclusions(run):
    tell_signatures(run, lambda: two_and(run))


@bad("The third signature is the client's own, that it survives.", SPLIT)
def bad_own_inclusion(run):
    tell_signatures(run, lambda: two_and(run, included_by(run, 0)))


@bad(
    "The third signature is by a survivor who is no neighbour.",
    "The server's own clients, wherever they stand, vouch for each client.",
)
def bad_foreign_inclusion(run):
    tell_signatures(run, lambda: two_and(run, included_by(run, 3)))


@bad(
    "The third signature is by a neighbour who did not survive.",
    "Who is lost to the others vouches for the client.",
)
def bad_lost_inclusion(run):
    tell_signatures(run, lambda: two_and(run, included_by(run, 2)), lost=(2,))


@bad("The third signature does not hold.", SPLIT)
def bad_spoiled_inclusion(run):
    tell_signatures(run, lambda: two_and(run, spoiled_signature(included_by(run, 2))))


@bad("The third signature includes another member.", SPLIT)
def bad_inclusion_of_other(run):
    other = lambda: included_by(run, 2, member=run.member(VICTIM, 1))  # noqa: E731
    tell_signatures(run, lambda: two_and(run, other()))


@bad(
    "The third signature is one under another broadcast.",
    "The server gives one client a model of its own and reads its update out of the sum.",
)
def bad_inclusion_other_broadcast(run):
    tell_signatures(run, lambda: two_and(run, included_by(run, 2, broadcast=bytes(32))))


@bad(
    "The third signature is one for another ring.",
    "Clients on two graphs vouch for each other.",
)
def bad_inclusion_other_ring(run):
    def make():
        other = ring_session_id(run.plan, 7, run.tree.root)
        return two_and(run, included_by(run, 2, session=other))

    tell_signatures(run, make)


@bad("One signature twice, to reach the threshold.", "As with too few signatures.")
def bad_repeated_inclusion(run):
    tell_signatures(run, lambda: two_and(run, included_by(run, 1)))


@bad(
    "A second request after the client has unmasked.",
    "A client that can be asked until it errs.",
)
def bad_second_request(run):
    told = run.hear(run.vectors(run.hear(run.keys())))
    run.receive(VICTIM, told[VICTIM])
    run.receive(VICTIM, told[VICTIM])


# ------------------------------------------------------------------ lies to the server


def opposite(run):
    """The one of six that is not the last client's neighbour."""
    return index_of(run, run.member(LAST, 3))


def lie_about_boxes(run, change):
    def lie(sent):
        dealt = read(SealedShares, sent[0])
        return [encode(replace(dealt, boxes=tuple(change(dealt.boxes))))]

    run.finish(run.vectors(run.hear(run.keys(), lies={LAST: lie})))


@bad_for_server(
    "Boxes for all neighbours but one.",
    "That neighbour can't help to recover the dealer, and is blamed for it.",
    **SMALL,
)
def bad_box_missing(run):
    lie_about_boxes(run, lambda boxes: boxes[1:])


@bad_for_server(
    "A box for a member who is no neighbour, beside those for the neighbours.",
    "Shares held by someone who is asked for none.",
    **SMALL,
)
def bad_box_foreign(run):
    def change(boxes):
        foreign = replace(boxes[0], peer=opposite(run))
        return sorted([*boxes, foreign], key=lambda box: box.peer)

    lie_about_boxes(run, change)


@bad_for_server(
    "Boxes that commit to shares alone, as SecAgg has them.",
    "A dealer whom nothing that it reveals later can be held against.",
    **SMALL,
)
def bad_box_commitments(run):
    lie_about_boxes(run, lambda boxes: [replace(b, commitments=b.commitments[:64]) for b in boxes])


def lie_about_acknowledgements(run, change):
    def lie(sent):
        closing = read(AcknowledgedInput, sent[-1])
        changed = replace(closing, acknowledgements=change(closing.acknowledgements))
        return [*sent[:-1], encode(changed)]

    run.finish(run.vectors(run.hear(run.keys()), lies={LAST: lie}))


@bad_for_server(
    "An acknowledgement that its sender did not commit to.",
    "A neighbour that refuses an honest server's survivors.",
    **SMALL,
)
def bad_acknowledgement_uncommitted(run):
    lie_about_acknowledgements(run, lambda given: given[:-16] + bytes(16))


@bad_for_server(
    "An acknowledgement less than the sender has masks in its input.",
    "As with one that was not committed to.",
    **SMALL,
)
def bad_acknowledgement_withheld(run):
    lie_about_acknowledgements(run, lambda given: given[16:])


def complain(sent, *unopened):
    closing = read(AcknowledgedInput, sent[-1])
    return [*sent[:-1], encode(replace(closing, unopened=unopened))]


@bad_for_server(
    "A complaint about a member who dealt, but not to this one.",
    "Room for claims that nothing can be held against.",
    **SMALL,
)
def bad_complaint(run):
    dealt = run.hear(run.keys())
    lie = lambda sent: complain(sent, opposite(run))  # noqa: E731
    run.finish(run.vectors(dealt, lies={LAST: lie}))


@bad_for_server(
    "A dealer spoils three of its five boxes. More complain than may be corrupt: it is named.",
    "Learned only after others had unmasked, it would cost them the round's secrecy for nothing.",
    **SMALL,
)
def bad_unopened_boxes(run):
    def lie(sent):
        dealt = read(SealedShares, sent[0])
        others = [box.peer for box in dealt.boxes if box.peer != index_of(run, LAST)][:3]
        spoiled = tuple(
            replace(box, box=flipped(box.box)) if box.peer in others else box for box in dealt.boxes
        )
        return [encode(replace(dealt, boxes=spoiled))]

    run.vectors(run.hear(run.keys(), lies={LAST: lie}))


@bad_for_server(
    "Two neighbours complain falsely about a dealer, as many as may be corrupt, and a third is "
    "lost: four hold its share where five are needed. Nobody is named.",
    "An honest dealer is excluded on the word of liars.",
    corrupt=2,
    degree=6,
    threshold=5,
    dropped=1,
)
def bad_false_complaints(run):
    dealt = run.hear(run.keys())
    lie = lambda sent: complain(sent, index_of(run, VICTIM))  # noqa: E731
    lies = {run.member(VICTIM, step): lie for step in (-1, 1)}
    run.vectors(dealt, drop={run.member(VICTIM, 2)}, lies=lies)


def lie_about_inclusions(run, change, *, lost=()):
    def lie(sent):
        signatures = change(read(InclusionSignatures, sent[0]).signatures)
        ordered = sorted(signatures, key=lambda signed: signed.member)
        return [encode(InclusionSignatures(tuple(ordered)))]

    dealt = run.hear(run.keys())
    told = run.vectors(dealt, drop={run.member(LAST, step) for step in lost})
    run.hear(run.hear(told, lies={LAST: lie}))


@bad_for_server(
    "A member signs for all surviving neighbours but one.",
    "It decides which of its neighbours can answer.",
    **SMALL,
)
def bad_inclusion_missing(run):
    lie_about_inclusions(run, lambda signatures: signatures[1:])


@bad_for_server(
    "A member signs for itself as well.",
    "Signatures that nobody counts.",
    **SMALL,
)
def bad_inclusion_of_itself(run):
    def change(signatures):
        return (*signatures, replace(signatures[0], member=index_of(run, LAST)))

    lie_about_inclusions(run, change)


@bad_for_server(
    "A member signs for a neighbour who did not survive.",
    "A word for someone whose mask key the member opens.",
    **WIDE,
)
def bad_inclusion_of_lost(run):
    def change(signatures):
        lost = index_of(run, run.member(LAST, 2))
        return (*signatures, Inclusion(lost, signatures[0].signature))

    lie_about_inclusions(run, change, lost=(2,))


@bad_for_server(
    "A member signs for a survivor who is no neighbour.",
    "Signatures that nobody counts.",
    **SMALL,
)
def bad_inclusion_of_foreign(run):
    def change(signatures):
        return (*signatures, Inclusion(opposite(run), signatures[0].signature))

    lie_about_inclusions(run, change)


@bad_for_server(
    "One signature over the survivors, as SecAgg has it, where one for each neighbour is due.",
    "A member that plays another protocol.",
    **SMALL,
)
def bad_survivor_signature(run):
    told = run.vectors(run.hear(run.keys()))
    lie = encode(ConsistencySignature(bytes(64)))
    run.hear(run.hear(told, lies={LAST: lambda _: [lie]}))


def lie_about_shares(run, change):
    def lie(sent):
        return [encode(UnmaskShares(tuple(change(read(UnmaskShares, sent[0]).shares))))]

    run.finish(run.vectors(run.hear(run.keys())), lies={LAST: lie})


@bad_for_server(
    "A member opens a share of a dealer who is no neighbour and dealt it none.",
    "A server that looks for the commitment to it and finds none.",
    **SMALL,
)
def bad_share_foreign(run):
    def change(shares):
        foreign = OpenedShare(opposite(run), bytes(36), bytes(16))
        return sorted([*shares, foreign], key=lambda opened: opened.dealer)

    lie_about_shares(run, change)


@bad_for_server(
    "A member withholds a neighbour's share that it has.",
    "It decides after the fact whose input can be recovered.",
    **SMALL,
)
def bad_missing_share(run):
    lie_about_shares(run, lambda shares: shares[1:])
