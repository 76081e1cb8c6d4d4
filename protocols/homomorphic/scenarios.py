"""The scripts behind the vectors: honest runs with losses, and runs with one lie each."""

import dataclasses
import hashlib
import importlib.util
from pathlib import Path

from msgspec.structs import replace

from fedprivacy.secagg import SERVER
from fedprivacy.secagg.homomorphic.messages import (
    CiphertextChunk,
    DecryptedSum,
    EncryptedSum,
    Seals,
)
from fedprivacy.secagg.homomorphic.schemes import BFV_4096
from fedprivacy.secagg.uploads import MaskedChunk
from fedprivacy.wire import encode


def _secagg():
    path = Path(__file__).resolve().parents[1] / "secagg" / "scenarios.py"
    spec = importlib.util.spec_from_file_location("homomorphic_scenarios_base", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


secagg = _secagg()
SCENARIOS = secagg.Scenarios()
ok = SCENARIOS.ok
read, flipped = secagg.read, secagg.flipped
VICTIM, LIAR, OTHER = "c000", "c001", "c002"


def bad_for_server(lie, effect, **options):
    return SCENARIOS.bad(lie, effect, **{"records": {SERVER}, **options})


def bad_for_client(lie, effect, **options):
    return SCENARIOS.bad(lie, effect, **{"records": {VICTIM}, **options})


def bad_sum(lie, effect, **options):
    """The server is recorded too: what it was given stands by its hash."""
    return SCENARIOS.bad(lie, effect, **{"records": {SERVER, VICTIM}, **options})


# ------------------------------------------------------------------ honest runs


@ok("Three clients; nobody is lost. The first that answers says the sum, the others the same.")
def ok_bfv(run):
    run.finish(run.input())


@ok("Two ciphertexts a client, of approximate numbers: the sum is rounded.", protocol="ckks")
def ok_ckks(run):
    run.finish(run.input())


@ok("A client that sends nothing is not in the sum.")
def ok_client_lost(run):
    run.finish(run.input(lost={OTHER}))


@ok("A client that is lost between its two ciphertexts leaves nothing behind.", protocol="ckks")
def ok_client_lost_in_the_middle(run):
    run.input(lies={LIAR: lambda sent: sent[:1]})


@ok("One survivor decrypts, the others are lost: one answer is enough.")
def ok_one_answer(run):
    run.finish(run.input(), lost={VICTIM, OTHER})


@ok("One client sends where the plan asks for two: no sum leaves the server.")
def ok_too_few_inputs(run):
    run.input(lost={LIAR, OTHER})


@ok("None of the survivors answers.")
def ok_no_answer(run):
    run.finish(run.input(), lost={VICTIM, LIAR, OTHER})


@ok("A sum of 62 bits a value, as wide as a plan may ask for.", modulus_bits=62)
def ok_wide(run):
    run.finish(run.input(lost={VICTIM}))


# ------------------------------------------------------------------ lies to the server: input


def given(lie, effect, change, name, **options):
    """A client sends, in the place of its first message, what `change` makes of it."""

    def play(run):
        chunk = read(CiphertextChunk, run.own.sent[LIAR][0])
        run.receive(SERVER, change(run, chunk), LIAR)
        run.finish(run.input(lost={LIAR}))

    play.__name__ = name
    bad_for_server(lie, effect, **options)(play)


def resealed(change):
    """Other bytes, sealed by a client that has the key for it."""

    def lie(run, chunk):
        index = run.own.places[LIAR].index
        return encode(run.seals.seal(index, chunk.sequence, change(bytes(chunk.data))))

    return lie


given(
    "A ciphertext whose MAC is another's.",
    "Bytes of anyone reach the native library.",
    lambda _, chunk: encode(replace(chunk, mac=flipped(chunk.mac))),
    "bad_mac",
)
given(
    "Another client's ciphertext, as it was sent.",
    "One vector is in the sum twice, and its difference to the honest sum tells it.",
    lambda run, _: run.own.sent[VICTIM][0],
    "bad_ciphertext_of_another",
)
given(
    "A ciphertext that was sealed for another round.",
    "An old vector is in a new sum.",
    lambda run, chunk: encode(
        Seals(dataclasses.replace(run.plan, round_id=bytes(32)), run.own.key.admission).seal(
            run.own.places[LIAR].index, 0, bytes(chunk.data)
        )
    ),
    "bad_ciphertext_of_another_round",
)
given(
    "The second ciphertext first.",
    "Values are summed with others of another place.",
    lambda run, _: run.own.sent[LIAR][1],
    "bad_ciphertext_order",
    protocol="ckks",
)
given(
    "A ciphertext with a byte after the message.",
    "Two encodings of one message.",
    lambda _, chunk: encode(chunk) + b"\0",
    "bad_trailing_byte",
)
given(
    "The sequence number in more bytes than it takes.",
    "Two encodings of one message.",
    lambda _, chunk: encode(chunk).replace(b"\xaaciphertext\x00", b"\xaaciphertext\xcc\x00", 1),
    "bad_longer_number",
)
given(
    "More bytes than any honest message has.",
    "Memory is taken for what is refused anyway.",
    lambda _, chunk: encode(replace(chunk, data=memoryview(bytes(600_000)))),
    "bad_oversized",
)
given(
    "A message of the other phase.",
    "It is taken before anyone may answer.",
    lambda *_: encode(DecryptedSum(bytes(32))),
    "bad_answer_in_input",
)


HEAD = b"\x0a\x02\x80\x20\x12"  # of BFV: one count, of two bytes, 4096; then the ciphertext


def around(body, head=HEAD, end=b""):
    """TenSEAL's message around a ciphertext's bytes, whatever their length."""
    size, out = len(body), bytearray()
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return head + bytes([*out, size]) + body + end


def body_of(data):
    return data[len(HEAD) + 3 :]


def with_size(body):
    """SEAL's header says the length that is there."""
    return body[:8] + len(body).to_bytes(8, "little") + body[16:]


def framed(body, *blocks, last=b""):
    """The same header and frame head, other blocks."""
    return around(with_size(body[:23] + b"".join(blocks) + last))


def block(kind, size, content=b"", *, last=False):
    return (int(last) | kind << 1 | size << 3).to_bytes(3, "little") + content


STRUCTURES = {
    "bad_no_slots": (
        "No count of slots.",
        lambda data: around(body_of(data), b"\x12"),
    ),
    "bad_slots_too_many": (
        "A hundred times the slots that there are.",
        lambda data: around(body_of(data), b"\x0a\x03\x80\x80\x19\x12"),
    ),
    "bad_slot_too_many": (
        "One slot more than there are.",
        lambda data: around(body_of(data), b"\x0a\x02\x81\x20\x12"),
    ),
    "bad_two_ciphertexts": (
        "A second ciphertext, of nothing.",
        lambda data: data + b"\x12\x00",
    ),
    "bad_with_scale": (
        "A scale, where BFV has none.",
        lambda data: data + b"\x19" + bytes(8),
    ),
    "bad_seal_magic": (
        "SEAL's header begins with other bytes.",
        lambda data: around(flipped(body_of(data))),
    ),
    "bad_seal_size": (
        "SEAL's header says more bytes than there are.",
        lambda data: around(flipped(body_of(data), 8)),
    ),
    "bad_seal_compression": (
        "SEAL's header says another compression.",
        lambda data: around(flipped(body_of(data), 5)),
    ),
    "bad_frame_magic": (
        "What is inside is no Zstandard frame.",
        lambda data: around(flipped(body_of(data), 16)),
    ),
    "bad_frame_checksum": (
        "A frame of another kind: with a checksum.",
        lambda data: around(flipped(body_of(data), 20)[:20] + b"\x64" + body_of(data)[21:]),
    ),
    "bad_frame_size": (
        "The frame says that it holds one byte more or less.",
        lambda data: around(flipped(body_of(data), 21)),
    ),
    "bad_frame_cut": (
        "The last block is cut off.",
        lambda data: around(with_size(body_of(data)[:-1])),
    ),
    "bad_frame_followed": (
        "A byte after the last block.",
        lambda data: around(with_size(body_of(data) + b"\0")),
    ),
    "bad_block_reserved": (
        "A block of the kind that RFC 8878 keeps free.",
        lambda data: framed(body_of(data), block(0, 20_000, bytes(20_000)), block(3, 0, last=True)),
    ),
    "bad_blocks_swollen": (
        "Blocks that repeat a byte more often than the frame says it has bytes.",
        lambda data: framed(
            body_of(data),
            block(0, 20_000, bytes(20_000)),
            block(1, 1 << 16, b"\0", last=True),
        ),
    ),
    "bad_blocks_many": (
        "Blocks of nothing, more than any encoder writes.",
        lambda data: framed(body_of(data), *[block(0, 0)] * 6000, block(0, 0, last=True)),
    ),
}
for _name, (_lie, _change) in STRUCTURES.items():
    given(
        _lie,
        "The native library reads what it trusts: it ends, or reads beyond its memory.",
        resealed(_change),
        _name,
    )

given(
    "A ciphertext that says that it is in the other form (`is_ntt_form`).",
    "It loads, and cannot be added: the round ends with it.",
    resealed(lambda data: around(body_of(data)[:58] + b"\x01" + body_of(data)[59:])),
    "bad_ciphertext_form",
)
given(
    "The outlines of a ciphertext, full of zeros.",
    "The outlines are right, the parameters inside are none: the library refuses it.",
    resealed(
        lambda data: framed(
            body_of(data),
            block(0, 20_000, bytes(20_000)),
            block(1, BFV_4096.raw_bytes - 20_000, b"\0", last=True),
        )
    ),
    "bad_ciphertext_of_zeros",
)
given(
    "Another scale than the plan's.",
    "The sum's values are read off by a power of two.",
    resealed(lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    "bad_scale",
    protocol="ckks",
)


@bad_for_server("A client sends its input a second time.", "It counts twice.")
def bad_input_twice(run):
    run.receive(SERVER, run.own.sent[LIAR][0], LIAR)
    run.receive(SERVER, run.own.sent[LIAR][0], LIAR)
    run.finish(run.input(lost={LIAR}))


@bad_for_server("A client that was lost sends once the sum has left.", "Two sums differ by it.")
def bad_late(run):
    told = run.input(lost={OTHER})
    run.receive(SERVER, run.own.sent[OTHER][0], OTHER)
    run.finish(told)


@bad_for_server(
    "Somebody who is not of the cohort.", "More than planned are in a sum, and it wraps."
)
def bad_stranger(run):
    run.receive(SERVER, run.own.sent[LIAR][0], "c009")
    run.finish(run.input())


# ------------------------------------------------------------------ lies to the server: the sum


def answered(lie, effect, name, change, **options):
    """A survivor answers first, with what `change` makes of its messages; others answer after."""

    def play(run):
        told = run.input()
        run.finish(told, lies={VICTIM: change})

    play.__name__ = name
    bad_for_server(lie, effect, **options)(play)


def other_values(sent):
    return [encode(replace(read(MaskedChunk, sent[0]), data=memoryview(bytes(10)))), *sent[1:]]


answered(
    "A sum that does not have the digest that closes it.",
    "Values that were changed on the way are kept.",
    "bad_answer_digest",
    other_values,
)
answered(
    "The digest without the sum.",
    "A sum of nothing is kept.",
    "bad_answer_missing",
    lambda sent: sent[1:],
)
answered(
    "The sum's chunk twice.",
    "Values are counted for another place.",
    "bad_answer_twice",
    lambda sent: [sent[0], *sent],
)


def with_padding(run_plan):
    def change(sent):
        chunk = read(MaskedChunk, sent[0])
        data = bytes(chunk.data)
        data = data[:-1] + bytes([data[-1] | 0x80])
        digest = hashlib.sha256(run_plan.round_id + data).digest()
        return [encode(replace(chunk, data=memoryview(data))), encode(DecryptedSum(digest))]

    return change


@bad_for_server("Bits after the last value.", "Two encodings of one sum.", modulus_bits=17)
def bad_answer_padding(run):
    told = run.input()
    run.finish(told, lies={VICTIM: with_padding(run.plan)})


@bad_for_server(
    "Two clients say other sums than the first that answered.",
    "The first that answers says what the sum is.",
)
def bad_sums_disagree(run):
    def other(value):
        def change(_):
            data = bytes([value] * 10)
            digest = hashlib.sha256(run.plan.round_id + data).digest()
            chunk = MaskedChunk(0, memoryview(data))
            return [encode(chunk), encode(DecryptedSum(digest))]

        return change

    run.finish(run.input(), lies={LIAR: other(1), OTHER: other(2)})


# ------------------------------------------------------------------ lies to a client


def header(survivors):
    return encode(EncryptedSum(tuple(survivors)))


def named(lie, effect, name, survivors, **options):
    def play(run):
        run.receive(VICTIM, header(survivors))

    play.__name__ = name
    bad_for_client(lie, effect, **options)(play)


named(
    "A sum that leaves the client out.",
    "It decrypts what it is not in: several sums of one round.",
    "bad_not_survivor",
    ("c001", "c002"),
)
named(
    "A sum of the client alone.",
    "Its own vector lies open.",
    "bad_survivors_few",
    ("c000",),
)
named(
    "Fewer survivors than the client's own floor.",
    "A sum over fewer than it wants to be among.",
    "bad_survivors_below_own_floor",
    ("c000", "c001"),
    floor=3,
)
named(
    "One survivor twice.",
    "Fewer clients in the sum than are counted.",
    "bad_survivor_twice",
    ("c000", "c001", "c001"),
)
named(
    "Survivors in another order.",
    "Two encodings of one set.",
    "bad_survivors_order",
    ("c001", "c000", "c002"),
)
named(
    "A sum before the client's own input has left.",
    "It decrypts a sum that it cannot be in.",
    "bad_early_sum",
    ("c000", "c001", "c002"),
    early={VICTIM},
)


@bad_sum("A ciphertext without the names of its survivors.", "Nobody knows whose sum it is.")
def bad_sum_unannounced(run):
    told = run.input()
    run.receive(VICTIM, told[VICTIM][1])


@bad_for_client("Another client speaks in the server's place.", "A client asks for a decryption.")
def bad_sender(run):
    run.receive(VICTIM, header(run.ids), LIAR)


@bad_sum("A second sum, once the client has decrypted one.", "The difference of the two tells one.")
def bad_second_sum(run):
    told = run.input()
    for message in told[VICTIM]:
        run.receive(VICTIM, message)
    run.receive(VICTIM, header(run.ids))


def summed(lie, effect, name, change, survivors=None, **options):
    """The client is shown another ciphertext than that of the sum."""

    def play(run):
        told = run.input(lost=options.get("lost", ()))
        names, chunk = told[VICTIM]
        run.receive(VICTIM, names if survivors is None else header(survivors))
        run.receive(VICTIM, change(run, read(CiphertextChunk, chunk)))

    play.__name__ = name
    options.pop("lost", None)
    bad_sum(lie, effect, **options)(play)


summed(
    "A sum with another MAC.",
    "The client decrypts bytes of anyone.",
    "bad_sum_mac",
    lambda _, chunk: encode(replace(chunk, mac=flipped(chunk.mac))),
)
summed(
    "One client's ciphertext, sealed as the sum.",
    "The client decrypts one client's vector.",
    "bad_one_ciphertext",
    lambda run, _: encode(
        run.seals.seal(None, 0, bytes(read(CiphertextChunk, run.own.sent[LIAR][0]).data))
    ),
)
summed(
    "One client's ciphertext, as that client sealed it.",
    "The client decrypts one client's vector.",
    "bad_one_ciphertext_as_sent",
    lambda run, _: run.own.sent[LIAR][0],
)
summed(
    "The sum of another place.",
    "Values stand where others belong.",
    "bad_sum_order",
    lambda run, chunk: encode(run.seals.seal(None, 1, bytes(chunk.data))),
)
summed(
    "A sum that is no ciphertext.",
    "The native library reads what it trusts.",
    "bad_sum_structure",
    lambda run, chunk: encode(run.seals.seal(None, 0, bytes(chunk.data) + b"\0")),
)


@bad_sum("The sum of two, as the sum of three.", "The floor counts one who is not in it.")
def bad_survivor_more(run):
    told = run.input(lost={OTHER})
    run.receive(VICTIM, header(run.ids))
    run.receive(VICTIM, told[VICTIM][1])


@bad_sum("The sum of three, as the sum of two.", "The difference to another sum tells the third.")
def bad_survivor_less(run):
    told = run.input()
    run.receive(VICTIM, header((VICTIM, LIAR)))
    run.receive(VICTIM, told[VICTIM][1])


@bad_sum(
    "Clients who send values beyond the plan's bound.",
    "Slots run over, and values are counted for others.",
    bound=1,
)
def bad_sum_range(run):
    told = run.input(lost={OTHER})
    for message in told[VICTIM]:
        run.receive(VICTIM, message)
