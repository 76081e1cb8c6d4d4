"""Masked aggregation, literally: SPEC.md section by section, in plain Python.

Slow on purpose. It shares no code with the package, nor its cryptography library, so that the two
agree only where the specification makes them. Integers are Python's, time is not constant, secrets
are not erased from memory: for checking implementations, never for protecting data.

Names follow the specification. A party's methods are named by phase; randomness comes in as data.
Effects are tuples:

    ("persist", mark, phase, names)   ("send", recipient, message)   ("chunk", recipient, message)
    ("done", sum or None, names)      ("aborted", reason, culprits)

The methods under "the graph" are those that SecAgg+ (../secagg-plus) has otherwise.
"""

import hashlib
import re
from collections import namedtuple
from itertools import pairwise
from typing import NamedTuple

from Crypto.Cipher import AES
from Crypto.Hash import SHA256
from Crypto.Protocol.DH import (
    import_x25519_private_key,
    import_x25519_public_key,
    key_agreement,
)
from Crypto.Protocol.KDF import HKDF
from Crypto.Signature import eddsa
from Crypto.Util import Counter

SERVER = "@server"
HONEST_BUT_CURIOUS = "honest-but-curious"

# SPEC 11: the registered reasons that this protocol uses.
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
    "PADDING": 11,
    "COHORT_PROOF": 40,
    "NOT_ENROLLED": 41,
    "KEY_SIGNATURE": 42,
    "OWN_ENTRY": 43,
    "DUPLICATE_MEMBER": 44,
    "ROSTER_SIZE": 45,
    "UNKNOWN_DEALER": 46,
    "WEAK_KEY": 47,
    "SHARE_UNOPENED": 48,
    "SHARE_COMMITMENT": 49,
    "SHARE_POLYNOMIAL": 50,
    "SHARE_MISSING": 51,
    "SURVIVOR_UNKNOWN": 60,
    "NOT_SURVIVOR": 61,
    "SURVIVORS_FEW": 62,
    "CONSISTENCY_SIGNATURE": 64,
    "CONSISTENCY_QUORUM": 65,
    "ANSWERED": 66,
    "TOO_FEW": 80,
}


class Refused(Exception):
    """A message that an honest peer does not send."""

    def __init__(self, reason, culprits=()):
        super().__init__(reason)
        self.reason, self.code, self.culprits = reason, REASONS[reason], tuple(culprits)


class RoundOver(Exception):
    """The server ends the round without a sum."""

    def __init__(self, reason, culprits=()):
        super().__init__(reason)
        self.reason, self.culprits = reason, tuple(culprits)


def require(condition, reason, *culprits):
    if not condition:
        raise Refused(reason, culprits)


# ------------------------------------------------------------------ SPEC 2: MessagePack


def pack(value):
    """The shortest MessagePack of an integer >= 0, a str, bytes, or a sequence of these."""
    if isinstance(value, int):
        if value < 0x80:
            return bytes([value])
        for kind, size in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
            if value < 1 << 8 * size:
                return bytes([kind]) + value.to_bytes(size, "big")
    if isinstance(value, str):
        raw = value.encode("utf-8")
        if len(raw) < 32:
            return bytes([0xA0 | len(raw)]) + raw
        return _long(((0xD9, 1), (0xDA, 2), (0xDB, 4)), len(raw)) + raw
    if isinstance(value, bytes):
        return _long(((0xC4, 1), (0xC5, 2), (0xC6, 4)), len(value)) + value
    items = b"".join(pack(item) for item in value)
    if len(value) < 16:
        return bytes([0x90 | len(value)]) + items
    return _long(((0xDC, 2), (0xDD, 4)), len(value)) + items


def _long(heads, length):
    for kind, size in heads:
        if length < 1 << 8 * size:
            return bytes([kind]) + length.to_bytes(size, "big")
    raise OverflowError(length)


_DEEPEST = 6  # message, entries, (entry and place,) entry, membership, path


def unpack(data):
    """The value of one MessagePack encoding of any width; `MALFORMED` for anything else."""
    value, end = _unpack(data, 0, _DEEPEST)
    require(end == len(data), "MALFORMED")
    return value


def _take(data, at, count):
    require(at + count <= len(data), "MALFORMED")
    return data[at : at + count], at + count


def _unpack(data, at, depth):
    (kind,), at = _take(data, at, 1)
    if kind < 0x80:
        return kind, at
    if 0x90 <= kind < 0xA0:
        return _unpack_array(data, at, kind & 0x0F, depth)
    if 0xA0 <= kind < 0xC0:
        return _unpack_text(data, at, kind & 0x1F)
    if kind >= 0xE0:
        return kind - 0x100, at
    size = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}.get(kind)
    if size:
        raw, at = _take(data, at, size)
        return int.from_bytes(raw, "big", signed=kind >= 0xD0), at
    size = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4}.get(kind)
    require(size is not None, "MALFORMED")  # nil, bool, float, map, extension
    raw, at = _take(data, at, size)
    length = int.from_bytes(raw, "big")
    if kind in (0xDC, 0xDD):
        return _unpack_array(data, at, length, depth)
    if kind in (0xD9, 0xDA, 0xDB):
        return _unpack_text(data, at, length)
    return _take(data, at, length)


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


