"""Homomorphic aggregation, literally: SPEC.md section by section, in plain Python.

Slow on purpose. It shares no code with the package; what it shares with masked aggregation (hashes,
streams, chunks, messages as MessagePack) it takes from that protocol's own reference. Only the
arithmetic of BFV and CKKS is not here: `Library` asks TenSEAL for it, as SPEC 1 says, and whatever
does without (messages, MACs, marks, slots, the structure of a ciphertext, the order of checks)
runs where TenSEAL is not installed. In this process and without a guard: for checking
implementations, never for bytes of a peer that nobody has looked at.

Effects are tuples:

    ("persist", mark, phase, names)   ("send", recipient, message)   ("chunk", recipient, message)
    ("done", sum or None, names)      ("aborted", reason, culprits)
"""

import functools
import hashlib
import hmac
import importlib.util
import struct
from pathlib import Path
from typing import NamedTuple


def _by_path(name):
    path = Path(__file__).resolve().parents[1] / name / "reference.py"
    spec = importlib.util.spec_from_file_location(f"{name}_reference_of_homomorphic", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


secagg = _by_path("secagg")

SERVER, CHUNK_VALUES = secagg.SERVER, secagg.CHUNK_VALUES
u32, encode = secagg.u32, secagg.encode

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
    "PADDING": 11,
    "NOT_SURVIVOR": 61,
    "SURVIVORS_FEW": 62,
    "ANSWERED": 66,
    "TOO_FEW": 80,
    "SUM_RANGE": 83,
    "CIPHERTEXT": 120,
    "CIPHERTEXT_MAC": 121,
    "SUM_MEMBERS": 122,
    "SUM_DISAGREES": 123,
}


class Refused(secagg.Refused):
    """A message that an honest peer does not send."""

    def __init__(self, reason, culprits=()):
        Exception.__init__(self, reason)
        self.reason, self.code, self.culprits = reason, REASONS[reason], tuple(culprits)


def require(condition, reason, *culprits):
    if not condition:
        raise Refused(reason, culprits)


# ------------------------------------------------------------------ SPEC 2: messages

message = secagg.message
Ciphertext = message(
    "ciphertext",
    "Ciphertext",
    sequence=secagg.integer(1 << 32),
    mac=secagg.octets(32, 32),
    data=secagg.octets(1, 1 << 20),
)
EncryptedSum = message(
    "encrypted-sum", "EncryptedSum", survivors=secagg.many(secagg.client_id, secagg.MAX_COHORT)
)
DecryptedSum = message("decrypted-sum", "DecryptedSum", digest=secagg.DIGEST)
MaskedChunk = secagg.MaskedChunk


def decode(data, limit, *kinds):
    try:
        return secagg.decode(data, limit, *kinds)
    except secagg.Refused as refusal:
        raise Refused(refusal.reason) from None


# ------------------------------------------------------------------ SPEC 3: parameters


class Scheme(NamedTuple):
    name: str
    degree: int
    moduli: tuple
    plain: int  # t of BFV; zero for CKKS
    scale_bits: int  # of CKKS

    @property
    def is_exact(self):
        return self.plain > 0

    @property
    def slots(self):
        return self.degree if self.is_exact else self.degree // 2

    @property
    def marks(self):
        return 1 if self.is_exact else 4

    @property
    def raw_bytes(self):
        return 97 + 16 * self.degree * (len(self.moduli) - 1)

    @property
    def most_bytes(self):
        return self.raw_bytes + 64


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("bfv", 4096, (60, 49), 70_368_743_669_761, 0),
        Scheme("ckks", 4096, (54, 54), 0, 40),
        Scheme("ckks-8192", 8192, (60, 40, 40), 0, 40),
    )
}


