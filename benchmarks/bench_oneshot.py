"""One-shot aggregation of 10^6 values of 100 clients: seconds and bytes beside plain float32.

On one thread. A client's side takes everything that it does once its float32 vector is there:
clip, scale, round, join, encrypt, pack, share its key among ten members, sign, serialise. The
server's side of one client takes its messages as they come, with digest and signature checked, and
each member's word that it can open its share, with the last of which the ciphertext is added.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from oneshot_round import LENGTH, Quantised, Round

from fedprivacy.arithmetic import PackedSum, centred_binomial
from fedprivacy.randomness import Keystream
from fedprivacy.secagg import SERVER
from fedprivacy.secagg.oneshot.cipher import Encryption, open_sum, values_per_chunk

ROUNDS = 15
BITS = [16, 8]


@pytest.fixture(scope="module", params=BITS, ids=lambda bits: f"{bits}-bit")
def case(request):
    return Round(request.param)


def test_what_a_client_computes(bench, case):
    """Against clipping, scaling and rounding the same floats, and copying them out."""
    vector = np.random.default_rng(0).uniform(-1, 1, LENGTH).astype(np.float32)
    clients = iter([case.client(0) for _ in range(ROUNDS + 1)])

    def floats():
        Quantised(vector, case.bound)[:].astype(np.float32).tobytes()

    def sent():
        client = next(clients)
        return bench.seconds(lambda: case.send(client))

    pairs = bench.in_turn(sent, lambda: bench.seconds(floats), rounds=ROUNDS)
    name = f"oneshot-client-{case.bound.bit_length() + 1}-bit"
    row = bench.row(
        name,
        "a client's work once its float32 vector is there, 10^6 values, 100 clients",
        against="numpy: clip, scale and round the same floats, and copy them out",
        quantity="seconds",
        pairs=pairs,
        sizes=case.sizes,
    )
    bench.keep(row)


def test_what_a_client_sends(bench, case):
    messages = bench.benchmark.pedantic(case.send, args=(case.client(0),), rounds=1)
    bits = case.bound.bit_length() + 1
    closing = len(messages[-1])
    total = sum(map(len, messages))
    row = bench.row(
        f"oneshot-upload-{bits}-bit",
        "everything that a client sends, 10^6 values, 100 clients, shares for 7 of 10",
        against="the same vector as float32",
        quantity="bytes",
        pairs=[(total, 4 * LENGTH)],
        sizes={**case.sizes, "ciphertext_bytes": total - closing, "share_bytes": closing},
    )
    bench.keep(row)


def test_what_a_client_sends_of_its_key(bench, case):
    """Beside the ciphertext: boxes with shares, signature, key; the same for any vector."""
    closing = bench.benchmark.pedantic(case.send, args=(case.client(0),), rounds=1)[-1]
    row = bench.row(
        f"oneshot-key-{case.bound.bit_length() + 1}-bit",
        "what a client sends of its key: a sealed share for each of 10 members, 7 of whom open",
        against="170 kB",
        quantity="bytes",
        pairs=[(len(closing), 170_000)],
        sizes=case.sizes,
    )
    bench.keep(row)


def test_what_the_server_does_for_a_client(bench, case):
    """Against SHA-256 of the same bytes and a numpy sum of as many words."""
    sent = [case.send(case.client(i)) for i in range(ROUNDS + 1)]
    turn = iter(range(ROUNDS + 1))
    total = np.zeros(len(sent[0][0]) // 8, dtype=np.uint64)

    def bare():
        state = hashlib.sha256()
        for message in sent[0]:
            state.update(message)
            words = np.frombuffer(message, "<u8", count=len(message) // 8)
            np.add(total[: len(words)], words, out=total[: len(words)])

    def received(sender, messages):
        """The seconds that it takes the server, and what it sends at once."""
        effects = []
        seconds = bench.seconds(
            lambda: effects.extend(e for m in messages for e in case.server.receive(sender, m))
        )
        return seconds, effects

    def take():
        index = next(turn)
        seconds, shares = received(case.cohort.members[index], sent[index])
        for share in shares:
            member = case.members[case.committee.members.index(share.recipient)]
            opened = [e.message for e in member.receive(SERVER, share.message)]
            seconds += received(share.recipient, opened)[0]
        return seconds

    pairs = bench.in_turn(take, lambda: bench.seconds(bare), rounds=ROUNDS)
    row = bench.row(
        f"oneshot-server-{case.bound.bit_length() + 1}-bit",
        "the server's work for one client, 10^6 values, parsing, digest and signature included",
        against="SHA-256 of the same bytes, and adding them as 64-bit words with numpy",
        quantity="seconds",
        pairs=pairs,
        sizes=case.sizes,
    )
    bench.keep(row)


def test_what_opening_the_sum_takes(bench, case):
    """Alone: the ciphertext of one client under its own key stands for the sum of all."""
    p = case.parameters
    encryption = Encryption(p, bytes(32), secret=b"s" * 32, errors=b"e" * 32)
    key = centred_binomial(p.degree, Keystream(b"s" * 32)).astype(np.int64)
    step = values_per_chunk(p)
    values = np.random.default_rng(1).integers(-case.bound, case.bound, LENGTH, endpoint=True)
    sums = PackedSum(p.coefficients, p.bits)
    for at, start in enumerate(range(0, LENGTH, step)):
        sums.replace(at << 16, encryption.next(values[start : start + step]))
    packed = sums.packed(slice(0, p.coefficients))

    def opened():
        fresh = PackedSum(p.coefficients, p.bits)
        fresh.add_packed(0, packed)
        return bench.seconds(lambda: np.asarray(open_sum(fresh, key, p, bytes(32), 1)))

    seconds = [s for s, _ in bench.in_turn(opened, lambda: None, rounds=ROUNDS)]
    row = bench.row(
        f"oneshot-open-{case.bound.bit_length() + 1}-bit",
        "opening and reading the sum of 10^6 values with the sum of the keys",
        quantity="seconds",
        alone=seconds,
        sizes=case.sizes,
    )
    bench.keep(row)