# ------------------------------------------------------------------ SPEC 2: messages


def integer(limit):
    def read(value):
        require(isinstance(value, int) and 0 <= value < limit, "MALFORMED")
        return value

    return read


def octets(least, most):
    def read(value):
        require(isinstance(value, bytes) and least <= len(value) <= most, "MALFORMED")
        return value

    return read


def client_id(value):
    require(isinstance(value, str), "MALFORMED")
    require(re.fullmatch("[a-z0-9][a-z0-9._-]{0,63}", value) is not None, "MALFORMED")
    return value


def many(item, most):
    def read(value):
        require(isinstance(value, list) and len(value) <= most, "MALFORMED")
        return tuple(item(v) for v in value)

    return read


def record(name, **fields):
    """A named tuple with a reader: an array of exactly these fields."""
    kind = namedtuple(name, fields)  # noqa: PYI024 - the fields come as data

    def read(value):
        require(isinstance(value, list) and len(value) == len(fields), "MALFORMED")
        return kind(*(f(v) for f, v in zip(fields.values(), value, strict=True)))

    kind.read = staticmethod(read)
    return kind


def message(tag, name, **fields):
    """A record whose array starts with its kind."""
    kind = record(name, **fields)
    kind.tag = tag
    return kind


MAX_COHORT = 1 << 20
CHUNK_VALUES = 1 << 16
MAX_CHUNK_BYTES = 1 << 19
SHARE_BYTES, SALT_BYTES, BOX_BYTES = 36, 16, 120

INDEX = integer(MAX_COHORT)
DIGEST = KEY = octets(32, 32)
SIGNATURE, MAYBE_SIGNATURE = octets(64, 64), octets(0, 64)

Membership = record(
    "Membership", index=INDEX, client_id=client_id, salt=DIGEST, path=many(DIGEST, 20)
)
RosterEntry = record(
    "RosterEntry",
    membership=Membership.read,
    seal_key=KEY,
    mask_key=KEY,
    signature=MAYBE_SIGNATURE,
)
SealedBox = record(
    "SealedBox", peer=INDEX, box=octets(BOX_BYTES, BOX_BYTES), commitments=octets(64, 64)
)
SurvivorSignature = record("SurvivorSignature", signer=INDEX, signature=SIGNATURE)
OpenedShare = record(
    "OpenedShare",
    dealer=INDEX,
    share=octets(SHARE_BYTES, SHARE_BYTES),
    salt=octets(SALT_BYTES, SALT_BYTES),
)

KeyAdvertisement = message(
    "key-advertisement", "KeyAdvertisement", seal_key=KEY, mask_key=KEY, signature=MAYBE_SIGNATURE
)
Roster = message("roster", "Roster", entries=many(RosterEntry.read, MAX_COHORT))
SealedShares = message(
    "sealed-shares",
    "SealedShares",
    seed_commitment=DIGEST,
    boxes=many(SealedBox.read, MAX_COHORT),
)
ShareDelivery = message("share-delivery", "ShareDelivery", boxes=many(SealedBox.read, MAX_COHORT))
MaskedChunk = message(
    "masked-chunk", "MaskedChunk", sequence=integer(1 << 32), data=octets(1, MAX_CHUNK_BYTES)
)
MaskedInput = message(
    "masked-input", "MaskedInput", checksum=octets(16, 16), unopened=many(INDEX, MAX_COHORT)
)
SurvivorSet = message("survivor-set", "SurvivorSet", survivors=many(INDEX, MAX_COHORT))
ConsistencySignature = message("consistency-signature", "ConsistencySignature", signature=SIGNATURE)
UnmaskRequest = message(
    "unmask-request", "UnmaskRequest", signatures=many(SurvivorSignature.read, MAX_COHORT)
)
UnmaskShares = message("unmask-shares", "UnmaskShares", shares=many(OpenedShare.read, MAX_COHORT))


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


def server_limit(plan):
    return 256 + 1040 * plan.cohort_size


def client_limit(plan):
    return 256 + max(MAX_CHUNK_BYTES, 216 * plan.cohort_size)


def require_ascending(indices):
    require(all(a < b for a, b in pairwise(indices)), "NON_CANONICAL")


# ------------------------------------------------------------------ SPEC 3: hashes and trees


def u32(i):
    return i.to_bytes(4, "big")


def digest(label, *parts):
    state = b""
    for part in (b"fedprivacy/" + label, *parts):
        state += len(part).to_bytes(8, "big") + part
    return hashlib.sha256(state).digest()


def upload_checksum(round_id, index, packed):
    nonce = bytes(8) + u32(index)
    return AES.new(digest(b"upload", round_id), AES.MODE_GCM, nonce=nonce).update(packed).digest()


def _leaf(data):
    return hashlib.sha256(b"\x00" + data).digest()


