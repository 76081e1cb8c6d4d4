"""Masked aggregation on a sparse graph, literally: SPEC.md section by section, in plain Python.

What SecAgg has as well is that of ../secagg/reference.py, which is a text of the same kind; this
file adds the ring, its bounds, and what the two parties do otherwise. The bounds are computed in
whole numbers and fractions. For checking implementations, never for protecting data.
"""

import importlib.util
from collections import namedtuple
from fractions import Fraction
from math import comb
from pathlib import Path


def _secagg():
    path = Path(__file__).resolve().parents[1] / "secagg" / "reference.py"
    spec = importlib.util.spec_from_file_location("secagg_plus_base", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# A copy of its own: what is changed in it here changes nothing for SecAgg.
secagg = _secagg()

# SPEC 11: two reasons more.
REASONS = secagg.REASONS
REASONS["GRAPH"] = 52
REASONS["NOT_ACKNOWLEDGED"] = 71

# SPEC 4: two fields more, whose values are numbers of clients.
Plan = namedtuple("Plan", (*secagg.Plan._fields, "degree", "dropped"))  # noqa: PYI024

Refused, RoundOver, require = secagg.Refused, secagg.RoundOver, secagg.require
Membership, cohort_leaf = secagg.Membership, secagg.cohort_leaf
merkle_root, merkle_path, verify = secagg.merkle_root, secagg.merkle_path, secagg.verify
encode, decode, unpack = secagg.encode, secagg.decode, secagg.unpack
message, record, many, integer = secagg.message, secagg.record, secagg.many, secagg.integer
u32 = secagg.u32

# ------------------------------------------------------------------ SPEC 2: messages


def ring_size(value):
    require(isinstance(value, int) and 1 <= value <= secagg.MAX_COHORT, "MALFORMED")
    return value


PlacedEntry = record(
    "PlacedEntry",
    entry=secagg.RosterEntry.read,
    position=secagg.INDEX,
    path=many(secagg.DIGEST, 20),
)
Inclusion = record("Inclusion", member=secagg.INDEX, signature=secagg.SIGNATURE)

Neighbourhood = message(
    "neighbourhood",
    "Neighbourhood",
    size=ring_size,
    root=secagg.DIGEST,
    entries=many(PlacedEntry.read, secagg.MAX_COHORT),
)
InclusionSignatures = message(
    "inclusion-signatures",
    "InclusionSignatures",
    signatures=many(Inclusion.read, secagg.MAX_COHORT),
)

BOXES = many(
    record(
        "SealedBox",
        peer=secagg.INDEX,
        box=secagg.octets(secagg.BOX_BYTES, secagg.BOX_BYTES),
        commitments=secagg.octets(64, 96),
    ).read,
    secagg.MAX_COHORT,
)
secagg.SealedShares = SealedShares = message(
    "sealed-shares", "SealedShares", seed_commitment=secagg.DIGEST, boxes=BOXES
)
secagg.ShareDelivery = ShareDelivery = message("share-delivery", "ShareDelivery", boxes=BOXES)

ACKNOWLEDGEMENT_BYTES = 16
ACKNOWLEDGEMENTS = secagg.octets(0, ACKNOWLEDGEMENT_BYTES * secagg.MAX_COHORT)
AcknowledgedInput = message(
    "acknowledged-input",
    "AcknowledgedInput",
    checksum=secagg.octets(16, 16),
    unopened=many(secagg.INDEX, secagg.MAX_COHORT),
    acknowledgements=ACKNOWLEDGEMENTS,
)
AcknowledgedSurvivors = message(
    "acknowledged-survivors",
    "AcknowledgedSurvivors",
    survivors=many(secagg.INDEX, secagg.MAX_COHORT),
    acknowledgements=ACKNOWLEDGEMENTS,
)

# What both protocols have.
KeyAdvertisement, MaskedChunk = secagg.KeyAdvertisement, secagg.MaskedChunk
MaskedInput, SurvivorSet = secagg.MaskedInput, secagg.SurvivorSet
UnmaskRequest, UnmaskShares = secagg.UnmaskRequest, secagg.UnmaskShares


def most_met(plan):
    """The most members, itself included, that a client has to do with."""
    return min(plan.cohort_size, plan.degree + 1)


def server_limit(plan):
    return 256 + 1784 * most_met(plan)


def client_limit(plan):
    return 256 + max(secagg.MAX_CHUNK_BYTES, 248 * most_met(plan))


# ------------------------------------------------------------------ SPEC 4: the ring


def ring_neighbours(place, size, degree):
    """The k/2 next places on either side; all the others where that reaches them."""
    if degree >= size - 1:
        return {other for other in range(size) if other != place}
    steps = range(1, degree // 2 + 1)
    return {(place + s) % size for s in steps} | {(place - s) % size for s in steps}


def roster_leaf(entry):
    who = entry.membership
    return secagg.pack((who.index, who.client_id, entry.seal_key, entry.mask_key, entry.signature))


def ring_session_id(plan, size, root):
    return secagg.digest(b"session-ring", plan.round_id, u32(size), root)


def signed_inclusion(session, plan, signer, member):
    return b"secagg/inclusion", session, plan.broadcast, u32(signer), u32(member)


# ------------------------------------------------------------------ SPEC 4.5: acknowledgements


def acknowledged(plan):
    return plan.adversary != secagg.HONEST_BUT_CURIOUS


def acknowledgement_commitment(session, dealer, recipient, acknowledgement):
    return secagg.digest(
        b"secagg/acknowledgement", session, u32(dealer), u32(recipient), acknowledgement
    )


def check_boxes(plan, boxes):
    wanted = 96 if acknowledged(plan) else 64
    require(all(len(box.commitments) == wanted for box in boxes), "MALFORMED")


def split_acknowledgements(given, members):
    size = ACKNOWLEDGEMENT_BYTES
    require(len(given) == size * len(members), "NOT_ACKNOWLEDGED")
    return {v: given[size * at : size * (at + 1)] for at, v in enumerate(members)}


# ------------------------------------------------------------------ SPEC 10: the bounds

EPS = Fraction(1, 2**41)


def is_connected(n, missing, k):
    """Bound 1: no ring is cut, but with a chance below eps."""
    if k > min(missing, n - 2):
        return True
    return Fraction(n * (n - k - 1) * comb(missing, k), 2 * comb(n, k)) < EPS


def most_corrupt(n, c, k):
    """t1: the least x with P[X > x] <= eps / (n - c)."""
    drawn = min(k, n - 1)
    ways = {
        x: comb(c, x) * comb(n - 1 - c, drawn - x)
        for x in range(max(0, drawn - (n - 1 - c)), min(drawn, c) + 1)
    }
    above, most = 0, max(ways)
    while most - 1 in ways:
        above += ways[most]
        if Fraction(above, comb(n - 1, drawn)) > EPS / max(n - c, 1):
            break
        most -= 1
    return most


def least_threshold(n, c, k, adversary):
    """Bounds 2 and 3."""
    t1 = most_corrupt(n, c, k)
    if adversary == secagg.HONEST_BUT_CURIOUS:
        return max(t1 + 1, 2)
    return max((min(k, n - 1) + t1) // 2 + 1, 2)


def least_sum(n, c, k, t):
    """Honest clients in any sum that a lying server can have revealed."""
    inside = t - 1 - most_corrupt(n, c, k)
    if k >= n - 1:
        return inside + 1
    return max(inside + 1, (2 * n // k) * max(inside - k // 2, 0))


def graph_holds(plan, size, floor):
    """SPEC 10, for a ring of so many members and a floor of that many honest ones in a sum."""
    c, k, t = plan.corrupt, plan.degree, plan.threshold
    if k % 2 or k < 2:
        return False
    lost = max(plan.dropped - (plan.cohort_size - size), 0)
    if not is_connected(size, c + lost, k):
        return False
    if not least_threshold(size, c, k, plan.adversary) <= t <= min(k, size - 1):
        return False
    if plan.adversary == secagg.HONEST_BUT_CURIOUS:
        return True
    return least_sum(size, c, k, t) >= max(plan.min_clients, floor)


def plan_floor(plan):
    return max(plan.threshold, plan.min_clients, plan.cohort_size - plan.dropped)


# ------------------------------------------------------------------ SPEC 7: the client


class Client(secagg.Client):
    shown = Neighbourhood

    def __init__(self, plan, membership, *, floor, **rest):
        super().__init__(plan, membership, floor=floor, **rest)
        self.floor = floor
        self.least = plan.threshold + 1
        self.told_in = AcknowledgedSurvivors if acknowledged(plan) else SurvivorSet
        self.acknowledgements = {}

    def limit(self):
        return server_limit(self.plan)

    def accept(self, shown):
        """SPEC 7.2, the checks."""
        plan, size = self.plan, shown.size
        require(max(plan_floor(plan), self.floor) <= size <= plan.cohort_size, "ROSTER_SIZE")
        if plan.adversary == secagg.HONEST_BUT_CURIOUS:
            require(self.floor <= plan_floor(plan), "ROSTER_SIZE")
        require(graph_holds(plan, size, self.floor), "GRAPH")
        entries = [placed.entry for placed in shown.entries]
        self.check_entries(entries)
        (mine,) = (p.position for p in shown.entries if p.entry == self.own)
        places = sorted(p.position for p in shown.entries)
        require(places == sorted({mine} | ring_neighbours(mine, size, plan.degree)), "GRAPH")
        for entry, place, path in shown.entries:
            proven = secagg.merkle_verify(shown.root, size, place, roster_leaf(entry), path)
            require(proven, "GRAPH")
        self.session = ring_session_id(plan, size, shown.root)
        return entries

    def further_commitments(self, members, salts):
        """SPEC 7.2: to one acknowledgement for each, drawn before the salts."""
        if not acknowledged(self.plan):
            return super().further_commitments(members, salts)
        self.acknowledgements = {v: salts.read(ACKNOWLEDGEMENT_BYTES) for v in members}
        me = self.me.index
        return {
            v: acknowledgement_commitment(self.session, me, v, given)
            for v, given in self.acknowledgements.items()
        }

    def hold(self, delivery):
        """SPEC 7.3: the commitments of those who dealt are kept."""
        check_boxes(self.plan, delivery.boxes)
        self.committed = {box.peer: box.commitments[64:] for box in delivery.boxes}
        return super().hold(delivery)

    def closing(self, checksum):
        """SPEC 7.3: with the acknowledgements of those whose masks the input has."""
        if not acknowledged(self.plan):
            return super().closing(checksum)
        given = b"".join(self.acknowledgements[v] for v in self.dealers if v != self.me.index)
        return AcknowledgedInput(checksum, tuple(self.unopened), given)

    def accept_survivors(self, told):
        """SPEC 7.4: each has acknowledged this client."""
        effect = super().accept_survivors(told)
        if acknowledged(self.plan):
            me = self.me.index
            others = [v for v in told.survivors if v != me]
            for v, given in split_acknowledgements(told.acknowledgements, others).items():
                if v in self.held:
                    commitment = acknowledgement_commitment(self.session, v, me, given)
                    require(commitment == self.committed[v], "NOT_ACKNOWLEDGED")
        return effect

    def answers_for(self):
        """The store learns of no survivors: this client sees a part of them."""
        return ()

    def word(self):
        """SPEC 7.4: to each surviving neighbour, that it survives."""
        me, signatures = self.me.index, []
        for member in self.survivors:
            if member != me:
                statement = signed_inclusion(self.session, self.plan, me, member)
                signature = secagg.sign(self.identity_seed, *statement)
                signatures.append(Inclusion(member, signature))
        return InclusionSignatures(tuple(signatures))

    def check_signatures(self, signatures):
        """SPEC 7.5: those that count are at least t."""
        me, valid = self.me.index, 0
        for signer, signature in signatures:
            if signer in self.survivors and signer != me:
                statement = signed_inclusion(self.session, self.plan, signer, me)
                valid += verify(self.identity_of(signer), signature, *statement)
        require(valid >= self.plan.threshold, "CONSISTENCY_QUORUM")


# ------------------------------------------------------------------ SPEC 8: the server


class Server(secagg.Server):
    """`ring` is a uniform order of the cohort; without the lost, it is one of the others."""

    signed_in = InclusionSignatures

    def __init__(self, plan, memberships, directory, ring):
        self.closed_in = AcknowledgedInput if acknowledged(plan) else MaskedInput
        self.given = {}
        super().__init__(plan, memberships, directory)
        self.order = ring

    def limit(self):
        return client_limit(self.plan)

    def floor(self):
        return plan_floor(self.plan)

    # keys

    def arrange(self):
        size = len(self.roster)
        if not graph_holds(self.plan, size, 0):
            raise RoundOver("GRAPH")
        self.ring = [i for i in self.order if i in self.roster]
        self.leaves = [roster_leaf(self.roster[i]) for i in self.ring]
        self.root = merkle_root(self.leaves)
        self.session = ring_session_id(self.plan, size, self.root)

    def around(self, index):
        """A member and its neighbours, ascending."""
        place = self.ring.index(index)
        places = ring_neighbours(place, len(self.ring), self.plan.degree)
        return sorted([index, *(self.ring[p] for p in places)])

    def shown_to(self, index):
        entries = []
        for i in self.around(index):
            place = self.ring.index(i)
            entries.append(PlacedEntry(self.roster[i], place, merkle_path(self.leaves, place)))
        return Neighbourhood(len(self.ring), self.root, tuple(entries))

    # shares

    def is_enough(self, index, present):
        """Whether at least t of a member's neighbours are there."""
        others = [i for i in self.around(index) if i != index and i in present]
        return len(others) >= self.plan.threshold

    def take_shares(self, index, dealt):
        taken = super().take_shares(index, dealt)
        check_boxes(self.plan, dealt.boxes)
        return taken

    def close_shares(self):
        while alone := {i for i in self.expected if not self.is_enough(i, self.expected)}:
            self.expected = self.expected - alone
        if len(self.expected) < self.floor():
            raise RoundOver("TOO_FEW")
        return super().close_shares()

    # input

    def check_closing(self, index, value):
        if acknowledged(self.plan):
            others = [v for v in self.dealers_to(index) if v != index]
            given = split_acknowledgements(value.acknowledgements, others)
            for v in others:
                commitment = acknowledgement_commitment(self.session, index, v, given[v])
                committed = self.box_for(index, v).commitments[64:]
                require(commitment == committed, "NOT_ACKNOWLEDGED")
            self.given[index] = given

    def survivors_for(self, index):
        if not acknowledged(self.plan):
            return super().survivors_for(index)
        told = self.told(index)
        given = b"".join(self.given[v][index] for v in told if v != index)
        return AcknowledgedSurvivors(told, given)

    def needed(self):
        """The dealers who survived, or who have a neighbour that did."""
        return [i for i in sorted(self.dealt) if self.told(i)]

    def told(self, index):
        return tuple(i for i in self.around(index) if i in self.survivors)

    # consistency

    def check_word(self, index, value):
        wanted = [i for i in self.told(index) if i != index]
        require([s.member for s in value.signatures] == wanted, "CONSISTENCY_SIGNATURE")

    def request_to(self, index, signers):
        """The signatures for a member by those who signed; None if they are too few."""
        given = [
            secagg.SurvivorSignature(signer, s.signature)
            for signer in signers
            for s in self.signatures[signer].signatures
            if s.member == index
        ]
        return UnmaskRequest(tuple(given)) if len(given) >= self.plan.threshold else None
