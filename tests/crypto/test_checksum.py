from Crypto.Cipher import AES
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.crypto import CHECKSUM_BYTES, Checksum

KEY = bytes(range(32))


def checksum(*pieces, key=KEY, number=7):
    running = Checksum(key, number)
    for piece in pieces:
        running.update(piece)
    return running.value()


@given(st.lists(st.binary(max_size=100), max_size=8), st.integers(0, (1 << 32) - 1))
def test_it_is_what_a_second_implementation_computes_however_the_string_is_cut(pieces, number):
    second = AES.new(KEY, AES.MODE_GCM, nonce=number.to_bytes(12, "big"))
    second.update(b"".join(pieces))
    assert checksum(*pieces, number=number) == second.digest()
    assert checksum(b"".join(pieces), number=number) == second.digest()


@given(st.binary(min_size=1, max_size=300), st.data())
def test_another_bit_another_key_another_number_change_it(string, data):
    at = data.draw(st.integers(0, 8 * len(string) - 1))
    flipped = bytearray(string)
    flipped[at // 8] ^= 1 << at % 8
    whole = checksum(string)
    assert len(whole) == CHECKSUM_BYTES
    others = {
        checksum(bytes(flipped)),
        checksum(string[:-1]),
        checksum(string + b"\0"),
        checksum(string, key=bytes(32)),
        checksum(string, number=8),
    }
    assert whole not in others