def _node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def merkle_root(leaves):
    """MTH of RFC 9162, 2.1.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return _leaf(leaves[0])
    k = _split(len(leaves))
    return _node(merkle_root(leaves[:k]), merkle_root(leaves[k:]))


def merkle_path(leaves, index):
    """PATH of RFC 9162, 2.1.3.1."""
    if len(leaves) <= 1:
        return ()
    k = _split(len(leaves))
    if index < k:
        return (*merkle_path(leaves[:k], index), merkle_root(leaves[k:]))
    return (*merkle_path(leaves[k:], index - k), merkle_root(leaves[:k]))


def _split(n):
    """The largest power of two smaller than n."""
    return 1 << (n - 1).bit_length() - 1


def merkle_verify(root, size, index, leaf, path):
    """The verification of RFC 9162, 2.1.3.2, in its order."""
    if index >= size:
        return False
    fn, sn, r = index, size - 1, _leaf(leaf)
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = _node(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = _node(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


# ------------------------------------------------------------------ SPEC 1: the suite


def public_key(private):
    return import_x25519_private_key(private).public_key().export_key(format="raw")


def agree(private, public):
    """X25519; `WEAK_KEY` where the result is zero."""
    try:
        return key_agreement(
            static_priv=import_x25519_private_key(private),
            static_pub=import_x25519_public_key(public),
            kdf=lambda z: z,
        )
    except ValueError:
        raise Refused("WEAK_KEY") from None


def identity_public(seed):
    return eddsa.import_private_key(seed).public_key().export_key(format="raw")


def sign(seed, label, *parts):
    return eddsa.new(eddsa.import_private_key(seed), "rfc8032").sign(digest(label, *parts))


def has_small_order(public):
    """Whether the key's y is that of a point of small order, whatever its sign and encoding."""
    p = 2**255 - 19
    order_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
    y = int.from_bytes(public, "little") % 2**255 % p
    return y in (0, 1, p - 1, order_8, p - order_8)


def verify(public, signature, label, *parts):
    if has_small_order(public):
        return False
    try:
        key = eddsa.import_public_key(public)
        eddsa.new(key, "rfc8032").verify(digest(label, *parts), signature)
    except ValueError:
        return False
    return True


def derive(secret, session, label, context):
    info = b"fedprivacy/" + label + b"\x00" + context
    return HKDF(secret, 32, session, SHA256, 1, info)


def seal(key, plaintext, associated):
    cipher = AES.new(key, AES.MODE_GCM, nonce=bytes(12))
    cipher.update(associated)
    ciphertext, tag = cipher.encrypt_and_digest(plaintext)
    return ciphertext + tag


def unseal(key, box, associated):
    cipher = AES.new(key, AES.MODE_GCM, nonce=bytes(12))
    cipher.update(associated)
    try:
        return cipher.decrypt_and_verify(box[:-16], box[-16:])
    except ValueError:
        raise Refused("SHARE_UNOPENED") from None


class Keystream:
    """AES-256-CTR over zeros, the 128-bit big-endian counter from zero."""

    def __init__(self, key):
        self.cipher = AES.new(key, AES.MODE_CTR, counter=Counter.new(128, initial_value=0))

    def read(self, count):
        return self.cipher.encrypt(bytes(count))


# ------------------------------------------------------------------ SPEC 5: secret sharing

PRIME = 2**31 + 11
LIMBS = 9  # of a 32-byte secret, 31 bits each


def to_limbs(secret):
    number = int.from_bytes(secret, "big")
    return [number >> 31 * (LIMBS - 1 - j) & (2**31 - 1) for j in range(LIMBS)]


def from_limbs(limbs):
    """The 32-byte secret of these limbs, or None where there is none."""
    if any(limb >= 2**31 for limb in limbs):
        return None
    number = sum(limb << 31 * (LIMBS - 1 - j) for j, limb in enumerate(limbs))
    return number.to_bytes(32, "big") if number < 2**256 else None


def field_elements(stream, count):
    """Uniform elements: 64-bit little-endian words, those past the last multiple of p skipped."""
    limit = 2**64 // PRIME * PRIME
    elements = []
    while len(elements) < count:
        word = int.from_bytes(stream.read(8), "little")
        if word < limit:
            elements.append(word % PRIME)
    return elements


def deal_shares(secrets, threshold, points, stream):
    """For each point, the share of each secret: 9 big-endian words of 4 bytes."""
    limbs = [limb for secret in secrets for limb in to_limbs(secret)]
    rows = [limbs] + [field_elements(stream, len(limbs)) for _ in range(threshold - 1)]
    shares = []
    for x in points:
        values = [
            sum(rows[k][j] * x**k for k in range(threshold)) % PRIME for j in range(len(limbs))
        ]
        words = [values[LIMBS * s : LIMBS * (s + 1)] for s in range(len(secrets))]
        shares.append([b"".join(u32(word) for word in share) for share in words])
    return shares


def share_words(share):
    return [int.from_bytes(share[4 * j : 4 * j + 4], "big") for j in range(LIMBS)]


