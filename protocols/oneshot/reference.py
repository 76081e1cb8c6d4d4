"""One-shot aggregation, literally: SPEC.md section by section, in plain Python.

Slow on purpose. It shares no code with the package; what it shares with masked aggregation (hashes,
trees, signatures, boxes, streams, messages as MessagePack) it takes from that protocol's own
reference. Integers are Python's, time is not constant, secrets are not erased from memory: for
checking implementations, never for protecting data.

A party's methods are named by phase; randomness comes in as data. Effects are tuples:

    ("persist", mark, phase, names)   ("send", recipient, message)   ("chunk", recipient, message)
    ("done", sum or None, names)      ("aborted", reason, culprits)
"""

import hashlib
import importlib.util
import math
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple


def _by_path(name):
    path = Path(__file__).resolve().parents[1] / name / "reference.py"
    spec = importlib.util.spec_from_file_location(f"{name}_reference_of_oneshot", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


secagg = _by_path("secagg")

SERVER = secagg.SERVER
u32, digest, encode, pack = secagg.u32, secagg.digest, secagg.encode, secagg.pack
PRIME = secagg.PRIME

# SPEC 8: the registered reasons that this protocol uses, or registers.
REASONS = {
    "MALFORMED": 1,
    "NON_CANONICAL": 2,
    "OVERSIZED": 3,
    "UNEXPECTED": 4,
    "LATE": 5,
    "DUPLICATE": 6,
    "UNKNOWN_SENDER": 7,
    "CHUNK_ORDER": 9,
    "DIGEST": 10,
    "COHORT_PROOF": 40,
    "NOT_ENROLLED": 41,
    "KEY_SIGNATURE": 42,
    "OWN_ENTRY": 43,
    "DUPLICATE_MEMBER": 44,
    "ROSTER_SIZE": 45,
    "UNKNOWN_DEALER": 46,
    "WEAK_KEY": 47,
    "SHARE_UNOPENED": 48,
    "SHARE_MISSING": 51,
    "SURVIVOR_UNKNOWN": 60,
    "SURVIVORS_FEW": 62,
    "CONSISTENCY_SIGNATURE": 64,
    "CONSISTENCY_QUORUM": 65,
    "ANSWERED": 66,
    "SPENT": 67,
    "TOO_FEW": 80,
    "SUM_RANGE": 83,
    "SHARES_DISAGREE": 84,
    "NOISE_RANGE": 85,
    "POLICY_COMMITTEE": 140,
    "COMMITTEE": 141,
}


class Refused(secagg.Refused):
    """A message that an honest peer does not send."""

    def __init__(self, reason, culprits=()):
        Exception.__init__(self, reason)
        self.reason, self.code, self.culprits = reason, REASONS[reason], tuple(culprits)


class RoundOver(Exception):
    """The round ends without a sum, and nobody is blamed."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


def require(condition, reason, *culprits):
    if not condition:
        raise Refused(reason, culprits)


# ------------------------------------------------------------------ SPEC 2: messages

MAX_COHORT, MAX_COMMITTEE = secagg.MAX_COHORT, 256
INDEX, DIGEST, KEY = secagg.INDEX, secagg.DIGEST, secagg.KEY
SIGNATURE = secagg.octets(64, 64)
SHARE = secagg.octets(0, 1 << 20)
record, message, many = secagg.record, secagg.message, secagg.many

CommitteeKey = message("committee-key", "CommitteeKey", seal_key=KEY, signature=SIGNATURE)
CommitteeEntry = record(
    "CommitteeEntry", membership=secagg.Membership.read, seal_key=KEY, signature=SIGNATURE
)
CommitteeRoster = message(
    "committee-roster", "CommitteeRoster", entries=many(CommitteeEntry.read, MAX_COMMITTEE)
)
SealedInput = message(
    "sealed-input",
    "SealedInput",
    ciphertext=DIGEST,
    agreement_key=KEY,
    signature=SIGNATURE,
    boxes=many(SHARE, MAX_COMMITTEE),
)
KeyShare = message(
    "key-share",
    "KeyShare",
    membership=secagg.Membership.read,
    ciphertext=DIGEST,
    agreement_key=KEY,
    signature=SIGNATURE,
    box=SHARE,
)
ShareOpened = message("share-opened", "ShareOpened", client=INDEX)
InputsClosed = message("inputs-closed", "InputsClosed", clients=many(INDEX, MAX_COHORT))
UnopenedShares = message("unopened-shares", "UnopenedShares", clients=many(INDEX, MAX_COHORT))
KeySum = message("key-sum", "KeySum", share=SHARE)
MaskedChunk, SurvivorSet = secagg.MaskedChunk, secagg.SurvivorSet
ConsistencySignature, UnmaskRequest = secagg.ConsistencySignature, secagg.UnmaskRequest
SurvivorSignature = secagg.SurvivorSignature

ENTRY_BYTES = 976


def decode(data, limit, *kinds):
    try:
        return secagg.decode(data, limit, *kinds)
    except secagg.Refused as refusal:
        raise Refused(refusal.reason) from None


def server_limit(plan):
    share = ENTRY_BYTES + box_bytes(plan.parameters) + 128
    return 256 + max(plan.committee.size * ENTRY_BYTES, share, 5 * plan.cohort_size)


def client_limit(plan):
    boxes = plan.committee.size * (box_bytes(plan.parameters) + 8)
    return 256 + max(secagg.MAX_CHUNK_BYTES, boxes, 5 * plan.cohort_size)


def box_bytes(parameters):
    return 4 + 4 * parameters.key_elements + 16


# ------------------------------------------------------------------ SPEC 3: plan and parameters

DEGREE = 4096
LEAST_BITS, MOST_BITS = 40, 62
BOUND, VARIANCE = 42, 21  # of a centred binomial number


class CommitteePlan(NamedTuple):
    root: bytes
    size: int
    threshold: int
    corrupt: int
    members: tuple


class Plan(NamedTuple):
    round_id: bytes
    broadcast: bytes
    cohort_size: int
    cohort_root: bytes
    corrupt: int
    min_clients: int
    length: int
    client_bound: int
    committee: CommitteePlan

    @property
    def parameters(self):
        return parameters_of(self.cohort_size, self.client_bound, self.length)


class Parameters(NamedTuple):
    bits: int
    count: int  # values in a coefficient
    base: int
    scale: int
    most_error: int
    key_count: int  # coefficients of a key in a field element
    key_base: int
    polynomials: int
    last: int  # coefficients of the last polynomial
    key_elements: int

    @property
    def widths(self):
        """Coefficients of each polynomial that are sent."""
        return [DEGREE] * (self.polynomials - 1) + [self.last]


def parameters_of(n, bound, length):
    """SPEC 3.2: those with the fewest bits a value; None where nothing fits."""
    best, base = None, 2 * bound * n + 1
    for count in range(1, MOST_BITS + 1):
        polynomials = -(-length // (count * DEGREE))
        error = most_error(n, polynomials * DEGREE)
        bits = max((3 * error * base**count - 1).bit_length(), LEAST_BITS)
        if bits <= MOST_BITS and (best is None or (bits / count, bits) < best[0]):
            best = ((bits / count, bits), bits, count, error, polynomials)
    if best is None:
        return None
    _, bits, count, error, polynomials = best
    key_base, key_count = 2 * BOUND * n + 1, 0
    while key_base ** (key_count + 1) <= PRIME:
        key_count += 1
    scale, elements = 2**bits // base**count, -(-DEGREE // key_count)
    last = 128 * -(-(length - (polynomials - 1) * count * DEGREE) // (128 * count))
    return Parameters(
        bits, count, base, scale, error, key_count, key_base, polynomials, last, elements
    )


def most_error(n, numbers):
    exponent = 41 * math.log(2) + math.log(numbers)
    return min(math.ceil(math.sqrt(2 * VARIANCE * n * exponent)), BOUND * n)


# ------------------------------------------------------------------ SPEC 4: the cipher


def binomials(stream, count):
    """Three words of 28 bits each: how many are set, less 42."""
    out = []
    for _ in range(count):
        words = stream.read(12)
        ones = sum(
            (int.from_bytes(words[4 * w : 4 * w + 4], "little") & (2**28 - 1)).bit_count()
            for w in range(3)
        )
        out.append(ones - BOUND)
    return out


def public_polynomial(stream, bits):
    data = stream.read(8 * DEGREE)
    words = (int.from_bytes(data[8 * i : 8 * i + 8], "little") for i in range(DEGREE))
    return [word % 2**bits for word in words]


def schoolbook(a, s):
    """a s mod X^N + 1, term by term: what `product` is."""
    n = len(a)
    out = [0] * n
    for i, x in enumerate(a):
        for j, y in enumerate(s):
            if i + j < n:
                out[i + j] += x * y
            else:
                out[i + j - n] -= x * y
    return out


_ROOM = 104  # bits for a coefficient of a product: 62 of a, 26 of s, 12 for the sum, its sign


def product(a, s):
    """As `schoolbook`, by one product of two integers in which each coefficient has its room."""
    n, half, step = len(a), 1 << (_ROOM - 1), _ROOM // 8
    whole = _evaluated(a) * (
        _evaluated([max(y, 0) for y in s]) - _evaluated([max(-y, 0) for y in s])
    )
    whole += _evaluated([half] * (2 * n))
    data = whole.to_bytes(2 * n * step + 1, "little")
    parts = (data[step * i : step * (i + 1)] for i in range(2 * n))
    terms = [int.from_bytes(part, "little") - half for part in parts]
    return [terms[i] - terms[i + n] for i in range(n)]


def _evaluated(polynomial):
    return int.from_bytes(b"".join(x.to_bytes(_ROOM // 8, "little") for x in polynomial), "little")


def joined(p, bound, values, width):
    """One polynomial's message: slot k of coefficient i is value k width + i."""
    return [
        sum((values[k * width + i] + bound) * p.base**k for k in range(p.count))
        for i in range(width)
    ]


def separated(number, base, count, offset):
    """The signed digits of a sum, or None for what no sum of honest clients is."""
    digits = []
    for _ in range(count - 1):
        digits.append(number % base)
        number //= base
    digits.append(number)
    return None if max(digits) > 2 * offset else [digit - offset for digit in digits]


def encrypt(plan, session, values, secret, errors):
    """The ciphertext's coefficients, and the key."""
    p = plan.parameters
    public = secagg.Keystream(polynomial_seed(session))
    key = binomials(secagg.Keystream(secret), DEGREE)
    noise = secagg.Keystream(errors)
    each, out = p.count * DEGREE, []
    for j, width in enumerate(p.widths):
        part = list(values[j * each : (j + 1) * each])
        part += [0] * (p.count * width - len(part))
        masked = product(public_polynomial(public, p.bits), key)[:width]
        message = joined(p, plan.client_bound, part, width)
        terms = zip(masked, binomials(noise, width), message, strict=True)
        out += [(x + e + p.scale * m) % 2**p.bits for x, e, m in terms]
    return out, key


def key_to_elements(p, key):
    padded = [*key, *[0] * (p.key_count * p.key_elements - DEGREE)]
    return [
        sum((padded[k * p.key_elements + i] + BOUND) * p.key_base**k for k in range(p.key_count))
        for i in range(p.key_elements)
    ]


def key_of_elements(p, elements, clients):
    rows = [separated(x, p.key_base, p.key_count, BOUND * clients) for x in elements]
    if any(row is None for row in rows):
        raise RoundOver("SUM_RANGE")
    return [row[k] for k in range(p.key_count) for row in rows][:DEGREE]


def open_sum(plan, session, total, key, clients):
    """SPEC 4.4."""
    p, public, values = plan.parameters, secagg.Keystream(polynomial_seed(session)), []
    per_chunk = CHUNK_VALUES // DEGREE
    for first in range(0, p.polynomials, per_chunk):
        messages = []
        for j in range(first, min(first + per_chunk, p.polynomials)):
            masked = product(public_polynomial(public, p.bits), key)[: p.widths[j]]
            part = total[j * DEGREE : (j + 1) * DEGREE]
            noisy = [(c - x + p.most_error) % 2**p.bits for c, x in zip(part, masked, strict=True)]
            if any(x % p.scale > 2 * p.most_error for x in noisy):
                raise RoundOver("NOISE_RANGE")
            messages.append([x // p.scale for x in noisy])
        for numbers in messages:
            offset = plan.client_bound * clients
            rows = [separated(m, p.base, p.count, offset) for m in numbers]
            if any(row is None for row in rows):
                raise RoundOver("SUM_RANGE")
            values += [row[k] for k in range(p.count) for row in rows]
    return values[: plan.length]


CHUNK_VALUES = 1 << 16


def packed(p, coefficients):
    return [
        secagg.pack_bits(coefficients[at : at + CHUNK_VALUES], p.bits)
        for at in range(0, len(coefficients), CHUNK_VALUES)
    ]


# ------------------------------------------------------------------ SPEC 5: what is derived


def session_id(plan, entries):
    leaves = [
        pack((e.membership.index, e.membership.client_id, e.seal_key, e.signature)) for e in entries
    ]
    return digest(b"oneshot/session", plan.round_id, secagg.merkle_root(leaves))


def polynomial_seed(session):
    return digest(b"oneshot/polynomials", session)


def signed_key(plan, index, seal_key):
    return b"oneshot/committee-key", plan.round_id, u32(index), seal_key


def signed_input(session, index, agreement_key, ciphertext):
    return b"oneshot/input", session, u32(index), agreement_key, ciphertext


def signed_survivors(session, broadcast, survivors):
    return b"oneshot/survivors", session, broadcast, b"".join(u32(i) for i in survivors)


def box_key(session, shared, client, member):
    return secagg.derive(shared, session, b"oneshot/box", u32(client) + u32(member))


def box_associated(session, client, member, ciphertext):
    return digest(b"oneshot/box", session, u32(client) + u32(member), ciphertext)


def ciphertext_digest(plan, index, chunks):
    state = digest(b"oneshot/ciphertext", plan.round_id, u32(index))
    return hashlib.sha256(state + b"".join(chunks)).digest()


def is_member(root, size, place):
    leaf = secagg.cohort_leaf(place)
    return secagg.merkle_verify(root, size, place.index, leaf, place.path)


def check_key(plan, directory, index, name, seal_key, signature):
    require(name in directory, "NOT_ENROLLED", name)
    good = secagg.verify(directory[name], signature, *signed_key(plan, index, seal_key))
    require(good, "KEY_SIGNATURE", name)
    require(not is_weak(seal_key), "WEAK_KEY", name)


def is_weak(public):
    try:
        secagg.agree(b"\x01" * 32, public)
    except secagg.Refused:
        return True
    return False


def check_roster(plan, directory, entries):
    """SPEC 6.2."""
    require_ascending([e.membership.index for e in entries])
    committee = plan.committee
    require(committee.threshold <= len(entries) <= committee.size, "ROSTER_SIZE")
    names = {e.membership.client_id for e in entries}
    keys = {e.seal_key for e in entries}
    require(len(names) == len(keys) == len(entries), "DUPLICATE_MEMBER")
    for e in entries:
        who = e.membership
        require(is_member(committee.root, committee.size, who), "COHORT_PROOF")
        named = not committee.members or committee.members[who.index] == who.client_id
        require(named, "COHORT_PROOF")
        check_key(plan, directory, who.index, who.client_id, e.seal_key, e.signature)


def require_ascending(indices):
    require(all(a < b for a, b in pairwise(indices)), "NON_CANONICAL")


def share_words(data, count):
    require(len(data) == 4 * count, "MALFORMED")
    words = [int.from_bytes(data[4 * j : 4 * j + 4], "big") for j in range(count)]
    require(all(word < PRIME for word in words), "MALFORMED")
    return words


# ------------------------------------------------------------------ the parties


class Party:
    """Whatever is refused ends a client or a member."""

    def start(self):
        return self._or_fail(self._start)

    def receive(self, sender, data):
        return self._or_fail(self._receive, sender, data)

    def _or_fail(self, act, *arguments):
        try:
            return act(*arguments)
        except secagg.Refused as refusal:
            if self.phase != "ended":
                self.phase = "failed"
            raise Refused(refusal.reason, refusal.culprits) from None


class Client(Party):
    """SPEC 6.3; `rand` holds four secrets of 32 bytes."""

    def __init__(self, plan, membership, *, identity_seed, directory, floor, rand):
        self.plan, self.me, self.directory = plan, membership, directory
        self.identity_seed = identity_seed
        self.floor = min(max(plan.min_clients, floor), 2**32 - 1)
        self.secret, self.errors, self.coefficients, self.agreement = (
            rand[32 * i : 32 * (i + 1)] for i in range(4)
        )
        self.phase, self.vector, self.committee = "waiting", None, ()

    def _start(self):
        return []

    def contribute(self, vector):
        self.vector = vector
        return self._input() if self.committee else []

    def _receive(self, sender, data):
        require(sender == SERVER, "UNKNOWN_SENDER")
        require(self.phase != "ended", "SPENT")
        require(self.phase == "waiting" and not self.committee, "UNEXPECTED")
        entries = decode(data, server_limit(self.plan), CommitteeRoster).entries
        check_roster(self.plan, self.directory, entries)
        self.committee = entries
        return self._input() if self.vector is not None else []

    def _input(self):
        plan, p, me = self.plan, self.plan.parameters, self.me.index
        self.phase = "input"
        session = session_id(plan, self.committee)
        coefficients, key = encrypt(plan, session, self.vector, self.secret, self.errors)
        chunks = packed(p, coefficients)
        sent = [("chunk", SERVER, encode(MaskedChunk(i, data))) for i, data in enumerate(chunks)]
        ciphertext, public = ciphertext_digest(plan, me, chunks), secagg.public_key(self.agreement)
        stream = secagg.Keystream(self.coefficients)
        drawn = range(plan.committee.threshold - 1)
        rows = [key_to_elements(p, key)]
        rows += [secagg.field_elements(stream, p.key_elements) for _ in drawn]
        boxes = tuple(self._box(session, e, rows, ciphertext) for e in self.committee)
        signed = signed_input(session, me, public, ciphertext)
        signature = secagg.sign(self.identity_seed, *signed)
        closing = encode(SealedInput(ciphertext, public, signature, boxes))
        self.phase = "ended"
        return [
            ("persist", "spent", "input", ()),
            *sent,
            ("send", SERVER, closing),
            ("done", None, ()),
        ]

    def _box(self, session, entry, rows, ciphertext):
        me, member = self.me.index, entry.membership.index
        powers = [pow(member + 1, k, PRIME) for k in range(len(rows))]
        share = at(powers, rows)
        shared = secagg.agree(self.agreement, entry.seal_key)
        plaintext = u32(self.floor) + b"".join(u32(word) for word in share)
        associated = box_associated(session, me, member, ciphertext)
        return secagg.seal(box_key(session, shared, me, member), plaintext, associated)


class Member(Party):
    """SPEC 6.4; `rand` is the private half of its key."""

    def __init__(self, plan, membership, *, identity_seed, directory, floor, rand):
        self.plan, self.me, self.directory = plan, membership, directory
        self.identity_seed, self.private = identity_seed, rand
        self.least = max(plan.min_clients, floor)
        self.own_key = secagg.public_key(rand)
        self.phase, self.roster, self.session = "new", {}, b""
        self.clients, self.held, self.survivors = {}, {}, ()

    def _start(self):
        require(self.phase == "new", "UNEXPECTED")
        self.phase = "keys"
        signed = signed_key(self.plan, self.me.index, self.own_key)
        signature = secagg.sign(self.identity_seed, *signed)
        return [("send", SERVER, encode(CommitteeKey(self.own_key, signature)))]

    def _receive(self, sender, data):
        require(sender == SERVER, "UNKNOWN_SENDER")
        require(self.phase != "ended", "ANSWERED")
        due = {
            "keys": ((CommitteeRoster,), self._take_roster),
            "input": ((KeyShare, InputsClosed), self._take_share),
            "opening": ((SurvivorSet,), self._take_survivors),
            "consistency": ((UnmaskRequest,), self._take_request),
        }
        require(self.phase in due, "UNEXPECTED")
        kinds, take = due[self.phase]
        return take(decode(data, server_limit(self.plan), *kinds))

    def _take_roster(self, roster):
        check_roster(self.plan, self.directory, roster.entries)
        self.roster = {e.membership.index: e for e in roster.entries}
        own = self.roster.get(self.me.index)
        require(own is not None and own.seal_key == self.own_key, "OWN_ENTRY")
        self.session = session_id(self.plan, roster.entries)
        self.phase = "input"
        return []

    def _take_share(self, told):
        if isinstance(told, InputsClosed):
            return self._take_closed(told)
        who = told.membership
        require(is_member(self.plan.cohort_root, self.plan.cohort_size, who), "COHORT_PROOF")
        known = who.index in self.clients or who.client_id in self.clients.values()
        require(not known, "DUPLICATE_MEMBER")
        require(who.client_id in self.directory, "NOT_ENROLLED")
        signed = signed_input(self.session, who.index, told.agreement_key, told.ciphertext)
        good = secagg.verify(self.directory[who.client_id], told.signature, *signed)
        require(good, "KEY_SIGNATURE")
        self.clients[who.index] = who.client_id
        try:
            self.held[who.index] = self._open(told)
        except secagg.Refused:
            return []
        return [("send", SERVER, encode(ShareOpened(who.index)))]

    def _open(self, told):
        p, client = self.plan.parameters, told.membership.index
        require(len(told.box) == box_bytes(p), "SHARE_UNOPENED")
        key = box_key(
            self.session, secagg.agree(self.private, told.agreement_key), client, self.me.index
        )
        associated = box_associated(self.session, client, self.me.index, told.ciphertext)
        plaintext = secagg.unseal(key, told.box, associated)
        floor = int.from_bytes(plaintext[:4], "big")
        return floor, share_words(plaintext[4:], p.key_elements)

    def _take_closed(self, closed):
        require(closed.clients == tuple(sorted(self.clients)), "SHARE_MISSING")
        self.phase = "opening"
        unopened = tuple(i for i in closed.clients if i not in self.held)
        return [("send", SERVER, encode(UnopenedShares(unopened)))]

    def _take_survivors(self, told):
        survivors = told.survivors
        require_ascending(survivors)
        require(all(i in self.held for i in survivors), "SURVIVOR_UNKNOWN")
        floors = [self.held[i][0] for i in survivors]
        require(len(survivors) >= max([self.least, *floors]), "SURVIVORS_FEW")
        self.survivors, self.phase = survivors, "consistency"
        signature = secagg.sign(self.identity_seed, *self._statement())
        names = tuple(self.clients[i] for i in survivors)
        return [
            ("persist", "answered", "consistency", names),
            ("send", SERVER, encode(ConsistencySignature(signature))),
        ]

    def _statement(self):
        return signed_survivors(self.session, self.plan.broadcast, self.survivors)

    def _take_request(self, request):
        require_ascending([s.signer for s in request.signatures])
        for signer, signature in request.signatures:
            require(signer in self.roster, "CONSISTENCY_SIGNATURE")
            name = self.roster[signer].membership.client_id
            good = secagg.verify(self.directory[name], signature, *self._statement())
            require(good, "CONSISTENCY_SIGNATURE")
        enough = len(request.signatures) >= self.plan.committee.threshold
        require(enough, "CONSISTENCY_QUORUM")
        columns = zip(*(self.held[i][1] for i in self.survivors), strict=True)
        total = b"".join(u32(sum(column) % PRIME) for column in columns)
        self.phase = "ended"
        return [("send", SERVER, encode(KeySum(total))), ("done", None, ())]


# ------------------------------------------------------------------ SPEC 7: the server


class Server:
    """Phases in order; clients and members are two roles, and one name may have both."""

    def __init__(self, plan, memberships, committee, directory):
        self.plan, self.directory, self.p = plan, directory, plan.parameters
        self.clients = {m.index: m for m in memberships}
        self.members = {m.index: m for m in committee}
        self.client_of = {m.client_id: m.index for m in memberships}
        self.member_of = {m.client_id: m.index for m in committee}
        self.as_client, self.as_member = set(self.clients), set(self.members)
        self.table = ["keys", "input", "opening", "consistency", "unmasking"]
        self.answered, self.keys, self.session = set(), {}, b""
        self.uploads = {i: [] for i in self.clients}
        self.arrived, self.opened, self.unopened = {}, {}, {}
        self.survivors, self.signatures, self.answers = (), {}, {}

    @property
    def phase(self):
        return self.table[0] if self.table else "done"

    def receive(self, sender, data):
        is_client, is_held = sender in self.client_of, sender in self.member_of
        require(is_client or is_held, "UNKNOWN_SENDER", sender)
        require(self.table, "LATE", sender)
        of_clients = self.phase == "input"
        require(is_held or (of_clients and is_client), "LATE", sender)
        as_client = of_clients and is_client
        try:
            kinds = {
                "keys": (CommitteeKey,),
                "input": (MaskedChunk, SealedInput, ShareOpened),
                "opening": (UnopenedShares, ShareOpened),
                "consistency": (ConsistencySignature,),
                "unmasking": (KeySum,),
            }[self.phase]
            value = decode(data, client_limit(self.plan), *kinds)
            as_client = as_client and not isinstance(value, ShareOpened)
            return self._take(sender, value, as_client=as_client)
        except secagg.Refused as refusal:
            self._drop(sender, as_client=as_client)
            raise Refused(refusal.reason, (sender,)) from None

    def _drop(self, sender, *, as_client):
        index = (self.client_of if as_client else self.member_of).get(sender)
        (self.as_client if as_client else self.as_member).discard(index)
        if as_client == (self.phase == "input"):
            self.answered.discard(index)
        if index is not None and as_client and index not in self.arrived:
            self.uploads[index] = None

    def _take(self, sender, value, *, as_client):
        index = (self.client_of if as_client else self.member_of).get(sender)
        present = self.as_client if as_client else self.as_member
        require(index is not None and index in present, "LATE")
        if isinstance(value, ShareOpened):
            return self._take_opened(index, value)
        require(as_client == (self.phase == "input"), "LATE")
        require(index not in self.answered, "DUPLICATE")
        return getattr(self, f"_take_{self.phase}")(index, value)

    def advance(self):
        phase = self.phase
        of_clients = phase == "input"
        least = self.plan.min_clients if of_clients else self.plan.committee.threshold
        if len(self.arrived if of_clients else self.answered) < least:
            self.table = []
            return [("aborted", "TOO_FEW", ())]
        names = self.client_of if of_clients else self.member_of
        told = tuple(name for name, i in names.items() if i in self.answered)
        if not of_clients:
            self.as_member &= self.answered
        effects = [("persist", "phase", phase, told)]
        try:
            return effects + getattr(self, f"_close_{phase}")()
        except RoundOver as end:
            self.table = []
            return [*effects, ("aborted", end.reason, ())]

    def _next(self):
        self.table, self.answered = self.table[1:], set()

    def _to_members(self, value):
        return [("send", self.members[i].client_id, encode(value)) for i in sorted(self.as_member)]

    # keys

    def _take_keys(self, index, key):
        name = self.members[index].client_id
        check_key(self.plan, self.directory, index, name, key.seal_key, key.signature)
        known = {e.seal_key for e in self.keys.values()}
        require(key.seal_key not in known, "DUPLICATE_MEMBER")
        self.keys[index] = CommitteeEntry(self.members[index], key.seal_key, key.signature)
        self.answered.add(index)
        return []

    def _close_keys(self):
        self.keys = {i: e for i, e in sorted(self.keys.items()) if i in self.as_member}
        entries = tuple(self.keys.values())
        self.session = session_id(self.plan, entries)
        self._next()
        roster = encode(CommitteeRoster(entries))
        names = [n for n, i in self.member_of.items() if i in self.as_member]
        names += [n for n, i in self.client_of.items() if i in self.as_client]
        return [("send", name, roster) for name in names]

    # input

    def _take_input(self, index, value):
        chunks = self.uploads[index]
        if isinstance(value, MaskedChunk):
            sizes = [len(c) for c in packed(self.p, [0] * sum(self.p.widths))]
            at = len(chunks)
            require(value.sequence == at and at < len(sizes), "CHUNK_ORDER")
            require(len(value.data) == sizes[at], "CHUNK_ORDER")
            chunks.append(value.data)
            return []
        return self._take_closing(index, value, chunks)

    def _take_closing(self, index, value, chunks):
        size, who = box_bytes(self.p), self.clients[index]
        good = len(value.boxes) == len(self.keys) and all(len(b) == size for b in value.boxes)
        require(good, "MALFORMED")
        require(not is_weak(value.agreement_key), "WEAK_KEY")
        require(who.client_id in self.directory, "NOT_ENROLLED")
        signed = signed_input(self.session, index, value.agreement_key, value.ciphertext)
        good = secagg.verify(self.directory[who.client_id], value.signature, *signed)
        require(good, "KEY_SIGNATURE")
        whole = -(-sum(self.p.widths) // CHUNK_VALUES)
        require(len(chunks) == whole, "CHUNK_ORDER")
        require(ciphertext_digest(self.plan, index, chunks) == value.ciphertext, "DIGEST")
        self.arrived[index], self.opened[index] = value.ciphertext, set()
        self.answered.add(index)
        effects = []
        for (i, entry), box in zip(self.keys.items(), value.boxes, strict=True):
            if i in self.as_member:
                share = KeyShare(who, value.ciphertext, value.agreement_key, value.signature, box)
                effects.append(("send", entry.membership.client_id, encode(share)))
        return effects

    def _take_opened(self, member, value):
        known = value.client in self.arrived and member not in self.opened[value.client]
        require(known, "UNEXPECTED")
        self.opened[value.client].add(member)
        return []

    def _close_input(self):
        self._next()
        return self._to_members(InputsClosed(tuple(sorted(self.arrived))))

    # opening

    def _take_opening(self, index, value):
        require_ascending(value.clients)
        require(set(value.clients) <= set(self.arrived), "UNKNOWN_DEALER")
        require(not any(index in self.opened[i] for i in value.clients), "SHARE_MISSING")
        self.unopened[index] = set(value.clients)
        self.answered.add(index)
        return []

    def _close_opening(self):
        """SPEC 7.2."""
        committee, survivors = self.plan.committee, set(self.arrived)
        told = {m: self.unopened[m] for m in self.as_member}
        while True:
            able = {m for m, bad in told.items() if not survivors & bad}
            complaints = Counter(i for bad in told.values() for i in bad if i in survivors)
            worst = {i for i, count in complaints.items() if count > committee.corrupt}
            least = max(committee.threshold, len(told) - committee.corrupt)
            if not worst and len(able) >= least:
                break
            survivors -= worst or {min(complaints, key=lambda i: (-complaints[i], i))}
        if len(survivors) < self.plan.min_clients:
            raise RoundOver("SHARE_UNOPENED")
        self.survivors, self.as_member = tuple(sorted(survivors)), able
        self._next()
        return self._to_members(SurvivorSet(self.survivors))

    # consistency

    def _take_consistency(self, index, value):
        name = self.members[index].client_id
        statement = signed_survivors(self.session, self.plan.broadcast, self.survivors)
        good = secagg.verify(self.directory[name], value.signature, *statement)
        require(good, "CONSISTENCY_SIGNATURE")
        self.signatures[index] = value.signature
        self.answered.add(index)
        return []

    def _close_consistency(self):
        self._next()
        names = tuple(self.clients[i].client_id for i in self.survivors)
        signed = tuple(SurvivorSignature(i, self.signatures[i]) for i in sorted(self.as_member))
        asked = self._to_members(UnmaskRequest(signed))
        return [("persist", "unmasking", "unmasking", names), *asked]

    # unmasking

    def _take_unmasking(self, index, value):
        self.answers[index] = share_words(value.share, self.p.key_elements)
        self.answered.add(index)
        return []

    def _close_unmasking(self):
        held = {i: self.answers[i] for i in sorted(self.as_member)}
        elements = corrected(held, self.plan.committee.threshold)
        key = key_of_elements(self.p, elements, len(self.survivors))
        total = [0] * sum(self.p.widths)
        for i in self.survivors:
            at = 0
            for data in self.uploads[i]:
                count = min(CHUNK_VALUES, len(total) - at)
                values, _ = secagg.unpack_bits(data, count, self.p.bits)
                for k, value in enumerate(values):
                    total[at + k] += value
                at += count
        opened = open_sum(self.plan, self.session, total, key, len(self.survivors))
        self._next()
        return [("done", opened, tuple(self.clients[i].client_id for i in self.survivors))]


def corrected(held, threshold):
    """SPEC 7.3: the elements on which all but (r - t) / 2 of r members agree."""
    for wrong in range((len(held) - threshold) // 2 + 1):
        for chosen in combinations(sorted(held), len(held) - wrong):
            points, first = [i + 1 for i in chosen], list(chosen)[:threshold]
            for i in chosen[threshold:]:
                basis = weights([m + 1 for m in first], i + 1)
                if at(basis, [held[m] for m in first]) != held[i]:
                    break
            else:
                return at(weights(points[:threshold], 0), [held[m] for m in first])
    raise RoundOver("SHARES_DISAGREE")


def weights(points, x):
    """With which values at these points add up to the value at x, mod p."""
    out = []
    for i, own in enumerate(points):
        weight = 1
        for j, other in enumerate(points):
            if i != j:
                weight = weight * (x - other) * pow(own - other, -1, PRIME) % PRIME
        out.append(weight)
    return out


def at(basis, rows):
    columns = zip(*rows, strict=True)
    return [sum(w * x for w, x in zip(basis, c, strict=True)) % PRIME for c in columns]
