"""What a client sends as its input, against the fewest bits that tell any sum of the cohort.

Counted from the messages of a real round. Keys, shares and the answers to unmask do not grow with
the vector: they are noted apart.
"""

from __future__ import annotations

from sums import Case, float32_vectors, run_ours

CASE = Case(clients=100, shares=100, threshold=51, length=100_000, value_bits=16)


def test_packed_upload(bench):
    vectors = float32_vectors(CASE)
    cost = bench.benchmark.pedantic(
        run_ours, args=(CASE, vectors.__getitem__), rounds=1, iterations=1
    )
    pipeline = CASE.pipeline
    sums = 2 * CASE.clients * pipeline.client_bound + 1  # different values of one coordinate's sum
    least = pipeline.total_length * (sums - 1).bit_length() / 8
    sent = cost.bytes_by_phase
    apart = sum(count for phase, count in sent.items() if phase != "input")
    row = bench.row(
        "upload-packed",
        "what a client sends as its input; keys and shares apart",
        against="the bits of the sum's range, for each value",
        quantity="bytes",
        pairs=[(sent["input"], least)],
        sizes={**CASE.sizes, "bytes_apart": apart},
    )
    bench.keep(row)