def recover(points, shares):
    """The limbs at zero of the polynomials through these points."""
    limbs = [0] * LIMBS
    for i, x in enumerate(points):
        weight = 1
        for j, other in enumerate(points):
            if i != j:
                weight = weight * other * pow(other - x, -1, PRIME) % PRIME
        for j, word in enumerate(share_words(shares[i])):
            limbs[j] = (limbs[j] + weight * word) % PRIME
    return limbs


# ------------------------------------------------------------------ SPEC 6: vectors


def word_bytes(bits):
    return next(size for size in (1, 2, 4, 8) if bits <= 8 * size)


def mask(seed, bits, length):
    """The mask of a seed, as residues mod 2**bits."""
    size = word_bytes(bits)
    stream = Keystream(seed).read(size * length)
    return [
        int.from_bytes(stream[i : i + size], "little") % 2**bits
        for i in range(0, len(stream), size)
    ]


def add_signed(total, sign_, other, bits):
    """total + sign * other, mod 2**bits, in place."""
    for i, value in enumerate(other):
        total[i] = (total[i] + sign_ * value) % 2**bits


def centred(residue, bits):
    return residue - 2**bits if residue >= 2 ** (bits - 1) else residue


def pack_bits(values, bits):
    """Value i at bits [i * bits, (i + 1) * bits) of a little-endian bit string, zero-padded."""
    out, pending, held = bytearray(), 0, 0
    for value in values:
        pending |= value << held
        held += bits
        while held >= 8:
            out.append(pending & 0xFF)
            pending, held = pending >> 8, held - 8
    if held:
        out.append(pending)
    return bytes(out)


def unpack_bits(data, count, bits):
    """The values, and whether the padding is zero."""
    values, pending, held, feed = [], 0, 0, iter(data)
    for _ in range(count):
        while held < bits:
            pending |= next(feed) << held
            held += 8
        values.append(pending % 2**bits)
        pending, held = pending >> bits, held - bits
    return values, pending == 0


def chunk_lengths(length):
    whole, rest = divmod(length, CHUNK_VALUES)
    return [CHUNK_VALUES] * whole + ([rest] if rest else [])


def packed_size(count, bits):
    return (count * bits + 7) // 8


# ------------------------------------------------------------------ SPEC 4: the session

MASK_KEY, SEED = 0, 1


class Plan(NamedTuple):
    round_id: bytes
    broadcast: bytes
    suite: int
    adversary: str
    cohort_size: int
    cohort_root: bytes
    threshold: int
    corrupt: int
    min_clients: int
    length: int
    modulus_bits: int


def cohort_leaf(member):
    return digest(b"cohort-member", member.salt, member.client_id.encode())


def session_id(plan, entries):
    leaves = [
        pack((e.membership.index, e.membership.client_id, e.seal_key, e.mask_key, e.signature))
        for e in entries
    ]
    return digest(b"session", plan.round_id, merkle_root(leaves))


def signed_keys(plan, index, seal_key, mask_key):
    return b"secagg/keys", plan.round_id, u32(index), seal_key, mask_key


def signed_survivors(session, plan, survivors):
    return b"secagg/survivors", session, plan.broadcast, b"".join(u32(i) for i in survivors)


def box_key(session, shared, dealer, recipient):
    return derive(shared, session, b"secagg/box", u32(dealer) + u32(recipient))


def box_associated(session, dealer, recipient, commitments):
    return digest(b"secagg/box", session, u32(dealer) + u32(recipient), commitments)


def pairwise_seed(session, shared, u, v):
    return derive(shared, session, b"secagg/pairwise-mask", u32(min(u, v)) + u32(max(u, v)))


def self_seed(session, seed, u):
    return derive(seed, session, b"secagg/self-mask", u32(u))


def seed_commitment(session, dealer, seed):
    return digest(b"secagg/seed-commitment", session, u32(dealer), seed)


def share_commitment(session, secret, dealer, recipient, share, salt):
    return digest(
        b"secagg/share-commitment",
        session,
        bytes([secret]),
        u32(dealer),
        u32(recipient),
        share,
        salt,
    )


def check_keys(plan, directory, index, name, keys):
    """SPEC 7.1, checks 1 and 2: by the server of an advertisement, by a client of an entry."""
    if plan.adversary == HONEST_BUT_CURIOUS:
        require(keys.signature == b"", "KEY_SIGNATURE", name)
        return
    require(name in directory, "NOT_ENROLLED", name)
    signed = signed_keys(plan, index, keys.seal_key, keys.mask_key)
    require(verify(directory[name], keys.signature, *signed), "KEY_SIGNATURE", name)


# ------------------------------------------------------------------ SPEC 7: the client


