"""A round, literally: SPEC.md section by section, in plain Python.

Slow on purpose. It shares no code with the package; what it shares with masked aggregation (hashes,
trees, signatures, streams, the protocol itself) it takes from that protocol's own reference.
Integers are Python's, reals are IEEE 754 doubles; randomness comes in as data. For checking
implementations, never for protecting data.

Effects are tuples:

    ("commit", what, details)    a client's store holds it, durably, before what follows
    ("persist", mark, phase, names)   ("send", recipient, message)   ("chunk", recipient, message)
    ("done", what, names)             ("aborted", reason, culprits)
"""

import importlib.util
import math
import struct
from collections import namedtuple
from pathlib import Path
from typing import NamedTuple


def _by_path(name):
    path = Path(__file__).resolve().parents[1] / name / "reference.py"
    spec = importlib.util.spec_from_file_location(f"{name}_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


secagg = _by_path("secagg")

SERVER = secagg.SERVER
HONEST_BUT_CURIOUS, SEMI_MALICIOUS, MALICIOUS = "honest-but-curious", "semi-malicious", "malicious"
NONE = bytes(32)

# SPEC 11: the registered reasons that a round gives of its own.
ROUND_REASONS = {
    "MALFORMED": 1,
    "NON_CANONICAL": 2,
    "OVERSIZED": 3,
    "UNEXPECTED": 4,
    "UNKNOWN_SENDER": 7,
    "WRONG_ROUND": 8,
    "CODEPOINT": 20,
    "POLICY_PROTOCOL": 21,
    "POLICY_SUITE": 22,
    "POLICY_ADVERSARY": 23,
    "POLICY_COHORT": 24,
    "POLICY_THRESHOLD": 25,
    "POLICY_CORRUPT": 26,
    "POLICY_DATASET": 27,
    "POLICY_UPDATE": 28,
    "POLICY_NOISE": 29,
    "QUORUM": 30,
    "MODULUS": 31,
    "BROADCAST": 32,
    "DIRECTORY_SIGNATURE": 33,
    "DIRECTORY_STALE": 34,
    "DIRECTORY_MISMATCH": 35,
    "ROUND_SEEN": 36,
    "ATTEMPTS": 37,
    "PLAN": 38,
    "ATTEMPT_CHANGED": 39,
    "COHORT_PROOF": 40,
    "NOT_ENROLLED": 41,
    "SURVIVORS_OVERLAP": 63,
    "ANSWERED": 66,
    "SPENT": 67,
    "STORE_ROLLED_BACK": 68,
    "RECEIPT_CHANGED": 69,
    "DIRECTORY_EQUIVOCATED": 70,
    "BUDGET": 72,
    "FAILED": 82,
    "SUM_RANGE": 83,
}
# Of a committee, registered in protocols/oneshot.
COMMITTEE_REASONS = {"POLICY_COMMITTEE": 140, "COMMITTEE": 141}
REASONS = secagg.REASONS | ROUND_REASONS | COMMITTEE_REASONS


class Refused(secagg.Refused):
    """A message that an honest peer does not send, or that a client's own rules decline."""

    def __init__(self, reason, culprits=()):
        Exception.__init__(self, reason)
        self.reason, self.code, self.culprits = reason, REASONS[reason], tuple(culprits)


def require(condition, reason, *culprits):
    if not condition:
        raise Refused(reason, culprits)


# ------------------------------------------------------------------ SPEC 2: MessagePack


class Pairs(tuple):
    """A MessagePack map as it was read: its pairs in their order, keys perhaps twice."""

    __slots__ = ()


def pack(value):
    """The canonical MessagePack of what messages hold: a section is a map, other tuples arrays."""
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if not isinstance(value, tuple):
        return secagg.pack(value)
    if hasattr(value, "is_section"):
        pairs = zip(value._fields, value, strict=True)
        items = b"".join(pack(key) + pack(item) for key, item in pairs)
        return _head(0x80, 0xDE, len(value)) + items
    return _head(0x90, 0xDC, len(value)) + b"".join(pack(item) for item in value)


def _head(fixed, long, count):
    if count < 16:
        return bytes([fixed | count])
    if count < 1 << 16:
        return bytes([long]) + count.to_bytes(2, "big")
    return bytes([long + 1]) + count.to_bytes(4, "big")


_DEEPEST = 6  # message, round plan, plan, section, committee, its members


def unpack(data):
    """The value of one MessagePack encoding of any width; `MALFORMED` for anything else."""
    value, end = _unpack(data, 0, _DEEPEST)
    require(end == len(data), "MALFORMED")
    return value


def _take(data, at, count):
    require(at + count <= len(data), "MALFORMED")
    return data[at : at + count], at + count


_FIXED_SIZES = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_FIXED_SIZES |= {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_LENGTH_SIZES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_LENGTH_SIZES |= {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


def _unpack(data, at, depth):
    (kind,), at = _take(data, at, 1)
    if kind < 0x80:
        return kind, at
    if kind < 0x90:
        return _unpack_map(data, at, kind & 0x0F, depth)
    if kind < 0xA0:
        return _unpack_array(data, at, kind & 0x0F, depth)
    if kind < 0xC0:
        return _unpack_text(data, at, kind & 0x1F)
    if kind >= 0xE0:
        return kind - 0x100, at
    if kind in _FIXED_SIZES:
        raw, at = _take(data, at, _FIXED_SIZES[kind])
        if kind < 0xCC:
            return struct.unpack(">f" if kind == 0xCA else ">d", raw)[0], at
        return int.from_bytes(raw, "big", signed=kind >= 0xD0), at
    require(kind in _LENGTH_SIZES, "MALFORMED")  # nil, booleans, extensions
    raw, at = _take(data, at, _LENGTH_SIZES[kind])
    length = int.from_bytes(raw, "big")
    if kind >= 0xDE:
        return _unpack_map(data, at, length, depth)
    if kind >= 0xDC:
        return _unpack_array(data, at, length, depth)
    return _unpack_text(data, at, length) if kind >= 0xD9 else _take(data, at, length)


def _unpack_text(data, at, length):
    raw, at = _take(data, at, length)
    try:
        return raw.decode("utf-8"), at
    except UnicodeDecodeError:
        raise Refused("MALFORMED") from None


def _unpack_array(data, at, length, depth):
    require(depth > 0, "MALFORMED")
    items = []
    for _ in range(length):
        item, at = _unpack(data, at, depth - 1)
        items.append(item)
    return items, at


def _unpack_map(data, at, length, depth):
    require(depth > 0, "MALFORMED")
    pairs = []
    for _ in range(length):
        key, at = _unpack(data, at, depth - 1)
        value, at = _unpack(data, at, depth - 1)
        pairs.append((key, value))
    return Pairs(pairs), at


# ------------------------------------------------------------------ SPEC 2: types


class Integer:
    """A whole number in [least, least of what is too much)."""

    def __init__(self, least, beyond):
        self.least, self.beyond = least, beyond

    def read(self, value):
        good = isinstance(value, int) and self.least <= value < self.beyond
        require(good, "MALFORMED")
        return value

    def of_json(self, value):
        return value


class Real:
    """A double within bounds; an integer is read as one, and is then not canonical."""

    def __init__(self, holds=lambda _: True):
        self.holds = holds

    def read(self, value):
        require(isinstance(value, int | float) and self.holds(value), "MALFORMED")
        return float(value)

    def of_json(self, value):
        return float(value)


class Text:
    """A string, its length counted in code points."""

    def __init__(self, least=0, most=math.inf):
        self.least, self.most = least, most

    def read(self, value):
        good = isinstance(value, str) and self.least <= len(value) <= self.most
        require(good, "MALFORMED")
        return value

    def of_json(self, value):
        return value


class Choice(Text):
    def __init__(self, *values):
        super().__init__()
        self.values = values

    def read(self, value):
        require(isinstance(value, str) and value in self.values, "MALFORMED")
        return value


class Octets:
    def __init__(self, least, most):
        self.least, self.most = least, most

    def read(self, value):
        good = isinstance(value, bytes) and self.least <= len(value) <= self.most
        require(good, "MALFORMED")
        return value

    def of_json(self, value):
        return bytes.fromhex(value)


class Names:
    """An array of up to `most` client ids."""

    def __init__(self, most):
        self.most = most

    def read(self, value):
        require(isinstance(value, list) and len(value) <= self.most, "MALFORMED")
        require(all(isinstance(name, str) for name in value), "MALFORMED")
        return tuple(secagg.client_id(name) for name in value)

    def of_json(self, value):
        return tuple(value)


REQUIRED = object()


def section(name, *fields):
    """A map whose keys are these `(name, type, default)`, in this order."""
    kind = namedtuple(name, [field[0] for field in fields])  # noqa: PYI024 - fields are data

    def read(value):
        require(isinstance(value, Pairs), "MALFORMED")
        found = {}
        for key, item in value:
            types = [of for known, of, _ in fields if known == key]
            require(isinstance(key, str) and types, "MALFORMED")
            found[key] = types[0].read(item)
        for key, _, default in fields:
            require(key in found or default is not REQUIRED, "MALFORMED")
            found.setdefault(key, default)
        return kind(**found)

    kind.is_section = True
    kind.read = staticmethod(read)
    kind.of_json = staticmethod(lambda value: kind(*(of.of_json(value[k]) for k, of, _ in fields)))
    return kind


def record(name, *fields):
    """An array of these `(name, type)`."""
    kind = namedtuple(name, [field[0] for field in fields])  # noqa: PYI024 - fields are data

    def read(value):
        require(isinstance(value, list) and len(value) == len(fields), "MALFORMED")
        return kind(*(of.read(item) for (_, of), item in zip(fields, value, strict=True)))

    kind.read = staticmethod(read)
    kind.of_json = staticmethod(lambda value: kind(*(of.of_json(value[k]) for k, of in fields)))
    return kind


def message(tag, name, *fields):
    """A record whose array starts with its kind."""
    kind = record(name, *fields)
    kind.tag = tag
    return kind


def encode(value):
    return pack((value.tag, *value))


def decode(data, limit, *kinds):
    """One message of these kinds: first its length, then its meaning, then its one encoding."""
    require(len(data) <= limit, "OVERSIZED")
    value = unpack(data)
    require(isinstance(value, list) and value and isinstance(value[0], str), "MALFORMED")
    for kind in kinds:
        if kind.tag == value[0]:
            result = kind.read(value[1:])
            require(encode(result) == data, "NON_CANONICAL")
            return result
    raise Refused("MALFORMED")


# ------------------------------------------------------------------ SPEC 3: the plan

COUNT = Integer(1, 1 << 31)
FLOOR = Integer(0, 1 << 31)
NAME = Text(1, 128)
CODEPOINT = Text(1, 64)
SUITES = {"x25519-ed25519-hkdf-sha256-aes256gcm-aes256ctr": 1}
ADVERSARIES = (HONEST_BUT_CURIOUS, SEMI_MALICIOUS, MALICIOUS)  # from the weakest to the strongest
RING, ONE_SHOT = "secagg+", "oneshot"
PROTOCOLS = {
    "plain": (HONEST_BUT_CURIOUS,),
    "secagg": (HONEST_BUT_CURIOUS, MALICIOUS),
    RING: (HONEST_BUT_CURIOUS, SEMI_MALICIOUS),
    ONE_SHOT: (MALICIOUS,),
    "bfv": (HONEST_BUT_CURIOUS,),
    "ckks": (HONEST_BUT_CURIOUS,),
    "ckks-8192": (HONEST_BUT_CURIOUS,),
}
SHARED_KEYS = ("bfv", "ckks", "ckks-8192")
MAX_COMMITTEE = 256
# From the least that a client needs to trust others with to the most that it adds itself.
TRUSTS = ("none", "server", "distributed", "client")
CLIENT_UNIT = "client"

Dataset = section(
    "Dataset",
    ("id", NAME, REQUIRED),
    ("unit", NAME, REQUIRED),
    ("adjacency", Choice("add-or-remove-one", "replace-one"), "add-or-remove-one"),
    ("max_records_per_unit", COUNT, 1),
)
Committee = section(
    "Committee",
    ("size", Integer(0, MAX_COMMITTEE + 1), 0),
    ("threshold", Integer(0, MAX_COMMITTEE + 1), 0),
    ("corrupt", Integer(0, MAX_COMMITTEE + 1), 0),
    ("members", Names(MAX_COMMITTEE), ()),
)
NO_COMMITTEE = Committee(0, 0, 0, ())
Aggregation = section(
    "Aggregation",
    ("protocol", CODEPOINT, REQUIRED),
    ("suite", CODEPOINT, next(iter(SUITES))),
    ("adversary", Choice(*ADVERSARIES), REQUIRED),
    ("min_clients", COUNT, REQUIRED),
    ("corrupt", FLOOR, 0),
    ("threshold", FLOOR, 0),
    ("degree", Integer(0, 1 << 20), 0),
    ("dropout", Real(lambda share: 0.0 <= share < 1.0), 0.0),
    ("attempts", Integer(1, 17), 2),
    ("committee", Committee, NO_COMMITTEE),
)
Update = section(
    "Update",
    ("clip", Real(lambda norm: norm > 0.0), REQUIRED),
    ("value_bits", Integer(2, 33), REQUIRED),
    ("rotation", Choice("none", "hadamard"), "none"),
    ("weights", Choice("uniform", "summed"), "summed"),
    ("public_weight", Integer(0, 1 << 53), 0),
    ("max_units_per_client", COUNT, 1),
    ("max_clients_per_unit", COUNT, 1),
)
Noise = section(
    "Noise",
    ("trust", Choice(*TRUSTS), TRUSTS[0]),
    ("mechanism", Choice("skellam", "discrete-gaussian"), "skellam"),
    ("noise_multiplier", Real(lambda of: of >= 0.0), 0.0),
    ("epsilon", Real(lambda of: of >= 0.0), 0.0),
    ("delta", Real(lambda of: 0.0 <= of < 1.0), 0.0),
    ("rounds", FLOOR, 0),
)
Sampling = section(
    "Sampling",
    ("scheme", Choice("all", "poisson"), "all"),
    ("rate", Real(lambda rate: 0.0 < rate <= 1.0), 1.0),
)
Adaptive = section(
    "Adaptive",
    ("quantile", Real(lambda of: 0.0 <= of < 1.0), 0.0),
    ("rate", Real(lambda of: 1e-6 <= of <= 10.0), 0.2),
    ("initial", Real(lambda of: of >= 0.0), 0.0),
    ("count_deviation", Real(lambda of: of >= 0.0), 0.0),
)
Plan = section(
    "Plan",
    ("schema", Choice("fedprivacy/plan/1"), REQUIRED),
    ("dataset", Dataset, REQUIRED),
    ("aggregation", Aggregation, REQUIRED),
    ("update", Update, REQUIRED),
    ("noise", Noise, Noise("none", "skellam", 0.0, 0.0, 0.0, 0)),
    ("sampling", Sampling, Sampling("all", 1.0)),
    ("adaptive", Adaptive, Adaptive(0.0, 0.2, 0.0, 0.0)),
)

# ------------------------------------------------------------------ SPEC 4: the round plan

VERSION = 1
MAX_COHORT = secagg.MAX_COHORT
MAX_BITS = 62
DIGEST, NONCE = Octets(32, 32), Octets(16, 16)

RoundPlan = record(
    "RoundPlan",
    ("version", COUNT),
    ("plan", Plan),
    ("run_id", NONCE),
    ("round", COUNT),
    ("attempt", COUNT),
    ("nonce", NONCE),
    ("cohort_size", Integer(1, MAX_COHORT + 1)),
    ("cohort_root", DIGEST),
    ("committee_root", DIGEST),
    ("directory", DIGEST),
    ("directory_epoch", Integer(0, 1 << 63)),
    ("broadcast", DIGEST),
    ("ledger_head", DIGEST),
    ("length", Integer(1, 1 << 40)),
    ("clip", Real()),
    ("threshold", COUNT),
    ("degree", Integer(0, MAX_COHORT)),
    ("modulus_bits", Integer(1, MAX_BITS + 1)),
)


def round_id(plan):
    return secagg.digest(b"round", pack(plan))


def plan_digest(plan):
    return secagg.digest(b"plan", pack(plan))


def terms(plan):
    size = plan.cohort_size.to_bytes(4, "big")
    parts = (plan_digest(plan.plan), size, plan.cohort_root, plan.committee_root)
    return secagg.digest(b"terms", *parts)


def broadcast_digest(broadcast):
    return secagg.digest(b"broadcast", broadcast)


def least_safe_threshold(n, c):
    return max((n + c) // 2 + 1, c + 1, 2)


class NotHere(Exception):
    """What another document has the rule for; nothing is guessed."""


def on_complete_graph(rules):
    """The rules for t of this document hold for these; a ring's stand in protocols/secagg-plus."""
    if rules.protocol == RING:
        raise NotHere(RING)


def threshold_of(plan, n):
    """SPEC 4.2: the one place where t follows from a plan and a cohort."""
    if plan.aggregation.protocol == ONE_SHOT:
        return committee_threshold(plan.aggregation.committee)
    if plan.aggregation.protocol in SHARED_KEYS:
        return 1
    on_complete_graph(plan.aggregation)
    return plan.aggregation.threshold or least_safe_threshold(n, plan.aggregation.corrupt)


def shared_key_fits(plan):
    """SPEC 4.6: no client is corrupt, each decrypts alone, and who adds noise."""
    rules, trust = plan.aggregation, plan.noise.trust
    if rules.protocol not in SHARED_KEYS:
        return True
    noisy = ("none", "distributed", "client") if rules.protocol == "bfv" else ("none",)
    return rules.corrupt == 0 and rules.threshold == 0 and trust in noisy


def members_of(committee):
    return len(committee.members) or committee.size


def committee_threshold(committee):
    """SPEC 4.5."""
    k, c = members_of(committee), committee.corrupt
    return committee.threshold or max((k + c) // 2 + 1, c + 1)


def committee_fits(rules):
    """SPEC 4.5: what is wrong whatever the cohort."""
    committee = rules.committee
    if rules.protocol != ONE_SHOT:
        return committee == NO_COMMITTEE
    names = committee.members
    return (
        members_of(committee) > 0
        and (not names or committee.size in (0, len(names)))
        and len(set(names)) == len(names)
        and rules.threshold == 0
    )


def committee_holds(rules, n, t):
    """SPEC 4.5: t of k, of whom c are corrupt, in a cohort of n."""
    committee, k = rules.committee, members_of(rules.committee)
    c = committee.corrupt
    if not committee.members and (k > n or c < min(rules.corrupt, k)):
        return False
    return c < t <= k and 2 * t > k + c


def losses(rules, n):
    return math.ceil(rules.dropout * float(n) - 2.0**-20)


def quorum_holds(rules, n, t):
    if rules.protocol == ONE_SHOT:
        enough = rules.corrupt + 2 <= rules.min_clients <= n - losses(rules, n)
        return enough and committee_holds(rules, n, t)
    if rules.protocol in SHARED_KEYS:
        return rules.corrupt + 2 <= rules.min_clients <= n - losses(rules, n)
    on_complete_graph(rules)
    c, needed = rules.corrupt, max(t, rules.min_clients)
    return (
        t >= max(c + 1, 2)
        and needed >= c + 2
        and needed <= n - losses(rules, n)
        and (rules.adversary == HONEST_BUT_CURIOUS or 2 * t > n + c)
    )


def adds_noise(plan):
    return plan.noise.trust != "none"


def summed(plan):
    return plan.update.weights == "summed"


def noise_fits(plan):
    """All of it is given, and no weight is summed; or there is none of it."""
    rules = plan.noise
    figures = (rules.noise_multiplier, rules.epsilon, rules.delta, rules.rounds)
    if not adds_noise(plan):
        return not any(figures)
    return all(0 < figure < math.inf for figure in figures) and not summed(plan)


def adapts_well(plan):
    """What the clip is learnt from is a noisy count of a public number of units."""
    rules, update = plan.adaptive, plan.update
    if not rules.quantile:
        return rules.initial == rules.count_deviation == 0.0
    least = plan.noise.noise_multiplier * update.max_clients_per_unit / 2
    return (
        adds_noise(plan)
        and update.public_weight > 0
        and rules.initial <= update.clip
        and least < rules.count_deviation < math.inf
    )


def check_round_plan(plan):
    """SPEC 5.2, in its order."""
    rules = plan.plan.aggregation
    require(plan.version == VERSION, "CODEPOINT")
    require(rules.protocol in PROTOCOLS and rules.suite in SUITES, "CODEPOINT")
    require(rules.adversary in PROTOCOLS[rules.protocol], "PLAN")
    require(rules.degree == 0 or rules.protocol == RING, "PLAN")
    require(committee_fits(rules), "PLAN")
    require(shared_key_fits(plan.plan), "PLAN")
    require(rules.min_clients >= 2, "PLAN")
    require(math.isfinite(plan.plan.update.clip), "PLAN")
    require(0.0 < plan.clip <= plan.plan.update.clip, "PLAN")
    require(noise_fits(plan.plan), "PLAN")
    require((rules.protocol, plan.plan.noise.trust) != ("plain", "distributed"), "PLAN")
    require((plan.plan.sampling.scheme == "all") == (plan.plan.sampling.rate == 1.0), "PLAN")
    require(plan.plan.sampling.rate >= 2.0**-53, "PLAN")
    counted = plan.plan.sampling.scheme == "poisson" and not plan.plan.update.public_weight
    require(not (counted and adds_noise(plan.plan)), "PLAN")
    require(not (plan.plan.update.public_weight and summed(plan.plan)), "PLAN")
    require(adapts_well(plan.plan), "PLAN")
    require((plan.committee_root != NONE) == (rules.protocol == ONE_SHOT), "PLAN")
    require(plan.ledger_head == NONE or adds_noise(plan.plan), "PLAN")
    require(plan.round <= plan.plan.noise.rounds or not adds_noise(plan.plan), "PLAN")
    require(plan.attempt <= rules.attempts, "ATTEMPTS")
    require(quorum_holds(rules, plan.cohort_size, plan.threshold), "QUORUM")
    require(plan.threshold == threshold_of(plan.plan, plan.cohort_size), "PLAN")
    require(plan.degree == 0, "PLAN")
    require(plan.modulus_bits == Pipeline(plan).modulus_bits(plan.cohort_size), "MODULUS")
    if rules.protocol == ONE_SHOT or rules.protocol in SHARED_KEYS:
        raise NotHere(rules.protocol)


# ------------------------------------------------------------------ SPEC 9: vectors


class Pipeline:
    """What follows from a plan for the integers of one client and of a sum."""

    def __init__(self, plan):
        rules = plan.plan.update
        require(1e-100 <= plan.clip <= 1e100 and plan.length <= 1 << 32, "PLAN")
        self.length, self.clip = plan.length, plan.clip
        self.limit = 2 ** (rules.value_bits - 1) - 1
        self.per_unit = plan.plan.dataset.unit != CLIENT_UNIT
        self.summed = rules.weights == "summed"
        self.max_weight = rules.max_units_per_client
        weighs = self.summed and not self.per_unit
        self.rotates = rules.rotation == "hadamard"
        self.coordinates, self.l2, largest = self.length, self.clip, self.clip
        if self.rotates:
            d = self.coordinates = 1 << (self.length - 1).bit_length()
            self.l2 = self.clip * (1 + (math.log2(d) + 4) * 2.0**-52)
            largest = self.l2 * min(1.0, math.sqrt(2 * math.log(2 * d / 2.0**-40) / d))
            self.largest, self.signs = largest, Signs(round_id(plan))
        self.scale = self.limit / (largest * self.max_weight if weighs else largest)
        self.public_weight = rules.public_weight
        self.trust = plan.plan.noise.trust
        self.adaptive, self.mark = plan.plan.adaptive, 0
        self.highest_clip = rules.clip
        one = self.limit
        if adds_noise(plan.plan):
            norm = self.norm()
            # With fewer bits, the noise that one unit needs would grow.
            require(norm / (self.clip * self.scale) <= 4 / 3, "PLAN")
            if self.adaptive.quantile:
                multiplier = plan.plan.noise.noise_multiplier * rules.max_clients_per_unit
                part = multiplier / (2 * self.adaptive.count_deviation)
                ratio = part / math.sqrt(1 - part * part)
                require(1e-6 <= ratio <= 1e6, "PLAN")
                # Of the plan's clip, whatever the one in force.
                widest = (
                    self if self.clip == rules.clip else Pipeline(plan._replace(clip=rules.clip))
                )
                self.mark = min(max(1, round(ratio * widest.norm())), 1 << 31)
                norm = math.hypot(norm, self.mark) * (1 + 2.0**-50)
                one = max(one, self.mark)
            self.noise = Share(plan, norm)
        self.bound = one * (rules.max_units_per_client if self.per_unit else 1)
        if self.trust in ("distributed", "client"):
            self.bound += self.noise.most
        self.client_bound = max(self.bound, self.max_weight if self.summed else 0)
        self.summands = self.coordinates + (1 if self.mark else 0)
        self.total_length = self.summands + (1 if self.summed else 0)

    def modulus_bits(self, clients):
        bits = max(1, (2 * clients * self.client_bound).bit_length())
        require(bits <= MAX_BITS, "PLAN")
        return bits

    def encode(self, values, weight, seeds, drawn):
        """One client's integers; `seeds` has 32 bytes for each rounding, `drawn` its noise."""
        units = values if self.per_unit else [values]
        require(all(len(unit) == self.length for unit in units), "FAILED")
        require(len(units) <= self.max_weight or not self.per_unit, "FAILED")
        finite = all(math.isfinite(x) for unit in units for x in unit)
        require(finite or self.trust != "none", "FAILED")
        weighs = self.summed and not self.per_unit
        require(weight == 1 or weighs, "FAILED")
        require(0 <= weight <= self.max_weight, "FAILED")
        total = [0] * self.summands
        marks = [self.mark if self.is_within(unit) else -self.mark for unit in units]
        reals = [self.turned(self.clipped(unit)) for unit in units]
        if weighs:
            reals = [[x * float(weight) for x in unit] for unit in reals]
        for rounded, mark in zip(self.all_rounded(reals, iter(seeds)), marks, strict=True):
            unit = [*rounded, mark] if self.mark else rounded
            total = [a + b for a, b in zip(total, unit, strict=True)]
        if self.trust in ("distributed", "client"):
            require(max(map(abs, drawn)) <= self.noise.most, "FAILED")
            total = [a + b for a, b in zip(total, drawn, strict=True)]
        counted = len(units) if self.per_unit else weight
        return [*total, counted] if self.summed else total

    def clipped(self, unit):
        """The same direction, of a norm of at most `clip` however it is summed.

        What is not finite counts as zero: with noise, a refusal would show that it is there.
        """
        if not all(math.isfinite(x) for x in unit):
            return [0.0] * self.length
        target = self.clip * (1 - (self.length + 8) * 2.0**-52)
        if math.sqrt(sum(x * x for x in unit)) <= target:
            return unit
        peak = max(abs(x) for x in unit)
        unit = [x / peak for x in unit]
        norm = math.sqrt(sum(x * x for x in unit))
        return [x * (target / norm) for x in unit]

    def is_within(self, unit):
        return all(map(math.isfinite, unit)) and math.sqrt(sum(x * x for x in unit)) <= self.clip

    def turned(self, unit):
        if not self.rotates:
            return unit
        padded = [*unit, *[0.0] * (self.coordinates - self.length)]
        turned = hadamard([x * self.signs[i] for i, x in enumerate(padded)])
        return [min(max(x, -self.largest), self.largest) for x in turned]

    def norm(self):
        """More than the norm of any rounded vector under noise, in doubles, as it stands."""
        root, before = math.sqrt(self.coordinates), self.l2 * self.scale
        far = math.sqrt(before * before + self.coordinates / 4 + before + root / 2)
        return min(self.limit * root, before + root, far) * (1 + 2.0**-50)

    def all_rounded(self, reals, seeds):
        """Under noise, those whose norm is too large are rounded again, all once, then again."""
        if self.trust == "none":
            return [self.rounded(real, next(seeds)) for real in reals]
        numerator, denominator = self.norm().as_integer_ratio()
        most = numerator**2 // denominator**2
        vectors = [None] * len(reals)
        for _ in range(256):
            for i, real in enumerate(reals):
                if vectors[i] is None:
                    rounded = self.rounded(real, next(seeds))
                    if sum(x * x for x in rounded) <= most:
                        vectors[i] = rounded
        return [[0] * self.coordinates if vector is None else vector for vector in vectors]

    def rounded(self, unit, seed):
        stream, out = secagg.Keystream(seed), []
        for x in unit:
            y = min(max(x * self.scale, -self.limit), self.limit)
            point = round(y * 2.0**32)
            out.append((point + int.from_bytes(stream.read(4), "little")) >> 32)
        return out

    def decode(self, total, clients, drawn):
        """`drawn` is the noise of a server that is trusted with it."""
        values = total[: self.summands]
        require(all(abs(v) <= clients * self.bound for v in values), "SUM_RANGE")
        if self.trust == "server":
            values = [a + b for a, b in zip(values, drawn, strict=True)]
        weight, more = self.public_weight or clients, {}
        if self.summed:
            weight = total[-1]
            require(0 <= weight <= clients * self.max_weight, "SUM_RANGE")
        reals = [v / self.scale for v in values[: self.coordinates]]
        if self.rotates:
            turned = hadamard(reals)[: self.length]
            reals = [x * self.signs[i] for i, x in enumerate(turned)]
        if self.mark:
            share = values[-1] / (2 * self.mark * self.public_weight) + 0.5
            away = min(max(share, 0.0), 1.0) - self.adaptive.quantile
            moved = self.clip * math.exp(-self.adaptive.rate * away)
            more = {"next_clip": min(max(moved, 1e-100), self.highest_clip)}
        return {"values": reals, "weight": weight} | more


class Signs:
    """SPEC 9: one sign for each coordinate, from the round's id."""

    def __init__(self, seed):
        self.stream = secagg.Keystream(secagg.SHA256.new(b"fedprivacy/rotation" + seed).digest())
        self.read = b""

    def __getitem__(self, i):
        while len(self.read) <= i // 8:
            self.read += self.stream.read(64)
        return -1.0 if self.read[i // 8] >> i % 8 & 1 else 1.0


def hadamard(values):
    """H values / sqrt(n), H[i][j] the sign of how many ones i and j share."""
    n = len(values)
    return [
        sum(-x if (i & j).bit_count() % 2 else x for j, x in enumerate(values)) / math.sqrt(n)
        for i in range(n)
    ]


class Share:
    """SPEC 9.1: the distribution of one share of noise, in one coordinate."""

    CUT = 132  # bits that the last mass is below that of zero, at most
    TABLE = 1 << 24

    def __init__(self, plan, norm):
        rules, n = plan.plan.noise, plan.cohort_size
        self.mechanism, shares = rules.mechanism, 1
        if rules.trust == "distributed":
            aggregation = plan.plan.aggregation
            needed = max(threshold_of(plan.plan, n), aggregation.min_clients)
            shares = needed - aggregation.corrupt
        multiplier = rules.noise_multiplier * plan.plan.update.max_clients_per_unit
        require(1e-6 <= multiplier <= 1e6, "PLAN")
        deviation = multiplier * norm
        self.variance = deviation * deviation / shares
        skellam = self.mechanism == "skellam"
        require(2.0**-20 <= self.variance <= 2.0 ** (34 if skellam else 60), "PLAN")
        require(skellam or shares == 1 or self.variance >= 4.0, "PLAN")
        self.most = self.most_skellam() if skellam else self.most_gaussian()

    def most_gaussian(self):
        bits = 0
        if self.variance > self.TABLE:
            bits = max(0, math.isqrt(int(self.variance)).bit_length() - 10)
        steps = math.sqrt(2 * self.CUT * math.log(2) * self.variance) / 2**bits
        return ((math.floor(steps) + 1) << bits) - 1

    def most_skellam(self):
        terms = math.ceil(self.variance / self.TABLE)
        variance = self.variance / terms
        # I_i / I_{i-1} from far beyond the cut down to 1: whatever it began with is forgotten.
        ratios = [0.0]
        for i in range(math.ceil(24 * math.sqrt(variance)) + 500, 0, -1):
            ratios.append(variance / (2 * i + variance * ratios[-1]))
        most, fallen = 0, 0.0
        while (fallen := fallen - math.log2(ratios.pop())) <= self.CUT:
            most += 1
        return terms * most


def sum_plan(plan):
    """SPEC 4.3: what the protocol beneath is given."""
    rules = plan.plan.aggregation
    return secagg.Plan(
        round_id=round_id(plan),
        broadcast=plan.broadcast,
        suite=SUITES[rules.suite],
        adversary=rules.adversary,
        cohort_size=plan.cohort_size,
        cohort_root=plan.cohort_root,
        threshold=plan.threshold,
        corrupt=rules.corrupt,
        min_clients=rules.min_clients,
        length=Pipeline(plan).total_length,
        modulus_bits=plan.modulus_bits,
    )


# ------------------------------------------------------------------ SPEC 6: the directory

MAX_ENTRIES = 100_000
DIRECTORY_LIMIT = 128 + 104 * MAX_ENTRIES


class ClientId(Text):
    def read(self, value):
        return secagg.client_id(value)


class Entries:
    """At most so many pairs of id and key: ids ascend, no key is of small order or there twice."""

    entry = record("Entry", ("client_id", ClientId()), ("key", DIGEST))

    def read(self, value):
        require(isinstance(value, list) and len(value) <= MAX_ENTRIES, "MALFORMED")
        entries = tuple(self.entry.read(item) for item in value)
        ids, keys = [e.client_id for e in entries], [e.key for e in entries]
        require(ids == sorted(set(ids)), "MALFORMED")
        require(not any(map(secagg.has_small_order, keys)), "MALFORMED")
        require(len(set(keys)) == len(keys), "MALFORMED")
        return entries


Directory = message(
    "directory",
    "Directory",
    ("epoch", Integer(1, 1 << 63)),
    ("entries", Entries()),
    ("signature", Octets(64, 64)),
)


def signed_directory(epoch, entries):
    parts = [epoch.to_bytes(8, "big")]
    for client_id, key in entries:
        parts += [client_id.encode(), key]
    return b"directory", *parts


# ------------------------------------------------------------------ SPEC 2: messages

MAX_BROADCAST = (1 << 32) - (1 << 20)
MAX_BODY = (1 << 31) - (1 << 10)
INVITATION_LIMIT = MAX_BROADCAST + DIRECTORY_LIMIT + (1 << 16)
ENVELOPE_LIMIT = 1 << 31
HEAD_LIMIT = 256

Head = message(
    "ledger-head",
    "Head",
    ("ledger", NONCE),
    ("number", Integer(0, 1 << 63)),
    ("head", DIGEST),
    ("operator", DIGEST),
    ("signature", Octets(64, 64)),
)


def signed_head(head):
    return b"ledger-head", head.ledger, head.number.to_bytes(8, "big"), head.head


Invitation = message(
    "invitation",
    "Invitation",
    ("round_plan", RoundPlan),
    ("membership", secagg.Membership),
    ("directory", Octets(0, DIRECTORY_LIMIT)),
    ("broadcast", Octets(0, MAX_BROADCAST)),
    ("ledger", Octets(0, HEAD_LIMIT)),
)
Envelope = message("envelope", "Envelope", ("round_id", DIGEST), ("body", Octets(0, MAX_BODY)))
Settled = message("settled", "Settled", ("round_id", DIGEST), ("ledger", Octets(0, HEAD_LIMIT)))
Refusal = message("refusal", "Refusal", ("round_id", DIGEST), ("reason", Integer(1, 256)))


# ------------------------------------------------------------------ SPEC 7: policies


def _same(value, wanted):
    return not wanted or value == wanted


def _among(value, wanted):
    return value in wanted


def _at_least(value, wanted):
    return value >= wanted


def _at_most(value, wanted):
    return not wanted or value <= wanted


def _bounded(value, wanted):
    """As `_at_most`; zero stands for a plan without noise, which bounds nothing."""
    return not wanted or 0 < value <= wanted


def _as_strong(ranks):
    return lambda value, wanted: ranks.index(value) >= ranks.index(wanted)


def _unmasks(plan, wanted):
    """Of clients: a committee has floors of its own."""
    return plan.plan.aggregation.protocol == ONE_SHOT or plan.threshold >= wanted


def _opens(rules, wanted):
    given, named = rules.committee, wanted["members"]
    if rules.protocol != ONE_SHOT:
        return True
    return (
        members_of(given) >= wanted["size"]
        and committee_threshold(given) >= wanted["threshold"]
        and given.corrupt >= wanted["corrupt"]
        and (not named or (given.members and set(given.members) <= set(named)))
    )


# Reason, where the wanted value stands in a policy, what of the round it is held against, how.
FLOORS = (
    (
        "POLICY_ADVERSARY",
        "aggregation.adversary",
        "plan.aggregation.adversary",
        _as_strong(ADVERSARIES),
    ),
    ("POLICY_DATASET", "dataset.id", "plan.dataset.id", _same),
    ("POLICY_DATASET", "dataset.unit", "plan.dataset.unit", _same),
    ("POLICY_DATASET", "dataset.adjacency", "plan.dataset.adjacency", _same),
    ("POLICY_PROTOCOL", "aggregation.protocol", "plan.aggregation.protocol", _among),
    ("POLICY_SUITE", "aggregation.suite", "plan.aggregation.suite", _among),
    ("POLICY_COHORT", "aggregation.min_clients", "plan.aggregation.min_clients", _at_least),
    ("POLICY_CORRUPT", "aggregation.corrupt", "plan.aggregation.corrupt", _at_least),
    ("POLICY_THRESHOLD", "aggregation.threshold", "", _unmasks),
    ("POLICY_COHORT", "aggregation.min_clients", "cohort_size", _at_least),
    ("POLICY_COMMITTEE", "aggregation.committee", "plan.aggregation", _opens),
    ("POLICY_UPDATE", "update.clip", "plan.update.clip", _at_most),
    ("POLICY_UPDATE", "update.value_bits", "plan.update.value_bits", _at_most),
    (
        "POLICY_UPDATE",
        "update.max_units_per_client",
        "plan.update.max_units_per_client",
        _at_most,
    ),
    (
        "POLICY_UPDATE",
        "update.least_units_per_client",
        "plan.update.max_units_per_client",
        _at_least,
    ),
    ("POLICY_NOISE", "noise.trust", "plan.noise.trust", _as_strong(TRUSTS)),
    ("POLICY_NOISE", "noise.noise_multiplier", "plan.noise.noise_multiplier", _at_least),
    ("POLICY_NOISE", "noise.epsilon", "plan.noise.epsilon", _bounded),
    ("POLICY_NOISE", "noise.delta", "plan.noise.delta", _bounded),
)


def check_policy(policy, plan):
    for reason, wanted_at, given_at, holds in FLOORS:
        given, wanted = plan, policy
        for step in filter(None, given_at.split(".")):
            given = getattr(given, step)
        for step in wanted_at.split("."):
            wanted = wanted[step]
        require(holds(given, wanted), reason)


# ------------------------------------------------------------------ SPEC 8: the store


class Store:
    """What one client never forgets; `anchor` is what it has seen last, kept elsewhere."""

    def __init__(self, authority):
        self.authority = authority
        self.history, self.anchor = [], []

    def _records(self, kind):
        return [details for what, details in self.history if what == kind]

    def _check_anchor(self):
        require(self.history[: len(self.anchor)] == self.anchor, "STORE_ROLLED_BACK")

    def _commit(self, what, **details):
        self.history = [*self.history, (what, details)]
        self.anchor = self.history

    def observe_directory(self, epoch, digest):
        self._check_anchor()
        seen = self._records("directory")
        if seen:
            latest = max(seen, key=lambda d: d["epoch"])
            require(epoch >= latest["epoch"], "DIRECTORY_STALE")
            same = epoch > latest["epoch"] or digest == latest["digest"]
            require(same, "DIRECTORY_EQUIVOCATED")
        if not seen or epoch > latest["epoch"]:
            self._commit("directory", epoch=epoch, digest=digest)

    def begin(self, run_id, number, attempt, agreed):
        self._check_anchor()
        begun = [d for d in self._records("begin") if d["run_id"] == run_id]
        later = [d for d in begun if (d["round"], d["attempt"]) >= (number, attempt)]
        require(not later, "ROUND_SEEN")
        require(not self._answered(run_id, number), "ANSWERED")
        same = all(d["terms"] == agreed for d in begun if d["round"] == number)
        require(same, "ATTEMPT_CHANGED")
        self._commit("begin", run_id=run_id, round=number, attempt=attempt, terms=agreed)

    def mark_spent(
        self, run_id, number, attempt, charge=None, *, once=("run_id", "round", "attempt")
    ):
        """`once` has the fields in which the input leaves once: the round, or the attempt too."""
        self._check_anchor()
        key = {"run_id": run_id, "round": number, "attempt": attempt}
        earlier = [{name: d[name] for name in once} for d in self._records("spent")]
        require({name: key[name] for name in once} not in earlier, "SPENT")
        if charge:
            self.check_affordable(charge, run_id, number)
        self._commit("spent", **key, charge=charge)

    def _charges(self, dataset):
        charged = [d for d in self._records("spent") if d["charge"]]
        return [d for d in charged if d["charge"].dataset == dataset]

    def _charged(self, charge):
        """The rounds for which this data set is charged, each once."""
        return {(d["run_id"], d["round"]) for d in self._charges(charge.dataset)}

    def check_affordable(self, charge, run_id, number):
        names = (charge.unit, charge.adjacency)
        same = [d["charge"] for d in self._charges(charge.dataset)]
        require(all((c.unit, c.adjacency) == names for c in same), "POLICY_DATASET")
        charged = self._charged(charge)
        require((run_id, number) in charged or len(charged) < charge.holds, "BUDGET")

    def keep_receipt(self, head, after):
        earlier = [d["head"] for d in self._records("head") if d["head"].head == after]
        whose = (head.ledger, head.operator)
        before = [e.number for e in earlier if (e.ledger, e.operator) == whose]
        require(any(number < head.number for number in before), "RECEIPT_CHANGED")
        self.keep_head(head)

    def keep_head(self, head):
        self._check_anchor()
        signed = secagg.verify(head.operator, head.signature, *signed_head(head))
        require(signed, "MALFORMED")
        known = [d["head"] for d in self._records("head") if d["head"].ledger == head.ledger]
        require(all(k.operator == head.operator for k in known), "RECEIPT_CHANGED")
        require(all(k == head for k in known if k.number == head.number), "RECEIPT_CHANGED")
        if head not in known:
            self._commit("head", head=head)

    def mark_answered(self, run_id, number, broadcast, survivors, floor):
        self._check_anchor()
        require(not self._answered(run_id, number), "ANSWERED")
        names = frozenset(survivors)
        for known in self._records("answered"):
            apart = len(names ^ known["survivors"])
            close = known["broadcast"] == broadcast and 0 < apart < floor
            require(not close, "SURVIVORS_OVERLAP")
        answer = {"run_id": run_id, "round": number, "broadcast": broadcast}
        self._commit("answered", **answer, survivors=names)

    def _answered(self, run_id, number):
        return any((d["run_id"], d["round"]) == (run_id, number) for d in self._records("answered"))


class Charge(NamedTuple):
    """What one round costs; `holds` is how many such rounds the client's budget holds.

    That is for its accountant to say (SPEC 8.6), and here it is given.
    """

    dataset: str
    unit: str
    adjacency: str
    holds: int


# ------------------------------------------------------------------ SPEC 10: plain


PlainInput = secagg.message("plain-input", "PlainInput", checksum=secagg.octets(16, 16))
PLAIN_LIMIT = secagg.MAX_CHUNK_BYTES + 64


class PlainClient:
    """Sends its vector, once."""

    def __init__(self, plan, index):
        self.plan, self.index = plan, index

    def start(self):
        return []

    def receive(self, sender, data):
        raise Refused("UNEXPECTED")

    def contribute(self, vector):
        bits, packed, at = self.plan.modulus_bits, b"", 0
        effects = [("persist", "spent", "input", ())]
        residues = [value % 2**bits for value in vector]
        for sequence, count in enumerate(secagg.chunk_lengths(len(vector))):
            data = secagg.pack_bits(residues[at : at + count], bits)
            effects.append(("chunk", SERVER, secagg.encode(secagg.MaskedChunk(sequence, data))))
            packed, at = packed + data, at + count
        checksum = secagg.upload_checksum(self.plan.round_id, self.index, packed)
        closing = secagg.encode(PlainInput(checksum))
        return [*effects, ("send", SERVER, closing), ("done", None, ())]


class PlainServer:
    def __init__(self, plan, memberships, directory):
        self.plan = plan
        self.members = {m.client_id: m.index for m in memberships}
        self.waiting = set(self.members)
        self.uploads, self.survivors, self.phase = {}, [], "input"
        self.seen = False
        self.total = [0] * plan.length

    def waiting_for(self):
        return self.waiting if self.phase == "input" else set()

    def exclude(self, client_id):
        self.waiting.discard(client_id)
        self.uploads.pop(client_id, None)

    def receive(self, sender, data):
        require(sender in self.members, "UNKNOWN_SENDER", sender)
        require(self.phase == "input", "LATE", sender)
        require(sender not in self.survivors, "DUPLICATE", sender)
        require(sender in self.waiting, "LATE", sender)
        try:
            self.take(sender, secagg.decode(data, PLAIN_LIMIT, secagg.MaskedChunk, PlainInput))
        except secagg.Refused as refusal:
            self.exclude(sender)
            raise Refused(refusal.reason, (sender,)) from None
        effects = [] if self.seen else [("persist", "unmasking", "input", ())]
        self.seen = True
        return effects

    def take(self, sender, value):
        lengths, bits = secagg.chunk_lengths(self.plan.length), self.plan.modulus_bits
        sizes = [secagg.packed_size(count, bits) for count in lengths]
        chunks = self.uploads.setdefault(sender, [])
        at = len(chunks)
        if isinstance(value, secagg.MaskedChunk):
            require(value.sequence == at and at < len(sizes), "CHUNK_ORDER")
            require(len(value.data) == sizes[at], "CHUNK_ORDER")
            chunks.append(value.data)
            return
        require(at == len(sizes), "CHUNK_ORDER")
        packed, index = b"".join(chunks), self.members[sender]
        checksum = secagg.upload_checksum(self.plan.round_id, index, packed)
        require(checksum == value.checksum, "DIGEST")
        vector = []
        for data, count in zip(chunks, lengths, strict=True):
            values, clean = secagg.unpack_bits(data, count, bits)
            require(clean, "PADDING")
            vector += values
        secagg.add_signed(self.total, +1, vector, bits)
        self.exclude(sender)
        self.survivors.append(sender)

    def advance(self):
        self.phase = "done"
        if len(self.survivors) < max(self.plan.threshold, self.plan.min_clients):
            return [("aborted", "TOO_FEW", ())]
        total = [secagg.centred(residue, self.plan.modulus_bits) for residue in self.total]
        return [("done", total, tuple(sorted(self.survivors)))]


class MaskingServer(secagg.Server):
    """Masked aggregation's server, with what a round asks of one."""

    def exclude(self, client_id):
        index = self.index.get(client_id)
        self.expected.discard(index)
        self.answered.discard(index)
        self.uploads.pop(index, None)

    def waiting_for(self):
        left = self.expected - self.answered if self.phase != "done" else ()
        return {self.name(i) for i in left}


# ------------------------------------------------------------------ SPEC 5: the client


class Answer(NamedTuple):
    """What one input leads to: effects in order, and why the party refused, if it did."""

    effects: list
    refusal: Refused | None


class Client:
    """One client in one attempt; its policy, identity and store are its own."""

    envelope, refusal = Envelope, Refusal

    def __init__(self, entry, *, store, rand, encoding, noise):
        """`entry` has what is the client's own: its id, key, policy, budget and accounts."""
        self.client_id, self.policy, self.store = entry["client_id"], entry["policy"], store
        self.budget, self.accounts = entry["budget"], entry["accounts"]
        self.identity_seed = bytes.fromhex(entry["identity_seed"])
        self.rand, self.encoding, self.noise = rand, encoding, noise
        self.party = self.plan = self.charge = None
        self.receipt = None
        self.round_id = NONE
        self.dead = False

    def receive(self, sender, data):
        answer = self._guarded(self._take, sender, data)
        receipt, self.receipt = self.receipt, None
        return self._keep(receipt) if receipt else answer

    def contribute(self, values, weight):
        return self._guarded(self._contribute, values, weight)

    def _guarded(self, act, *arguments):
        """SPEC 5.4: whatever is refused ends the client, and the server is told why, once."""
        if self.dead:
            return Answer([], Refused("UNEXPECTED"))
        self.effects = []
        try:
            act(*arguments)
        except secagg.Refused as refusal:
            if refusal.reason == "WRONG_ROUND":
                return Answer([], refusal)
            self.dead = True
            told = encode(self.refusal(self.round_id, refusal.code))
            return Answer([*self.effects, ("send", SERVER, told)], refusal)
        return Answer(self.effects, None)

    def _take(self, sender, data):
        require(sender == SERVER, "UNKNOWN_SENDER")
        (self._pass_on if self.party else self._accept)(data)

    def _accept(self, data):
        """SPEC 5.1, in its order."""
        invitation = decode(data, INVITATION_LIMIT, Invitation)
        plan = invitation.round_plan
        self.round_id = round_id(plan)
        check_round_plan(plan)
        self._check_place(plan, invitation.membership)
        require(broadcast_digest(invitation.broadcast) == plan.broadcast, "BROADCAST")
        head = self._check_ledger(plan, invitation.ledger)
        directory = self._check_directory(plan, invitation.directory)
        check_policy(self.policy, plan)
        self._check_budget(plan)
        self.store.begin(plan.run_id, plan.round, plan.attempt, terms(plan))
        self.effects.append(("commit", "begin", {}))
        if head:
            self.store.keep_head(head)
            self.effects.append(("commit", "head", {"number": head.number}))
        self.plan = plan
        if plan.plan.aggregation.protocol == "plain":
            self.party = PlainClient(sum_plan(plan), invitation.membership.index)
        else:
            self.party = secagg.Client(
                sum_plan(plan),
                invitation.membership,
                identity_seed=self.identity_seed,
                directory=directory,
                floor=self.policy["aggregation"]["min_clients"],
                rand=self.rand,
            )
        self._carry_out(self.party.start())

    def _check_place(self, plan, place):
        require(place.client_id == self.client_id, "COHORT_PROOF")
        leaf = secagg.cohort_leaf(place)
        root, size = plan.cohort_root, plan.cohort_size
        proven = secagg.merkle_verify(root, size, place.index, leaf, place.path)
        require(proven, "COHORT_PROOF")

    def _check_ledger(self, plan, data):
        """SPEC 6.3."""
        if plan.ledger_head == NONE:
            require(data == b"", "PLAN")
            return None
        head = decode(data, HEAD_LIMIT, Head)
        require(head.head == plan.ledger_head, "PLAN")
        good = secagg.verify(head.operator, head.signature, *signed_head(head))
        require(good, "PLAN")
        return head

    def _check_budget(self, plan):
        """SPEC 7.1."""
        data, most = plan.plan.dataset, self.policy["noise"]["epsilon"]
        require(not most or self.accounts["all_rounds"] <= most, "POLICY_NOISE")
        if not self.budget:
            return
        require(data.id in self.budget, "POLICY_DATASET")
        require(adds_noise(plan.plan), "POLICY_NOISE")
        trusts = self.policy["noise"]["trust"] != "none"
        require(trusts or plan.plan.noise.trust != "server", "POLICY_NOISE")
        self.charge = Charge(data.id, data.unit, data.adjacency, self.accounts["holds"])
        self.store.check_affordable(self.charge, plan.run_id, plan.round)

    def _check_directory(self, plan, data):
        """SPEC 6.2."""
        if plan.plan.aggregation.adversary == HONEST_BUT_CURIOUS:
            require(data == b"" and plan.directory == NONE, "PLAN")
            require(plan.directory_epoch == 0, "PLAN")
            return None
        require(self.store.authority is not None, "FAILED")
        directory = decode(data, DIRECTORY_LIMIT, Directory)
        signed = signed_directory(directory.epoch, directory.entries)
        good = secagg.verify(self.store.authority, directory.signature, *signed)
        require(good, "DIRECTORY_SIGNATURE")
        digest = secagg.digest(b"directory-hash", data)
        named = (plan.directory, plan.directory_epoch)
        require((digest, directory.epoch) == named, "DIRECTORY_MISMATCH")
        self.store.observe_directory(directory.epoch, digest)
        held = {"epoch": directory.epoch, "digest": digest.hex()}
        self.effects.append(("commit", "directory", held))
        own = secagg.identity_public(self.identity_seed)
        keys = dict(directory.entries)
        require(keys.get(self.client_id) == own, "NOT_ENROLLED")
        return keys

    def _pass_on(self, data):
        """SPEC 5.3."""
        told = decode(data, ENVELOPE_LIMIT, Envelope, Settled)
        require(told.round_id == self.round_id, "WRONG_ROUND")
        if isinstance(told, Settled):
            self.receipt = told
            return
        self._carry_out(self.party.receive(SERVER, told.body))

    def _keep(self, receipt):
        """SPEC 5.7: whatever is wrong with it, the client goes on as it was."""
        try:
            require(self.plan.ledger_head != NONE, "UNEXPECTED")
            head = decode(receipt.ledger, HEAD_LIMIT, Head)
            self.store.keep_receipt(head, self.plan.ledger_head)
        except secagg.Refused as refusal:
            return Answer([], refusal)
        return Answer([("commit", "head", {"number": head.number})], None)

    def _contribute(self, values, weight):
        vector = Pipeline(self.plan).encode(values, weight, self.encoding, self.noise)
        self._carry_out(self.party.contribute(vector))

    def _carry_out(self, effects):
        plan = self.plan
        for effect in effects:
            match effect:
                case ("persist", "spent", _, _):
                    where = (plan.run_id, plan.round, plan.attempt)
                    open_noise = plan.plan.aggregation.protocol == "plain" and adds_noise(plan.plan)
                    fields = ("run_id", "round") + (() if open_noise else ("attempt",))
                    self.store.mark_spent(*where, self.charge, once=fields)
                    self.effects.append(("commit", "spent", {}))
                case ("persist", "answered", _, names):
                    floor = self.policy["aggregation"]["min_clients"]
                    where = (plan.run_id, plan.round, plan.broadcast)
                    self.store.mark_answered(*where, names, floor)
                    self.effects.append(("commit", "answered", {"survivors": sorted(names)}))
                case ("send" | "chunk" as verb, recipient, body):
                    told = encode(self.envelope(self.round_id, body))
                    self.effects.append((verb, recipient, told))
                case _:
                    self.effects.append(effect)


# ------------------------------------------------------------------ SPEC 5.5: the server


class Server:
    """One attempt at one round; `memberships` has every member's place, by index."""

    def __init__(self, plan, memberships, directory, broadcast, ledger=b"", noise=()):
        self.plan, self.directory, self.broadcast = plan, directory, broadcast
        self.ledger, self.noise = ledger, noise
        self.memberships = memberships
        self.round_id = round_id(plan)
        keys = None
        if directory:
            keys = dict(decode(directory, DIRECTORY_LIMIT, Directory).entries)
        kinds = {"plain": PlainServer, "secagg": MaskingServer}
        kind = kinds[plan.plan.aggregation.protocol]
        self.party = kind(sum_plan(plan), memberships, keys)
        self.members = {place.client_id for place in memberships}
        self.refused, self.answers, self.unmasking = {}, False, False
        self.heard = set()

    @property
    def phase(self):
        return self.party.phase

    def waiting_for(self):
        return sorted(self.party.waiting_for())

    def invite(self, asked):
        effects = []
        for place in self.memberships:
            if place.client_id not in asked:
                self.party.exclude(place.client_id)
                continue
            told = (self.directory, self.broadcast, self.ledger)
            invitation = Invitation(self.plan, place, *told)
            effects.append(("send", place.client_id, encode(invitation)))
        return Answer(effects, None)

    def receive(self, sender, data):
        try:
            return Answer(self._receive(sender, data), None)
        except secagg.Refused as refusal:
            return Answer([], refusal)

    def _receive(self, sender, data):
        try:
            message = decode(data, ENVELOPE_LIMIT, Envelope, Refusal)
        except secagg.Refused as refusal:
            if sender in self.members:
                self.party.exclude(sender)
            raise Refused(refusal.reason, (sender,)) from None
        unread = isinstance(message, Refusal) and message.round_id == NONE
        unread = unread and sender in self.members
        require(message.round_id == self.round_id or unread, "WRONG_ROUND")
        require(sender in self.members, "UNKNOWN_SENDER", sender)
        if isinstance(message, Refusal):
            if self.phase == "done":
                return []
            known = {code: reason for reason, code in REASONS.items()}
            self.refused.setdefault(sender, known.get(message.reason, "FAILED"))
            self.party.exclude(sender)
            return []
        effects = self._carry_out(self.party.receive(sender, message.body))
        self.heard.add(sender)
        return effects

    def settle(self, ledger):
        """SPEC 5.7."""
        told = encode(Settled(self.round_id, ledger))
        names = [place.client_id for place in self.memberships]
        heard = [name for name in names if name in self.heard and name not in self.refused]
        return Answer([("send", name, told) for name in heard], None)

    def advance(self):
        return Answer(self._carry_out(self.party.advance()), None)

    def _carry_out(self, effects):
        return [self._addressed(effect) for effect in effects]

    def _addressed(self, effect):
        match effect:
            case ("send" | "chunk" as verb, recipient, body):
                self.answers = self.answers or self.phase in {"consistency", "unmasking"}
                return verb, recipient, encode(Envelope(self.round_id, body))
            case ("persist", "unmasking", _, _):
                self.unmasking = True
                return effect
            case ("done", total, survivors):
                try:
                    decoded = Pipeline(self.plan).decode(total, len(survivors), self.noise)
                except Refused as refusal:
                    return "aborted", refusal.reason, ()
                return "done", decoded, survivors
        return effect