class Plan(NamedTuple):
    protocol: str
    round_id: bytes
    cohort_size: int
    min_clients: int
    length: int
    modulus_bits: int
    client_bound: int

    @property
    def scheme(self):
        return SCHEMES[self.protocol]

    @property
    def base(self):
        return 2 * self.client_bound * self.cohort_size + 1

    @property
    def joined(self):
        """Values in a slot; none where a sum does not fit."""
        if not self.scheme.is_exact:
            spread = max((self.cohort_size.bit_length() - 6) // 2, 0)
            return int(self.value_bits <= 32 - spread)
        count = 0
        while self.base ** (count + 1) <= self.scheme.plain:
            count += 1
        return count

    @property
    def width(self):
        """Slots of a ciphertext that hold values."""
        return self.scheme.slots - self.scheme.marks

    @property
    def ciphertexts(self):
        return -(-self.length // (self.joined * self.width))

    @property
    def value_bits(self):
        return (self.cohort_size * self.client_bound).bit_length()

    @property
    def mark_shift(self):
        return (self.cohort_size - 1).bit_length()


def client_limit(scheme):
    return max(scheme.most_bytes, secagg.MAX_CHUNK_BYTES) + 128


def server_limit(plan):
    return max(plan.scheme.most_bytes + 128, 66 * plan.cohort_size + 64)


# ------------------------------------------------------------------ SPEC 4: slots


def marks_of(plan, key, name):
    """The marks of a client, ciphertext by ciphertext."""
    seed = secagg.derive(key, plan.round_id, b"homomorphic/marks", name.encode())
    stream = secagg.Keystream(seed)
    rows = []
    for _ in range(plan.ciphertexts):
        words = [int.from_bytes(stream.read(8), "little") for _ in range(plan.scheme.marks)]
        exact = plan.scheme.is_exact
        rows.append([word % plan.scheme.plain if exact else word >> 52 for word in words])
    return rows


def sum_of_marks(plan, key, names):
    rows = [marks_of(plan, key, name) for name in names]
    sums = [[sum(column) for column in zip(*row, strict=True)] for row in zip(*rows, strict=True)]
    if plan.scheme.is_exact:
        return [[mark % plan.scheme.plain for mark in row] for row in sums]
    return sums


def slots_of(plan, key, name, vector):
    """The slots of each ciphertext of a client's vector."""
    per, width = plan.joined * plan.width, plan.width
    out = []
    for j, marks in enumerate(marks_of(plan, key, name)):
        part = list(vector[j * per : (j + 1) * per])
        part += [0] * (per - len(part))
        if plan.scheme.is_exact:
            values = [
                sum(
                    (part[q * width + i] + plan.client_bound) * plan.base**q
                    for q in range(plan.joined)
                )
                for i in range(width)
            ]
            out.append([*values, *marks])
        else:
            values = [value * 2.0 ** (12 - plan.value_bits) for value in part]
            out.append([*values, *(mark / 2.0**plan.mark_shift for mark in marks)])
    return out


def read_slots(plan, slots, marks, terms):
    """The sums in a decrypted sum of so many ciphertexts."""
    width, bound = plan.width, plan.client_bound
    if not plan.scheme.is_exact:
        require(all(abs(slot) < float("inf") for slot in slots), "SUM_RANGE")
        found = [round(slot * 2.0**plan.mark_shift) for slot in slots[width:]]
        require(found == marks, "SUM_MEMBERS")
        values = [round(slot * 2.0 ** (plan.value_bits - 12)) for slot in slots[:width]]
        require(all(abs(value) <= terms * bound for value in values), "SUM_RANGE")
        return values
    numbers = [slot % plan.scheme.plain for slot in slots]
    require(numbers[width:] == marks, "SUM_MEMBERS")
    rows, rest = [], numbers[:width]
    for _ in range(plan.joined - 1):
        rows.append([number % plan.base for number in rest])
        rest = [number // plan.base for number in rest]
    rows.append(rest)
    require(all(digit <= 2 * bound * terms for row in rows for digit in row), "SUM_RANGE")
    return [digit - bound * terms for row in rows for digit in row]


# ------------------------------------------------------------------ SPEC 5: MACs and structure


def admission_key(plan, admission):
    return secagg.derive(admission, plan.round_id, b"homomorphic/admission", b"")


THE_SUM = 2**32 - 1


def tag_of(key, index, sequence, data):
    framed = b""
    for part in (b"fedprivacy/ciphertext", u32(index), u32(sequence), data):
        framed += len(part).to_bytes(8, "big") + part
    return hmac.digest(key, framed, "sha256")


def varint(value):
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def check_structure(scheme, data):
    """SPEC 5.2: `CIPHERTEXT` unless these are the outlines of one fresh ciphertext."""
    require(len(data) <= scheme.most_bytes, "CIPHERTEXT")
    slots = varint(scheme.slots)
    head = b"\x0a" + bytes([len(slots)]) + slots + b"\x12"
    end = b"" if scheme.is_exact else b"\x19" + struct.pack("<d", 2.0**scheme.scale_bits)
    size = len(data) - len(head) - 3 - len(end)
    require(size >= 16, "CIPHERTEXT")
    body = data[len(head) + 3 : len(head) + 3 + size]
    require(data == head + varint(size) + body + end, "CIPHERTEXT")
    start = b"\x5e\xa1\x10\x04" + body[4:5] + b"\x02\x00\x00" + size.to_bytes(8, "little")
    require(body[:16] == start, "CIPHERTEXT")
    check_frame(scheme, body[16:])


def check_frame(scheme, frame):
    """One Zstandard frame (RFC 8878) that says its size, and whose blocks hold no more."""
    require(len(frame) >= 9 and frame[:4] == b"\x28\xb5\x2f\xfd", "CIPHERTEXT")
    require(frame[4] in (0x60, 0xA0), "CIPHERTEXT")
    width, least = (2, 256) if frame[4] == 0x60 else (4, 0)
    held = int.from_bytes(frame[5 : 5 + width], "little") + least
    require(held == scheme.raw_bytes, "CIPHERTEXT")
    at, last, count, plain = 5 + width, 0, 0, 0
    while not last:
        require(at + 3 <= len(frame), "CIPHERTEXT")
        header = int.from_bytes(frame[at : at + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        require(kind != 3 and size <= 2**17, "CIPHERTEXT")
        plain += size if kind in (0, 1) else 0
        at, count = at + 3 + (1 if kind == 1 else size), count + 1
    require(at == len(frame), "CIPHERTEXT")
    require(count <= 4 + 4 * (scheme.raw_bytes >> 17) and plain <= held, "CIPHERTEXT")


@functools.cache
def library_of(scheme, secret=None):
    """Parameters with keys, made once; without `secret` keys of no use, which adding asks for."""
    return Library(scheme, secret)


class Library:
    """What SPEC 1 leaves to TenSEAL; `secret` is the ceremony's context, if it is known."""

    def __init__(self, scheme, secret=None):
        import tenseal

        self.tenseal, self.scheme = tenseal, scheme
        kind = tenseal.SCHEME_TYPE.BFV if scheme.is_exact else tenseal.SCHEME_TYPE.CKKS
        if secret is not None:
            self.context = tenseal.context_from(secret, n_threads=1)
            return
        self.context = tenseal.context(
            kind,
            scheme.degree,
            plain_modulus=scheme.plain or None,
            coeff_mod_bit_sizes=list(scheme.moduli),
            encryption_type=tenseal.ENCRYPTION_TYPE.SYMMETRIC,
            n_threads=1,
        )
        if not scheme.is_exact:
            self.context.global_scale = 2.0**scheme.scale_bits

    def load(self, data):
        load = self.tenseal.bfv_vector_from if self.scheme.is_exact else None
        load = load or self.tenseal.ckks_vector_from
        try:
            vector = load(self.context, data)
            (inner,) = vector.ciphertext()
            found = vector.size(), inner.size(), inner.poly_modulus_degree()
        except (ValueError, RuntimeError, IndexError, OverflowError, TypeError, MemoryError):
            raise Refused("CIPHERTEXT") from None
        require(found == (self.scheme.slots, 2, self.scheme.degree), "CIPHERTEXT")
        return vector

    def check_addable(self, data):
        own = self.encrypt([0] * self.scheme.slots)
        try:
            self.load(data) + self.load(own)
        except (ValueError, RuntimeError):
            raise Refused("CIPHERTEXT") from None

    def add(self, one, other):
        return (self.load(one) + self.load(other)).serialize()

    def decrypt(self, data):
        return self.load(data).decrypt()

    def encrypt(self, slots):
        make = self.tenseal.bfv_vector if self.scheme.is_exact else self.tenseal.ckks_vector
        return make(self.context, slots).serialize()


# ------------------------------------------------------------------ SPEC 6: a client


class Client:
    """Whatever is refused ends it. `sent`: it goes on where its input has left."""

    def __init__(self, plan, index, name, *, floor, admission, membership, context, sent=False):
        self.plan, self.index, self.name = plan, index, name
        self.floor = max(plan.min_clients, floor)
        self.key = admission_key(plan, admission)
        self.membership, self.context = membership, context
        self.phase = "input" if sent else "waiting"
        self.survivors, self.marks, self.next = (), [], 0
        self.values, self.told, self.digest = [], 0, hashlib.sha256(plan.round_id)

    def contribute(self, vector):
        require(self.phase == "waiting", "UNEXPECTED")
        self.phase = "input"
        library, sent = library_of(self.plan.scheme, self.context), []
        for j, slots in enumerate(slots_of(self.plan, self.membership, self.name, vector)):
            data = library.encrypt(slots)
            chunk = Ciphertext(j, tag_of(self.key, self.index, j, data), data)
            sent.append(("chunk", SERVER, encode(chunk)))
        return [("persist", "spent", "input", ()), *sent]

    def receive(self, sender, data):
        try:
            return self._receive(sender, data)
        except Refused:
            if self.phase != "ended":
                self.phase = "failed"
            raise

    def _receive(self, sender, data):
        require(sender == SERVER, "UNKNOWN_SENDER")
        told = decode(data, server_limit(self.plan), EncryptedSum, Ciphertext)
        if isinstance(told, EncryptedSum):
            return self._take_survivors(told.survivors)
        return self._take_ciphertext(told)

    def _take_survivors(self, survivors):
        require(self.phase != "ended" and not self.survivors, "ANSWERED")
        require(self.phase == "input", "UNEXPECTED")
        require(list(survivors) == sorted(set(survivors)), "MALFORMED")
        require(self.name in survivors, "NOT_SURVIVOR")
        require(self.floor <= len(survivors) <= self.plan.cohort_size, "SURVIVORS_FEW")
        self.survivors, self.phase = survivors, "decryption"
        self.marks = sum_of_marks(self.plan, self.membership, survivors)
        return [("persist", "answered", "decryption", survivors)]

    def _take_ciphertext(self, chunk):
        require(self.phase == "decryption", "UNEXPECTED")
        require(chunk.sequence == self.next, "CHUNK_ORDER")
        tag = tag_of(self.key, THE_SUM, chunk.sequence, chunk.data)
        require(hmac.compare_digest(tag, chunk.mac), "CIPHERTEXT_MAC")
        check_structure(self.plan.scheme, chunk.data)
        slots = library_of(self.plan.scheme, self.context).decrypt(chunk.data)
        self.values += read_slots(self.plan, slots, self.marks[self.next], len(self.survivors))
        self.next += 1
        return self._say()

    def _say(self):
        """Whole chunks of the sum in the clear; after the last ciphertext, the rest."""
        plan, effects = self.plan, []
        is_last = self.next == plan.ciphertexts
        held = self.values[: plan.length]
        for j, count in enumerate(secagg.chunk_lengths(plan.length)):
            stop = j * CHUNK_VALUES + count
            if j < self.told or (stop > len(held)):
                continue
            part = [value % 2**plan.modulus_bits for value in held[j * CHUNK_VALUES : stop]]
            data = secagg.pack_bits(part, plan.modulus_bits)
            self.digest.update(data)
            effects.append(("chunk", SERVER, encode(MaskedChunk(j, data))))
            self.told += 1
        if is_last:
            self.phase = "ended"
            effects.append(("send", SERVER, encode(DecryptedSum(self.digest.digest()))))
            effects.append(("done", None, self.survivors))
        return effects


# ------------------------------------------------------------------ SPEC 7: the server


class Server:
    def __init__(self, plan, names, *, admission):
        self.plan, self.names = plan, names
        self.key = admission_key(plan, admission)
        self.phase, self.waiting = "input", set(names)
        self.inputs, self.whole, self.order = {}, {}, []
        self.answers, self.votes, self.kept, self.total = {}, {}, None, None

    def receive(self, sender, data):
        require(sender in self.names, "UNKNOWN_SENDER", sender)
        require(not (self.phase == "input" and sender in self.whole), "DUPLICATE", sender)
        require(sender in self.waiting, "LATE", sender)
        try:
            kinds = (Ciphertext,) if self.phase == "input" else (MaskedChunk, DecryptedSum)
            told = decode(data, client_limit(self.plan.scheme), *kinds)
            if isinstance(told, Ciphertext):
                self._take_ciphertext(sender, told)
            elif isinstance(told, MaskedChunk):
                self._take_chunk(sender, told)
            else:
                self._take_answer(sender, told.digest)
        except Refused as refusal:
            self.waiting.discard(sender)
            self.inputs.pop(sender, None)
            self.answers.pop(sender, None)
            raise Refused(refusal.reason, (sender,)) from None
        return []

    def _take_ciphertext(self, sender, chunk):
        held = self.inputs.setdefault(sender, [])
        require(chunk.sequence == len(held), "CHUNK_ORDER")
        tag = tag_of(self.key, self.names.index(sender), chunk.sequence, chunk.data)
        require(hmac.compare_digest(tag, chunk.mac), "CIPHERTEXT_MAC")
        check_structure(self.plan.scheme, chunk.data)
        library_of(self.plan.scheme).check_addable(chunk.data)
        held.append(chunk.data)
        if len(held) == self.plan.ciphertexts:
            self.whole[sender] = self.inputs.pop(sender)
            self.waiting.discard(sender)

    def _take_chunk(self, sender, chunk):
        counts = secagg.chunk_lengths(self.plan.length)
        held = self.answers.setdefault(sender, [])
        require(chunk.sequence == len(held) < len(counts), "CHUNK_ORDER")
        size = secagg.packed_size(counts[len(held)], self.plan.modulus_bits)
        require(len(chunk.data) == size, "CHUNK_ORDER")
        held.append(chunk.data)

    def _take_answer(self, sender, digest):
        counts, bits = secagg.chunk_lengths(self.plan.length), self.plan.modulus_bits
        held = self.answers.pop(sender, [])
        require(len(held) == len(counts), "CHUNK_ORDER")
        found = hashlib.sha256(self.plan.round_id + b"".join(held)).digest()
        require(found == digest, "DIGEST")
        vector = []
        for data, count in zip(held, counts, strict=True):
            values, clean = secagg.unpack_bits(data, count, bits)
            require(clean, "PADDING")
            vector += [secagg.centred(value, bits) for value in values]
        if self.kept is None:
            self.kept, self.total = digest, vector
        self.waiting.discard(sender)
        self.votes[digest] = self.votes.get(digest, 0) + 1

    def advance(self):
        if self.phase == "input":
            return self._close_input()
        answered, agreed = sum(self.votes.values()), self.votes.get(self.kept, 0)
        if not answered:
            return self._abort("TOO_FEW")
        if 2 * agreed <= answered:
            return self._abort("SUM_DISAGREES")
        self.phase, self.waiting = "done", set()
        return [("done", self.total, tuple(sorted(self.whole)))]

    def _abort(self, reason):
        self.phase, self.waiting = "done", set()
        return [("aborted", reason, ())]

    def _close_input(self):
        self.inputs = {}
        if len(self.whole) < max(self.plan.min_clients, 1):
            return self._abort("TOO_FEW")
        survivors = tuple(sorted(self.whole))
        self.phase, self.waiting = "decryption", set(survivors)
        effects = [("persist", "unmasking", "decryption", survivors)]
        header = encode(EncryptedSum(survivors))
        effects += [("send", name, header) for name in survivors]
        library = library_of(self.plan.scheme)
        for j, row in enumerate(zip(*self.whole.values(), strict=True)):
            total = row[0]
            for data in row[1:]:
                total = library.add(total, data)
            chunk = encode(Ciphertext(j, tag_of(self.key, THE_SUM, j, total), total))
            effects += [("chunk", name, chunk) for name in survivors]
        return effects