class Client:
    """One member in one attempt; `rand` holds the five secrets of SPEC 4.1."""

    shown, told_in = Roster, SurvivorSet

    def __init__(self, plan, membership, *, identity_seed, directory, floor, rand):
        self.plan, self.me, self.directory = plan, membership, directory
        self.identity_seed = identity_seed
        self.least = max(plan.threshold, plan.min_clients, floor)
        self.seal_private, self.mask_private, self.seed, self.coefficients, self.salts = (
            rand[32 * i : 32 * (i + 1)] for i in range(5)
        )
        self.phase = "new"
        self.vector = None

    def signs(self):
        return self.plan.adversary != HONEST_BUT_CURIOUS

    # The three inputs. Whatever is refused ends the client.

    def start(self):
        return self._or_fail(self.keys)

    def receive(self, sender, data):
        return self._or_fail(self._receive, sender, data)

    def contribute(self, vector):
        if self.vector is not None or self.phase not in ("new", "keys", "shares", "input"):
            raise ValueError("no vector is taken any more")
        if len(vector) != self.plan.length:
            raise ValueError("a vector of another length")
        self.vector = vector
        return self._or_fail(self.masked_input) if self.phase == "input" else []

    def _or_fail(self, method, *arguments):
        try:
            return method(*arguments)
        except Refused:
            if self.phase != "ended":
                self.phase = "failed"
            raise

    def _receive(self, sender, data):
        require(sender == SERVER, "UNKNOWN_SENDER")
        require(self.phase != "ended", "ANSWERED")
        takes = {
            "keys": (self.shown, self.shares),
            "shares": (ShareDelivery, self.hold),
            "sent": (self.told_in, self.consistency if self.signs() else self.unmask_at_once),
            "consistency": (UnmaskRequest, self.unmasking),
        }
        require(self.phase in takes, "UNEXPECTED")
        kind, method = takes[self.phase]
        return method(decode(data, self.limit(), kind))

    def keys(self):
        """SPEC 7.1."""
        require(self.phase == "new", "UNEXPECTED")
        self.phase = "keys"
        seal_key, mask_key = public_key(self.seal_private), public_key(self.mask_private)
        signature = b""
        if self.signs():
            signed = signed_keys(self.plan, self.me.index, seal_key, mask_key)
            signature = sign(self.identity_seed, *signed)
        self.own = RosterEntry(self.me, seal_key, mask_key, signature)
        return [("send", SERVER, encode(KeyAdvertisement(seal_key, mask_key, signature)))]

    def shares(self, shown):
        """SPEC 7.2."""
        self.roster = {e.membership.index: e for e in self.accept(shown)}
        self.phase = "shares"
        me, members = self.me.index, sorted(self.roster)
        dealt = deal_shares(
            [self.mask_private, self.seed],
            self.plan.threshold,
            [v + 1 for v in members],
            Keystream(self.coefficients),
        )
        salts = Keystream(self.salts)
        further = self.further_commitments(members, salts)
        boxes = []
        for v, shares in zip(members, dealt, strict=True):
            plaintext, commitments = b"", b""
            for secret in (MASK_KEY, SEED):
                salt = salts.read(SALT_BYTES)
                plaintext += shares[secret] + salt
                commitments += share_commitment(self.session, secret, me, v, shares[secret], salt)
            commitments += further[v]
            key = box_key(self.session, agree(self.seal_private, self.roster[v].seal_key), me, v)
            associated = box_associated(self.session, me, v, commitments)
            boxes.append(SealedBox(v, seal(key, plaintext, associated), commitments))
        commitment = seed_commitment(self.session, me, self.seed)
        return [("send", SERVER, encode(SealedShares(commitment, tuple(boxes))))]

    def check_entries(self, entries):
        require_ascending([e.membership.index for e in entries])
        names = {e.membership.client_id for e in entries}
        keys = {k for e in entries for k in (e.seal_key, e.mask_key)}
        both = len(names) == len(entries) and len(keys) == 2 * len(entries)
        require(both, "DUPLICATE_MEMBER")
        require(self.own in entries, "OWN_ENTRY")
        for e in entries:
            who = e.membership
            proven = merkle_verify(
                self.plan.cohort_root, self.plan.cohort_size, who.index, cohort_leaf(who), who.path
            )
            require(proven, "COHORT_PROOF")
            check_keys(self.plan, self.directory, who.index, who.client_id, e)
        for e in entries:
            agree(self.seal_private, e.seal_key)
            agree(self.mask_private, e.mask_key)

    def hold(self, delivery):
        """SPEC 7.3, receiving."""
        dealers = [box.peer for box in delivery.boxes]
        require_ascending(dealers)
        require(all(d in self.roster for d in dealers), "UNKNOWN_DEALER")
        require(len(dealers) >= self.least, "ROSTER_SIZE")
        require(self.me.index in dealers, "OWN_ENTRY")
        self.phase = "input"
        self.dealers, self.held, self.unopened = tuple(dealers), {}, []
        for box in delivery.boxes:
            try:
                self.held[box.peer] = self.open_box(box)
            except Refused:
                self.unopened.append(box.peer)
        return self.masked_input() if self.vector is not None else []

    def open_box(self, box):
        dealer, me = box.peer, self.me.index
        shared = agree(self.seal_private, self.roster[dealer].seal_key)
        associated = box_associated(self.session, dealer, me, box.commitments)
        plaintext = unseal(box_key(self.session, shared, dealer, me), box.box, associated)
        held = []
        for secret in (MASK_KEY, SEED):
            part = plaintext[52 * secret : 52 * (secret + 1)]
            share, salt = part[:SHARE_BYTES], part[SHARE_BYTES:]
            committed = box.commitments[32 * secret : 32 * (secret + 1)]
            commitment = share_commitment(self.session, secret, dealer, me, share, salt)
            require(commitment == committed, "SHARE_UNOPENED")
            require(all(word < PRIME for word in share_words(share)), "SHARE_UNOPENED")
            held.append((share, salt))
        return held

    def masked_input(self):
        """SPEC 7.3, sending."""
        self.phase = "sent"
        bits, me = self.plan.modulus_bits, self.me.index
        y = [value % 2**bits for value in self.vector]
        self.vector = None
        add_signed(y, +1, mask(self_seed(self.session, self.seed, me), bits, len(y)), bits)
        for v in self.dealers:
            if v != me:
                shared = agree(self.mask_private, self.roster[v].mask_key)
                pairwise = mask(pairwise_seed(self.session, shared, me, v), bits, len(y))
                add_signed(y, +1 if me < v else -1, pairwise, bits)
        effects, packed, at = [("persist", "spent", "input", ())], b"", 0
        for sequence, count in enumerate(chunk_lengths(len(y))):
            data = pack_bits(y[at : at + count], bits)
            effects.append(("chunk", SERVER, encode(MaskedChunk(sequence, data))))
            packed, at = packed + data, at + count
        checksum = upload_checksum(self.plan.round_id, me, packed)
        return [*effects, ("send", SERVER, encode(self.closing(checksum)))]

    def accept_survivors(self, request):
        survivors = request.survivors
        require_ascending(survivors)
        require(all(v in self.dealers for v in survivors), "SURVIVOR_UNKNOWN")
        require(self.me.index in survivors, "NOT_SURVIVOR")
        require(len(survivors) >= self.least, "SURVIVORS_FEW")
        self.survivors = survivors
        return ("persist", "answered", "unmasking", self.answers_for())

    def consistency(self, request):
        """SPEC 7.4."""
        answered = self.accept_survivors(request)
        self.phase = "consistency"
        return [answered, ("send", SERVER, encode(self.word()))]

    def unmasking(self, request):
        """SPEC 7.5, where survivors sign."""
        require_ascending([s.signer for s in request.signatures])
        self.check_signatures(request.signatures)
        return self.reveal()

    def unmask_at_once(self, request):
        """SPEC 7.5, honest but curious."""
        return [self.accept_survivors(request), *self.reveal()]

    def reveal(self):
        self.phase = "ended"
        shares = []
        for dealer in sorted(self.held):
            share, salt = self.held[dealer][SEED if dealer in self.survivors else MASK_KEY]
            shares.append(OpenedShare(dealer, share, salt))
        self.held = {}
        return [("send", SERVER, encode(UnmaskShares(tuple(shares)))), ("done", None, ())]

    # The graph.

    def limit(self):
        return server_limit(self.plan)

    def accept(self, roster):
        """SPEC 7.2, the checks."""
        entries = roster.entries
        require(self.least <= len(entries) <= self.plan.cohort_size, "ROSTER_SIZE")
        self.check_entries(entries)
        self.session = session_id(self.plan, entries)
        return entries

    def answers_for(self):
        return tuple(self.roster[v].membership.client_id for v in self.survivors)

    def further_commitments(self, members, salts):
        """What a box commits to besides its shares: nothing."""
        return dict.fromkeys(members, b"")

    def closing(self, checksum):
        return MaskedInput(checksum, tuple(self.unopened))

    def word(self):
        statement = signed_survivors(self.session, self.plan, self.survivors)
        return ConsistencySignature(sign(self.identity_seed, *statement))

    def identity_of(self, index):
        return self.directory[self.roster[index].membership.client_id]

    def check_signatures(self, signatures):
        statement = signed_survivors(self.session, self.plan, self.survivors)
        for signer, signature in signatures:
            require(signer in self.survivors, "CONSISTENCY_SIGNATURE")
            holds = verify(self.identity_of(signer), signature, *statement)
            require(holds, "CONSISTENCY_SIGNATURE")
        require(len(signatures) >= self.plan.threshold, "CONSISTENCY_QUORUM")


# ------------------------------------------------------------------ SPEC 8: the server


class Server:
    """Phases in order; who does not answer one, or is refused, is out of the next."""

    signed_in, closed_in = ConsistencySignature, MaskedInput

    def __init__(self, plan, memberships, directory):
        self.plan, self.directory = plan, directory
        self.members = {m.index: m for m in memberships}
        self.index = {m.client_id: m.index for m in memberships}
        self.table = [
            ("keys", (KeyAdvertisement,), self.take_keys, self.close_keys),
            ("shares", (SealedShares,), self.take_shares, self.close_shares),
            ("input", (MaskedChunk, self.closed_in), self.take_input, self.close_input),
            ("consistency", (self.signed_in,), self.take_signature, self.close_consistency),
            ("unmasking", (UnmaskShares,), self.take_unmasking, self.close_unmasking),
        ]
        if not self.signs():
            del self.table[3]
        self.expected, self.answered = set(self.members), set()
        self.keys, self.dealt, self.uploads, self.unopened = {}, {}, {}, {}
        self.signatures, self.opened = {}, {}
        self.total = [0] * plan.length

    @property
    def phase(self):
        return self.table[0][0] if self.table else "done"

    def name(self, index):
        return self.members[index].client_id

    def names(self, indices):
        return tuple(self.name(i) for i in sorted(indices))

    def to_each(self, indices, message_for):
        return [("send", self.name(i), encode(message_for(i))) for i in sorted(indices)]

    def signs(self):
        return self.plan.adversary != HONEST_BUT_CURIOUS

    def receive(self, sender, data):
        require(sender in self.index, "UNKNOWN_SENDER", sender)
        index = self.index[sender]
        require(self.table and index in self.expected, "LATE", sender)
        try:
            require(index not in self.answered, "DUPLICATE")
            _, kinds, take, _ = self.table[0]
            if take(index, decode(data, self.limit(), *kinds)):
                self.answered.add(index)
        except Refused as refusal:
            self.expected.discard(index)
            self.answered.discard(index)
            self.uploads.pop(index, None)
            raise Refused(refusal.reason, (sender,)) from None
        return []

    def advance(self):
        phase, _, _, close = self.table[0]
        least = self.floor() if phase in ("keys", "shares") else self.plan.threshold
        if len(self.answered) < least:
            self.table = []
            return [("aborted", "TOO_FEW", ())]
        self.table = self.table[1:]
        self.expected, self.answered = self.answered, set()
        effects = [("persist", "phase", phase, self.names(self.expected))]
        try:
            return effects + close()
        except RoundOver as end:
            self.table = []
            return [*effects, ("aborted", end.reason, end.culprits)]

    # keys

    def take_keys(self, index, keys):
        check_keys(self.plan, self.directory, index, self.name(index), keys)
        taken = {k for other in self.keys.values() for k in (other.seal_key, other.mask_key)}
        fresh = {keys.seal_key, keys.mask_key} - taken
        require(len(fresh) == 2, "DUPLICATE_MEMBER")
        for key in (keys.seal_key, keys.mask_key):
            agree(b"\x01" * 32, key)
        self.keys[index] = keys
        return True

    def close_keys(self):
        entries = tuple(RosterEntry(self.members[i], *self.keys[i]) for i in sorted(self.expected))
        self.roster = {e.membership.index: e for e in entries}
        self.arrange()
        return self.to_each(self.expected, self.shown_to)

    # shares

    def take_shares(self, index, dealt):
        require([box.peer for box in dealt.boxes] == self.around(index), "UNKNOWN_DEALER")
        self.dealt[index] = dealt
        return True

    def close_shares(self):
        self.dealt = {i: self.dealt[i] for i in sorted(self.expected)}
        return self.to_each(self.expected, self.delivery_to)

    def delivery_to(self, recipient):
        boxes = [(dealer, self.box_for(dealer, recipient)) for dealer in self.dealers_to(recipient)]
        return ShareDelivery(tuple(SealedBox(d, box.box, box.commitments) for d, box in boxes))

    def dealers_to(self, index):
        return [i for i in self.around(index) if i in self.dealt]

    def box_for(self, dealer, recipient):
        (box,) = (b for b in self.dealt[dealer].boxes if b.peer == recipient)
        return box

    # input

    def take_input(self, index, value):
        sizes = [packed_size(n, self.plan.modulus_bits) for n in chunk_lengths(self.plan.length)]
        if isinstance(value, MaskedChunk):
            chunks = self.uploads.setdefault(index, [])
            at = len(chunks)
            require(value.sequence == at and at < len(sizes), "CHUNK_ORDER")
            require(len(value.data) == sizes[at], "CHUNK_ORDER")
            chunks.append(value.data)
            return False
        require_ascending(value.unopened)
        unopened = set(value.unopened)
        require(unopened <= set(self.dealers_to(index)), "UNKNOWN_DEALER")
        self.check_closing(index, value)
        chunks = self.uploads.pop(index, [])
        require(len(chunks) == len(sizes), "CHUNK_ORDER")
        checksum = upload_checksum(self.plan.round_id, index, b"".join(chunks))
        require(checksum == value.checksum, "DIGEST")
        vector = []
        for data, count in zip(chunks, chunk_lengths(self.plan.length), strict=True):
            values, clean = unpack_bits(data, count, self.plan.modulus_bits)
            require(clean, "PADDING")
            vector += values
        add_signed(self.total, +1, vector, self.plan.modulus_bits)
        self.unopened[index] = unopened
        return True

    def close_input(self):
        self.uploads = {}
        # Whose input is in the sum is a survivor, whether or not it is still expected.
        self.survivors = tuple(sorted(self.unopened))
        if len(self.survivors) < self.floor():
            raise RoundOver("TOO_FEW")
        self.expected = {i for i in self.expected if self.is_enough(i, self.survivors)}
        self.check_holders()
        effects = self.to_each(self.expected, self.survivors_for)
        return effects if self.signs() else [self.unmasks(), *effects]

    def check_closing(self, index, value):
        """What an input owes besides its checksum: nothing."""

    def survivors_for(self, index):
        return SurvivorSet(self.told(index))

    def check_holders(self):
        for dealer in self.needed():
            survivors = [i for i in self.around(dealer) if i in self.survivors]
            complaints = [i for i in survivors if dealer in self.unopened[i]]
            holders = [i for i in survivors if i in self.expected and i not in complaints]
            if len(holders) < self.plan.threshold:
                convicted = len(complaints) > self.plan.corrupt
                raise RoundOver("SHARE_UNOPENED", (self.name(dealer),) if convicted else ())

    def unmasks(self):
        return ("persist", "unmasking", "unmasking", self.names(self.survivors))

    # consistency

    def take_signature(self, index, value):
        self.check_word(index, value)
        self.signatures[index] = value
        return True

    def close_consistency(self):
        signers = sorted(self.expected)
        requests = {i: self.request_to(i, signers) for i in signers}
        self.expected = {i for i in signers if requests[i] is not None}
        self.check_holders()
        return [self.unmasks(), *self.to_each(self.expected, requests.get)]

    # unmasking

    def take_unmasking(self, index, answer):
        shares, due = {}, set(self.dealers_to(index)) - self.unopened[index]
        require_ascending([opened.dealer for opened in answer.shares])
        for dealer, share, salt in answer.shares:
            require(dealer in due, "UNEXPECTED")
            secret = SEED if dealer in self.survivors else MASK_KEY
            committed = self.box_for(dealer, index).commitments[32 * secret : 32 * (secret + 1)]
            commitment = share_commitment(self.session, secret, dealer, index, share, salt)
            require(commitment == committed, "SHARE_COMMITMENT")
            require(all(word < PRIME for word in share_words(share)), "MALFORMED")
            shares[dealer] = share
        require(set(shares) == due, "SHARE_MISSING")
        self.opened[index] = shares
        return True

    def close_unmasking(self):
        bits, length = self.plan.modulus_bits, self.plan.length
        secrets = self.recover_secrets()
        for u in self.survivors:
            own = mask(self_seed(self.session, secrets[u], u), bits, length)
            add_signed(self.total, -1, own, bits)
        for v in sorted(set(secrets) - set(self.survivors)):
            for u in (i for i in self.around(v) if i in self.survivors):
                shared = agree(secrets[v], self.roster[u].mask_key)
                pairwise = mask(pairwise_seed(self.session, shared, u, v), bits, length)
                add_signed(self.total, -1 if u < v else +1, pairwise, bits)
        self.expected = set()
        total = [centred(residue, bits) for residue in self.total]
        return [("done", total, self.names(self.survivors))]

    def recover_secrets(self):
        """Of each survivor the seed, of each other dealer the mask key; SPEC 9."""
        holders = {}
        for dealer in self.needed():
            held = [i for i in sorted(self.expected) if dealer in self.opened[i]]
            if len(held) < self.plan.threshold:
                raise RoundOver("SHARE_UNOPENED")
            holders[dealer] = held[: self.plan.threshold]
        secrets = {}
        for dealer, held in holders.items():
            limbs = recover([i + 1 for i in held], [self.opened[i][dealer] for i in held])
            secret = from_limbs(limbs)
            if dealer in self.survivors:
                committed = self.dealt[dealer].seed_commitment
                good = secret and seed_commitment(self.session, dealer, secret) == committed
            else:
                good = secret and public_key(secret) == self.roster[dealer].mask_key
            if not good:
                raise RoundOver("SHARE_POLYNOMIAL", (self.name(dealer),))
            secrets[dealer] = secret
        return secrets

    # The graph: everyone is around everyone.

    def limit(self):
        return client_limit(self.plan)

    def floor(self):
        return max(self.plan.threshold, self.plan.min_clients)

    def arrange(self):
        self.session = session_id(self.plan, tuple(self.roster.values()))

    def shown_to(self, index):
        return Roster(tuple(self.roster.values()))

    def around(self, index):
        return sorted(self.roster)

    def is_enough(self, index, present):
        return True

    def needed(self):
        return sorted(self.dealt)

    def told(self, index):
        return self.survivors

    def check_word(self, index, value):
        statement = signed_survivors(self.session, self.plan, self.survivors)
        key = self.directory[self.name(index)]
        require(verify(key, value.signature, *statement), "CONSISTENCY_SIGNATURE")

    def request_to(self, index, signers):
        signatures = (SurvivorSignature(i, self.signatures[i].signature) for i in signers)
        return UnmaskRequest(tuple(signatures))
